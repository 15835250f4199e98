"""The body of a request to us: read whole when it is small, on disk when it may be large."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

import anyio.to_thread
from starlette.requests import Request

from batches_mcp.errors import CallError, ErrorReport
from batches_mcp.state import unusable

_PIECE_BYTES = 1 << 18
# Written in pieces of this size, each in a worker thread.
_WRITTEN_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Spooled:
    """A body on disk, as its caller wrote it; `pieces` can be read again and again."""

    file: BinaryIO
    length: int

    def pieces(self) -> Iterator[bytes]:
        self.file.seek(0)
        while piece := self.file.read(_PIECE_BYTES):
            yield piece


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


async def spooled(request: Request, most_bytes: int, folder: Path, sources: ExitStack) -> Spooled:
    """The body in a file without a name in `folder`, which is gone when `sources` is closed.

    Raises:
        CallError: it is larger, or the folder cannot hold it.
        ClientDisconnect: the caller left before its end.
    """
    try:
        file = sources.enter_context(TemporaryFile(dir=folder))  # noqa: SIM115 - the stack closes it
        waiting = bytearray()
        length = 0
        async for piece in _bounded(request, most_bytes):
            waiting += piece
            length += len(piece)
            if len(waiting) >= _WRITTEN_BYTES:
                await anyio.to_thread.run_sync(file.write, bytes(waiting))
                waiting.clear()
        file.write(waiting)
        file.flush()
    except OSError as error:
        raise unusable(folder, error) from error
    return Spooled(file, length)


async def _bounded(request: Request, most_bytes: int) -> AsyncIterator[bytes]:
    """The body's pieces; one that says it is too large is not read at all."""
    length = int(request.headers.get("content-length", 0))
    if length <= most_bytes:
        length = 0
        async for piece in request.stream():
            length += len(piece)
            if length > most_bytes:
                break
            yield piece
    if length > most_bytes:
        report = ErrorReport("request_too_large", f"the body is larger than {most_bytes:,} bytes.", "Split it.")
        raise CallError(report)
