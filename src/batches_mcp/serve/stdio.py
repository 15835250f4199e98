"""Serving over standard input and output, and ending well: at EOF, and at SIGINT and SIGTERM.

Either ends the reading; what was read before is answered, or given up, before the connection is closed. After a signal
the process is left without waiting for threads: one may wait for input, which nothing can interrupt.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import anyio
import mcp.types as t
from mcp.server.lowlevel import Server
from mcp.server.runner import serve_loop
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from batches_mcp.core.settings import Protocol
from batches_mcp.core.signals import leave, watch_signals
from batches_mcp.serve.draining import Draining
from batches_mcp.serve.pipes import LineReader, LineWriter, standard_streams

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
    with standard_streams() as (stdin, stdout):
        writer = LineWriter(stdout)
        open_requests = _OpenRequests(draining)
        reading, writing = _Reading(LineReader(stdin), open_requests), _Writing(writer, open_requests)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch_signals, received, draining.begin)
            if protocol == "legacy":
                # The handshake only. A client that probes with `server/discover` and then sends `initialize` on the
                # same pipe would otherwise be held to the revision of its first message.
                async with server.lifespan(server) as state:
                    await serve_loop(server, reading, writing, lifespan_state=state)
            else:
                await server.run(reading, writing, server.create_initialization_options())
            tasks.cancel_scope.cancel()
        if received:
            with anyio.move_on_after(_LAST_WRITE_S):
                await writer.written()
            before_leaving()
            leave(128 + received[0])


class _OpenRequests:
    """Which requests have been read, and neither answered nor given up: the end waits for their answers."""

    def __init__(self, draining: Draining) -> None:
        self.draining = draining
        self._open: set[t.RequestId] = set()
        self._fewer = anyio.Event()

    def note(self, message: t.JSONRPCMessage) -> None:
        """A message has been read."""
        match message:
            case t.JSONRPCRequest(id=number):
                self._open.add(number)
            case t.JSONRPCNotification(method="notifications/cancelled", params=dict(params)):
                self.close(params.get("requestId"))

    def close(self, number: Any) -> None:
        """A request is over; one that is not open makes no difference."""
        self._open.discard(number)
        self._fewer.set()

    async def end(self) -> None:
        """Wait until all are over."""
        await self.draining.end(self._answered)

    async def _answered(self) -> None:
        while self._open:
            self._fewer = anyio.Event()
            await self._fewer.wait()


class _Stream:
    """One of the two streams, as the SDK's loops use it."""

    def __init__(self, requests: _OpenRequests) -> None:
        self._requests = requests

    async def aclose(self) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class _Reading(_Stream):
    """Messages as they are read; one that is none is an error, of which the SDK's loops take note."""

    def __init__(self, lines: LineReader, requests: _OpenRequests) -> None:
        super().__init__(requests)
        self._lines = lines

    async def receive(self) -> SessionMessage | Exception:
        """The next message.

        Raises:
            EndOfStream: there is none, and all requests have been answered or given up.
        """
        with self._requests.draining.at_once() as scope:
            if not scope.cancel_called:
                try:
                    line = await self._lines.line()
                except anyio.EndOfStream:
                    pass
                else:
                    return self._message(line)
        await self._requests.end()
        raise anyio.EndOfStream

    def _message(self, line: bytes) -> SessionMessage | Exception:
        try:
            message = t.jsonrpc_message_adapter.validate_json(line.decode(errors="replace"), by_name=False)
        except ValidationError as error:
            return error
        self._requests.note(message)
        return SessionMessage(message)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None


class _Writing(_Stream):
    """Messages that are written."""

    def __init__(self, writer: LineWriter, requests: _OpenRequests) -> None:
        super().__init__(requests)
        self._writer = writer

    async def send(self, item: SessionMessage, /) -> None:
        """Write a message.

        Raises:
            BrokenResourceError: nobody reads it.
        """
        message = item.message
        text = message.model_dump_json(by_alias=True, exclude_unset=True)
        try:
            await self._writer.write(f"{text}\n".encode())
        finally:
            if isinstance(message, t.JSONRPCResponse | t.JSONRPCError):
                self._requests.close(message.id)
