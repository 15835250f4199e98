"""An upstream that holds every create until the test lets it go, and answers all else at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Any

from tests.support.results import JsonHandler

_WAIT_S = 60


@dataclass(slots=True)
class SlowCreates:
    """A running one; `bodies` are those of the creates that arrived whole, and `arrived` counts them.

    `asked` is set once anything else was asked for.
    """

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    arrived: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    asked: threading.Event = field(default_factory=threading.Event)
    answered: threading.Event = field(default_factory=threading.Event)

    def wait_for(self, creates: int) -> None:
        """Wait until so many creates have arrived."""
        for _ in range(creates):
            assert self.arrived.acquire(timeout=_WAIT_S)


def batch(batch_id: str) -> dict[str, Any]:
    """A batch in progress, as the API shows it."""
    counts = {"processing": 1, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
    return {
        "id": batch_id,
        "type": "message_batch",
        "processing_status": "in_progress",
        "request_counts": counts,
        "created_at": "2026-01-01T00:00:00Z",
        "results_url": None,
    }


@contextmanager
def slow_creates() -> Iterator[SlowCreates]:
    """Run one; whoever still waits at the end is answered."""
    upstream = SlowCreates()

    class Handler(JsonHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:  # noqa: N802 - what the base looks for
            upstream.bodies.append(self.rfile.read(int(self.headers["content-length"])))
            number = len(upstream.bodies)
            upstream.arrived.release()
            upstream.answered.wait(_WAIT_S)
            self.answer(batch(f"msgbatch_{number}"))

        def do_GET(self) -> None:  # noqa: N802 - what the base looks for
            name = self.path.partition("?")[0].rpartition("/")[2]
            listing = {"data": [], "has_more": False, "first_id": None, "last_id": None}
            self.answer(listing if name == "batches" else batch(name))
            upstream.asked.set()

    class Server(ThreadingHTTPServer):
        request_queue_size = 128

        def handle_error(self, *_: Any) -> None:
            pass  # a client that left

    with Server(("127.0.0.1", 0), Handler) as server:
        upstream.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield upstream
        finally:
            upstream.answered.set()
            server.shutdown()
            thread.join(5)
