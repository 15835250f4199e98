"""Running a sandbox on a real socket: in the background for tests, in the foreground for the command line."""

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Unpack

import uvicorn
from anyio.from_thread import start_blocking_portal
from starlette.applications import Starlette

from batches_mcp.sandbox.app import create_app
from batches_mcp.sandbox.clock import Clock
from batches_mcp.sandbox.config import SandboxConfig, SandboxOptions
from batches_mcp.sandbox.requestlog import RecordedRequest, RequestLog

__all__ = ["Sandbox", "run_sandbox", "running_sandbox"]

# How long a stopping sandbox waits for answers under way, such as a result stream nobody reads.
_GRACE_S = 1


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A running sandbox. `url` is the root before `/v1`: the official SDK's `base_url`."""

    url: str
    port: int
    clock: Clock
    _log: RequestLog

    @property
    def requests(self) -> list[RecordedRequest]:
        """The last 1,000 requests it received, oldest first; an answered one is there before its answer is seen."""
        return self._log.entries()


@contextmanager
def running_sandbox(*, host: str = "127.0.0.1", port: int = 0, **options: Unpack[SandboxOptions]) -> Iterator[Sandbox]:
    """Run a sandbox in a background thread for the length of a `with` block.

    port: 0 takes a free one. options: the fields of `SandboxConfig`.
    Raises OSError if the address cannot be bound, StateFileError if the state file cannot be used.

        with running_sandbox(clock=ManualClock()) as sandbox:
            client = anthropic.Anthropic(base_url=sandbox.url, api_key="any key", max_retries=0)
    """
    with _running(host, port, SandboxConfig(**options)) as sandbox:
        yield sandbox


def run_sandbox(host: str, port: int, config: SandboxConfig) -> int:
    """Run a sandbox until SIGINT or SIGTERM, and return the number of that signal. Only from the main thread.

    Writes its URL to stderr and nothing to stdout. Raises what `running_sandbox` raises.
    """
    stopped_by: list[int] = []
    stop = threading.Event()

    def on_signal(number: int, _: FrameType | None) -> None:
        stopped_by.append(number)
        stop.set()

    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with _running(host, port, config) as sandbox:
            sys.stderr.write(f"Sandbox of the Message Batches API: {sandbox.url}\n")
            sys.stderr.flush()
            while not stop.wait(1):  # on Windows a signal is only noticed between two waits
                pass
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return stopped_by[0]


@contextmanager
def _running(host: str, port: int, config: SandboxConfig) -> Iterator[Sandbox]:
    app = create_app(config)
    # Listening before the server runs: the URL is good from the start.
    with (
        _listener(host, port) as listener,
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(_serving(app, listener)),
    ):
        bound_port: int = listener.getsockname()[1]
        yield Sandbox(_url(host, bound_port), bound_port, config.clock, app.state.requests)


def _listener(host: str, port: int) -> socket.socket:
    # The protocol is named because asyncio turns TCP_NODELAY on only where it is: without it every answer on a
    # kept-alive connection waits 40 ms for the client's delayed acknowledgement.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere it would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


@asynccontextmanager
async def _serving(app: Starlette, listener: socket.socket) -> AsyncIterator[None]:
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http="h11",  # the same server whatever else is installed
            ws="none",
            lifespan="off",  # run here, so that its errors reach the caller
            proxy_headers=False,
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,  # the sandbox's own clock says the date
            timeout_keep_alive=60,
            timeout_graceful_shutdown=_GRACE_S,
        )
    )
    async with app.router.lifespan_context(app):
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield
        finally:
            server.should_exit = True
            await serving
            # Answers cut off by the end of the grace still hold their connection and the store.
            for connection in list(server.server_state.connections):
                connection.transport.abort()
            await asyncio.gather(*server.server_state.tasks, return_exceptions=True)
            await asyncio.sleep(0)  # an aborted connection is closed by the loop's next round


def _url(host: str, port: int) -> str:
    """A wildcard address is no place to connect to: loopback stands in for it."""
    name = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"
