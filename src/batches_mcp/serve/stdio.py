"""Serving over standard input and output, and ending well: at EOF, and at SIGINT and SIGTERM.

Waiting for a line of standard input happens in a thread that nothing can interrupt, so a signal cancels only the
serving (calls end, the lifespan closes) and then leaves the process without waiting for that thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
from mcp.server.lowlevel import Server
from mcp.server.runner import serve_loop
from mcp.server.stdio import stdio_server

from batches_mcp.settings import Protocol
from batches_mcp.signals import leave, watch_signals


def run(server: Server[Any], protocol: Protocol, before_leaving: Callable[[], None]) -> None:
    """Serve until the client closes standard input; a signal ends the process with 128 + its number.

    In the latter case nothing of the caller's is run any more but `before_leaving`.
    """
    anyio.run(_serve, server, protocol, before_leaving)


async def _serve(server: Server[Any], protocol: Protocol, before_leaving: Callable[[], None]) -> None:
    received: list[int] = []
    try:
        async with stdio_server() as (read_stream, write_stream):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch_signals, received, tasks.cancel_scope)
                if protocol == "legacy":
                    # The handshake only. A client that probes with `server/discover` and then sends `initialize` on the
                    # same pipe would otherwise be held to the revision of its first message.
                    async with server.lifespan(server) as state:
                        await serve_loop(server, read_stream, write_stream, lifespan_state=state)
                else:
                    await server.run(read_stream, write_stream, server.create_initialization_options())
                tasks.cancel_scope.cancel()
            _leave(received, before_leaving)
    except* anyio.BrokenResourceError:
        # The SDK's reader had a message for a server that a signal had just stopped.
        if not received:
            raise
    _leave(received, before_leaving)


def _leave(received: list[int], before_leaving: Callable[[], None]) -> None:
    if received:
        before_leaving()
        leave(128 + received[0])
