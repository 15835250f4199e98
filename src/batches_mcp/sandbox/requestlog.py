"""The last requests a sandbox received, and the headers it puts on every answer."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from uuid import uuid4

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from batches_mcp.sandbox.answers import ANSWER_HEADER
from batches_mcp.sandbox.caller import masked
from batches_mcp.sandbox.clock import Clock
from batches_mcp.sandbox.wire import opaque_id

__all__ = ["RecordedRequest", "RequestLog", "RequestRecorder"]

_KEPT_REQUESTS = 1_000
_KEPT_BODY_BYTES = 64 * 1024
# Of all bodies together.
_KEPT_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request as it arrived.

    at: the sandbox's time.
    path: as sent, percent-encoding included. query: without the `?`.
    headers: every (name, value) in order, names in lower case, a credential shown as `sha256:` and 12 digits.
    body: its first 64 KiB. body_bytes: how much of it was read, which is 0 when the answer did not need it.
    status: None when there was no answer. answer: the kind of answer, as in the header `x-sandbox-answer`.
    """

    at: datetime
    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    body_bytes: int
    status: int | None
    answer: str | None
    request_id: str

    def header(self, name: str) -> str | None:
        """The first header of this name, any case; None if it was not sent."""
        return next((value for key, value in self.headers if key == name.lower()), None)


class RequestLog:
    """The last requests, oldest first: 1,000, fewer if their bodies are long. Thread-safe.

    An answered request is in it before its client sees the answer.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: deque[RecordedRequest] = deque()
        self._kept_bytes = 0

    def add(self, entry: RecordedRequest) -> None:
        with self._lock:
            self._entries.append(entry)
            self._kept_bytes += len(entry.body)
            while len(self._entries) > _KEPT_REQUESTS or self._kept_bytes > _KEPT_BYTES:
                self._kept_bytes -= len(self._entries.popleft().body)

    def entries(self) -> list[RecordedRequest]:
        """A copy, safe to keep."""
        with self._lock:
            return list(self._entries)

    def clear(self) -> None:
        """Forget them."""
        with self._lock:
            self._entries.clear()
            self._kept_bytes = 0


class RequestRecorder:
    """ASGI middleware: records each request and adds `request-id` and `date` (of the sandbox's clock) to its answer.

    Requests to the sandbox itself (`own_path`) are none to the API: they are not recorded.
    """

    def __init__(self, app: ASGIApp, log: RequestLog, clock: Clock, own_path: Callable[[str], bool]) -> None:
        self._app = app
        self._own_path = own_path
        self._log = log
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._own_path(scope["path"]):
            await self._app(scope, receive, send)
            return
        at = self._clock.now().astimezone(UTC)
        request_id = opaque_id("req_", uuid4().hex)
        scope.setdefault("state", {})["request_id"] = request_id
        body = bytearray()
        body_bytes = 0
        recorded = False

        async def counted_receive() -> Message:
            nonlocal body_bytes
            message = await receive()
            part: bytes = message.get("body", b"")
            body_bytes += len(part)
            body.extend(part[: _KEPT_BODY_BYTES - len(body)])
            return message

        def record(status: int | None, answer: str | None = None) -> None:
            nonlocal recorded
            recorded = True
            headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
            self._log.add(
                RecordedRequest(
                    at=at,
                    method=scope["method"],
                    path=scope["raw_path"].decode("latin-1"),
                    query=scope["query_string"].decode("latin-1"),
                    headers=tuple((name, masked(name, value)) for name, value in headers),
                    body=bytes(body),
                    body_bytes=body_bytes,
                    status=status,
                    answer=answer,
                    request_id=request_id,
                )
            )

        async def labelled_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                headers["request-id"] = request_id
                date = at + timedelta(seconds=scope["state"].get("date_skew_s", 0))
                headers["date"] = format_datetime(date, usegmt=True)
                record(message["status"], headers.get(ANSWER_HEADER))
            await send(message)

        try:
            await self._app(scope, counted_receive, labelled_send)
        except Exception:
            if not recorded:
                record(500)  # the answer is written outside of this
            raise
        finally:
            if not recorded:
                record(None)
