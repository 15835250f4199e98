"""An upstream that is not the limit: any request gets the same batch at once, over kept connections.

Run as a process of its own; it prints its port, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import json
import sys

BATCH = {
    "id": "msgbatch_01HkcTjaV5uDC8jWR4ZsDV8d",
    "type": "message_batch",
    "processing_status": "in_progress",
    "request_counts": {"processing": 100, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
    "ended_at": None,
    "created_at": "2026-11-20T18:37:24.100435+00:00",
    "expires_at": "2026-11-21T18:37:24.100435+00:00",
    "archived_at": None,
    "cancel_initiated_at": None,
    "results_url": None,
}
_BODY = json.dumps(BATCH).encode()
_END_OF_HEAD = b"\r\n\r\n"
ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nrequest-id: req_011CSHoEeqs5C35K2UUqR7Fy\r\n"
    b"anthropic-workspace-id: wrkspc_01JwQvzr7rXLA5AGx3HKfFUJ\r\n"
    b"content-length: " + str(len(_BODY)).encode() + _END_OF_HEAD + _BODY
)


class _Connection(asyncio.Protocol):
    """Answers each head of a request; requests have no bodies here."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._pending = b""

    def data_received(self, data: bytes) -> None:
        *heads, self._pending = (self._pending + data).split(_END_OF_HEAD)
        self._transport.write(ANSWER * len(heads))


async def _main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_main())
