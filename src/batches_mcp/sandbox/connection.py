"""Breaking connections for real: resets, and answers that end too early.

ASGI gives an app no way to break its connection, so the sandbox's server hands the transport of each connection to the
app, as an ASGI extension.
"""

import asyncio
import os
import socket
import struct
from collections.abc import Callable, Generator, Iterator
from contextlib import closing

from starlette.concurrency import iterate_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["BreakableProtocol", "Reset", "ResultStream"]

_EXTENSION = "batches_mcp.transport"


class BreakableProtocol(H11Protocol):
    """uvicorn's own protocol, whose app finds the transport in its scope."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        app = self.app

        async def with_transport(scope: Scope, receive: Receive, send: Send) -> None:
            scope.setdefault("extensions", {})[_EXTENSION] = transport
            await app(scope, receive, send)

        self.app = with_transport


class Reset(Response):
    """No answer: the connection is reset."""

    async def __call__(self, scope: Scope, receive: Receive, _: Send) -> None:
        transport = _transport(scope)
        # Closing a socket that is not to linger sends RST, so that the peer sees a reset and not an end.
        at_once = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        transport.abort()
        await _gone(receive)


class ResultStream(StreamingResponse):
    """Result rows made in a worker thread as fast as the client reads, and no longer than it reads."""

    def __init__(self, blocks: Generator[bytes]) -> None:
        super().__init__(blocks, media_type="application/x-jsonl")
        self._blocks = blocks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with closing(self._blocks):
            await super().__call__(scope, receive, send)

    def altered(self, alter: Callable[[Generator[bytes]], Generator[bytes]]) -> "ResultStream":
        """The same answer with what `alter` makes of its blocks."""
        stream = ResultStream(alter(self._blocks))
        stream.raw_headers = self.raw_headers
        return stream

    def cut(self, rows: int, *, mid_row: bool) -> "CutStream":
        """The same stream, broken off after `rows` rows, or in the middle of the next one."""
        return CutStream(self._blocks, self.raw_headers, rows, mid_row=mid_row)


class CutStream(Response):
    """The first result rows, and then the end of the connection where the end of the answer should be.

    The connection is closed and not reset: a reset may take away from the client what it has not read yet.
    """

    def __init__(
        self, blocks: Generator[bytes], headers: list[tuple[bytes, bytes]], rows: int, *, mid_row: bool
    ) -> None:
        super().__init__()
        self.raw_headers = headers
        self._blocks = blocks
        self._rows = rows
        self._mid_row = mid_row

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport = _transport(scope)
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        with closing(self._blocks):
            async for part in iterate_in_threadpool(_head(self._blocks, self._rows, mid_row=self._mid_row)):
                await send({"type": "http.response.body", "body": part, "more_body": True})
        transport.close()
        await _gone(receive)


def _head(blocks: Iterator[bytes], rows: int, *, mid_row: bool) -> Iterator[bytes]:
    """The blocks, which end with a line each, up to the end of row `rows`, and half of the next one if `mid_row`."""
    for block in blocks:
        lines = block.splitlines(keepends=True)  # CR and LF inside of JSON strings are escaped
        if rows < len(lines):
            yield b"".join(lines[:rows])
            if mid_row:
                yield lines[rows][: len(lines[rows]) // 2]
            return
        rows -= len(lines)
        yield block


def _transport(scope: Scope) -> asyncio.Transport:
    transport: asyncio.Transport | None = scope.get("extensions", {}).get(_EXTENSION)
    if transport is None:
        raise RuntimeError("only the sandbox's own server can break a connection")
    return transport


async def _gone(receive: Receive) -> None:
    """Wait until the server knows that the connection is no more: only then may an app go without an answer."""
    while (await receive())["type"] != "http.disconnect":
        pass
