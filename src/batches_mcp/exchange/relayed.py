"""An answer that is handed on while it is still coming, in constant memory."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import anyio
import anyio.to_thread

from batches_mcp.core.errors import CallError
from batches_mcp.exchange.result import Answer


@dataclass(slots=True)
class Relayed:
    """The head of an answer, and its body to be read once.

    `parts` blocks until there is more, and so it is read in a worker thread, where a long body takes less time than on
    the event loop. `more` tells whether a part is there already, `hang_up` ends the connection, at which a thread that
    waits for a part wakes up, and `close` gives back what is left. A piece ends with the part that makes it
    `piece_bytes` long.
    """

    head: Answer
    parts: Iterator[bytes]
    more: Callable[[], bool]
    hang_up: Callable[[], None]
    close: Callable[[], None]
    limiter: anyio.CapacityLimiter
    piece_bytes: int
    _reading: threading.Lock = field(default_factory=threading.Lock)
    _stopped: bool = False

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes: what is there, and no waiting for more.

        Raises:
            UpstreamUnreachable: the body broke off.
        """
        while piece := await anyio.to_thread.run_sync(self._next, abandon_on_cancel=True, limiter=self.limiter):
            yield piece

    async def each(self, take: Callable[[bytes], Awaitable[object]]) -> None:
        """Hand over what is left piece by piece, reading on meanwhile.

        Raises:
            UpstreamUnreachable: the body broke off.
        """
        ready, pieces = anyio.create_memory_object_stream[bytes](1)
        broken: CallError | None = None

        async def read() -> None:
            nonlocal broken
            async with ready:
                try:
                    async for piece in self.pieces():
                        await ready.send(piece)
                except CallError as error:
                    broken = error

        async with pieces, anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            async for piece in pieces:
                await take(piece)
        if broken is not None:
            raise broken

    def stop(self) -> None:
        """Read no further; called when the body is at its end as well."""
        self._stopped = True
        self.hang_up()
        # A thread that was waiting lets go now; should it not, it is left to end by itself.
        if self._reading.acquire(timeout=1):
            self.close()
            self._reading.release()

    def _next(self) -> bytes:
        """The next piece; empty at the end."""
        with self._reading:
            if self._stopped:
                return b""
            piece: list[bytes] = []
            room = self.piece_bytes
            for part in self.parts:
                piece.append(part)
                room -= len(part)
                if part and (room <= 0 or not self.more()):
                    break
            return b"".join(piece)
