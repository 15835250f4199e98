"""Standard input and output as lines; the door to them.

Pipes and sockets are waited for in the event loop. Files are read and written in threads, and so is everything on
Windows, which has no way to wait for a pipe; that costs a line some 50 us.
"""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

import anyio
import anyio.to_thread

from batches_mcp.core.errors import ServeError

_READ_BYTES = 2**16
# As much as a pipe that has room takes without blocking (POSIX, `write`).
_WRITE_BYTES = getattr(select, "PIPE_BUF", 512)


@contextmanager
def standard_streams() -> Iterator[tuple[int, int]]:
    """Descriptors of the client's two streams; whatever else in this process reads or prints meets nothing, or stderr.

    Raises:
        ServeError: one of them is closed.
    """
    if sys.stdin is None or sys.stdout is None:
        closed = "standard input" if sys.stdin is None else "standard output"
        raise ServeError(f"{closed} is closed, over which an MCP client is served; for one over HTTP: --transport http")
    sys.stdout.flush()
    reading, writing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    with suppress(OSError):  # stderr is closed
        os.dup2(2, 1)
    try:
        yield reading, writing
    finally:
        os.dup2(reading, 0)
        os.dup2(writing, 1)


class LineReader:
    """The lines of a descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._read = bytearray()
        self._searched = 0
        self._can_wait = _can_wait(descriptor)

    async def line(self) -> bytes:
        """The next line, of which the last one may lack its end.

        Raises:
            EndOfStream: there is none.
        """
        while (end := self._read.find(b"\n", self._searched) + 1) == 0:
            self._searched = len(self._read)
            try:
                piece = await self._piece()
            except ConnectionError:  # a socket whose other end was left with something unread
                piece = b""
            self._read += piece
            if not piece:
                if not self._read:
                    raise anyio.EndOfStream
                end = len(self._read)
                break
        line = bytes(self._read[:end])
        del self._read[:end]
        self._searched = 0
        return line

    async def _piece(self) -> bytes:
        self._can_wait = self._can_wait and await _waited(anyio.wait_readable, self._descriptor)
        if self._can_wait:
            return os.read(self._descriptor, _READ_BYTES)
        return await anyio.to_thread.run_sync(os.read, self._descriptor, _READ_BYTES, abandon_on_cancel=True)


class LineWriter:
    """Writes lines to a descriptor, each one whole, also if the task that writes it is canceled."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._can_wait = _can_wait(descriptor)
        self._turn = anyio.Lock(fast_acquire=True)

    async def write(self, line: bytes) -> None:
        """Write a line.

        Raises:
            BrokenResourceError: nobody reads it.
        """
        try:
            if left := line if self._turn.locked() else self._at_once(line):
                with anyio.CancelScope(shield=True):
                    async with self._turn:
                        await self._rest(left)
        except OSError as error:
            raise anyio.BrokenResourceError from error

    async def written(self) -> None:
        """Wait until what was begun has been written."""
        async with self._turn:
            pass

    async def _rest(self, line: bytes) -> None:
        while line := self._at_once(line):
            self._can_wait = self._can_wait and await _waited(anyio.wait_writable, self._descriptor)
            if not self._can_wait:
                written = await anyio.to_thread.run_sync(os.write, self._descriptor, line)
                line = line[written:]

    def _at_once(self, line: bytes) -> bytes:
        """Write as much as does not block; what is left."""
        done = 0
        while done < len(line) and self._has_room():
            done += os.write(self._descriptor, line[done : done + _WRITE_BYTES])
        return line[done:]

    def _has_room(self) -> bool:
        return self._can_wait and bool(select.select((), (self._descriptor,), (), 0)[1])


def _can_wait(descriptor: int) -> bool:
    """Whether the event loop may wait for a descriptor.

    On Windows it would not notice that it cannot be waited for, and on macOS not of the end of a file.
    """
    return sys.platform != "win32" and not stat.S_ISREG(os.fstat(descriptor).st_mode)


async def _waited(wait: Callable[[int], Awaitable[None]], descriptor: int) -> bool:
    """Whether it was possible to wait for a descriptor."""
    try:
        await wait(descriptor)
    except OSError:
        return False
    return True
