"""Serving over standard input and output, and ending well: at EOF, and at SIGINT and SIGTERM.

Either ends the reading; what was read before is answered, or given up, before the connection is closed. Waiting for a
line of standard input happens in a thread that nothing can interrupt, so that after a signal the process is left
without waiting for that thread.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import anyio
import mcp.types as t
from mcp.server.lowlevel import Server
from mcp.server.runner import serve_loop
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage

from batches_mcp.core.settings import Protocol
from batches_mcp.core.signals import leave, watch_signals
from batches_mcp.serve.draining import Draining

# What is written last is small.
_LAST_WRITE_S = 2.0


def run(server: Server[Any], protocol: Protocol, draining: Draining, before_leaving: Callable[[], None]) -> None:
    """Serve until the client closes standard input; a signal ends the process with 128 + its number.

    In the latter case nothing of the caller's is run any more but `before_leaving`.
    """
    anyio.run(_serve, server, protocol, draining, before_leaving)


async def _serve(
    server: Server[Any], protocol: Protocol, draining: Draining, before_leaving: Callable[[], None]
) -> None:
    received: list[int] = []
    async with stdio_server() as (read_stream, write_stream):
        connection = _Connection(read_stream, write_stream, draining)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch_signals, received, draining.begin)
            if protocol == "legacy":
                # The handshake only. A client that probes with `server/discover` and then sends `initialize` on the
                # same pipe would otherwise be held to the revision of its first message.
                async with server.lifespan(server) as state:
                    await serve_loop(server, connection.reading, connection.writing, lifespan_state=state)
            else:
                await server.run(connection.reading, connection.writing, server.create_initialization_options())
            tasks.cancel_scope.cancel()
        if received:
            await connection.written()
            before_leaving()
            leave(128 + received[0])


class _Connection:
    """The SDK's streams, between which it is known which requests are open: the end waits for their answers."""

    def __init__(self, read_stream: Any, write_stream: Any, draining: Draining) -> None:
        self._write_stream = write_stream
        self._draining = draining
        self._open: set[t.RequestId] = set()
        self._fewer = anyio.Event()
        self.reading = _Reading(read_stream, self)
        self.writing = _Writing(write_stream, self)

    async def read(self, receive: Callable[[], Any]) -> Any:
        """The next message; the end, once all requests have been answered or given up.

        Raises:
            EndOfStream: that is so.
        """
        with self._draining.at_once():
            try:
                message = await receive()
            except anyio.EndOfStream:
                pass
            else:
                self._note(message)
                return message
        await self._draining.end(self._answered)
        raise anyio.EndOfStream

    async def write(self, message: SessionMessage) -> None:
        await self._write_stream.send(message)
        if isinstance(message.message, t.JSONRPCResponse | t.JSONRPCError):
            self._close(message.message.id)

    async def written(self) -> None:
        """Wait until what was sent last has been written, at which the SDK's writer closes its end of the stream."""
        await self._write_stream.aclose()
        with anyio.move_on_after(_LAST_WRITE_S):
            # Nothing public tells, and nothing can be waited for.
            while self._write_stream._inner.statistics().open_receive_streams:  # noqa: SLF001, ASYNC110
                await anyio.sleep(0.01)

    def _note(self, message: SessionMessage | Exception) -> None:
        if isinstance(message, Exception):
            return
        match message.message:
            case t.JSONRPCRequest(id=number):
                self._open.add(number)
            case t.JSONRPCNotification(method="notifications/cancelled", params=dict(params)):
                self._close(params.get("requestId"))

    def _close(self, number: Any) -> None:
        self._open.discard(number)
        self._fewer.set()

    async def _answered(self) -> None:
        while self._open:
            self._fewer = anyio.Event()
            await self._fewer.wait()


class _Stream:
    """One of the SDK's streams, as its loops use it."""

    def __init__(self, inner: Any, connection: _Connection) -> None:
        self._inner = inner
        self._connection = connection

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class _Reading(_Stream):
    """The one that is read."""

    @property
    def last_context(self) -> contextvars.Context | None:
        context: contextvars.Context | None = self._inner.last_context
        return context

    async def receive(self) -> SessionMessage | Exception:
        message: SessionMessage | Exception = await self._connection.read(self._inner.receive)
        return message

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None


class _Writing(_Stream):
    """The one that is written to."""

    async def send(self, item: SessionMessage, /) -> None:
        await self._connection.write(item)
