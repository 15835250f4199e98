"""The body of a request to us: read whole when it is small, on disk when it may be large."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import anyio.to_thread
from starlette.requests import Request

from batches_mcp.core.errors import CallError, ErrorReport
from batches_mcp.core.state import create, unusable
from batches_mcp.requests.received import Received

# Written in pieces of this size, each in a worker thread.
_WRITTEN_BYTES = 1 << 20


async def whole(request: Request, most_bytes: int) -> bytes:
    """The body in memory.

    Raises:
        CallError: it is larger.
        ClientDisconnect: the caller left before its end.
    """
    body = bytearray()
    async for piece in _bounded(request, most_bytes):
        body += piece
    return bytes(body)


async def spooled(request: Request, most_bytes: int, path: Path, sources: ExitStack) -> Received:
    """The body in a new file at `path`, which is closed with `sources` at the latest.

    Raises:
        CallError: it is larger, or cannot be written there.
        ClientDisconnect: the caller left before its end.
    """
    try:
        body = Received(path, sources.enter_context(create(path)))
        waiting = bytearray()
        async for piece in _bounded(request, most_bytes):
            waiting += piece
            if len(waiting) >= _WRITTEN_BYTES:
                await anyio.to_thread.run_sync(body.add, bytes(waiting))
                waiting.clear()
        await anyio.to_thread.run_sync(body.add, bytes(waiting))
        await anyio.to_thread.run_sync(body.end)
    except OSError as error:
        raise unusable(path.parent, error) from error
    return body


async def _bounded(request: Request, most_bytes: int) -> AsyncIterator[bytes]:
    """The body's pieces; one that says it is too large is not read at all."""
    declared_bytes = length = int(request.headers.get("content-length", 0))
    if length <= most_bytes:
        length = 0
        async for piece in request.stream():
            length += len(piece)
            if length > most_bytes:
                break
            yield piece
    if length > most_bytes:
        found = f"{declared_bytes:,} bytes" if declared_bytes > most_bytes else "more than that"
        message = f"the body is too large: found {found}, expected at most {most_bytes:,} bytes."
        next_step = "Make several batches of it; `batches-mcp run FILE -o OUT` splits a file by itself."
        raise CallError(ErrorReport("request_too_large", message, next_step))
