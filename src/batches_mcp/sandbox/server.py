"""Running a sandbox on a real socket: in the background for tests, in the foreground for the command line."""

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType
from typing import Unpack

import uvicorn
from anyio.from_thread import start_blocking_portal
from starlette.applications import Starlette

from batches_mcp.sandbox.app import create_app
from batches_mcp.sandbox.clock import Clock
from batches_mcp.sandbox.config import SandboxConfig, SandboxOptions
from batches_mcp.sandbox.connection import BreakableProtocol
from batches_mcp.sandbox.faults import Faults
from batches_mcp.sandbox.requestlog import RecordedRequest
from batches_mcp.sandbox.steering import Steering

__all__ = ["Sandbox", "run_sandbox", "running_sandbox"]

# How long a stopping sandbox waits for answers under way, such as a result stream nobody reads.
_GRACE_S = 1


class Sandbox:
    """A running sandbox.

    url: the root before `/v1`: the official SDK's `base_url`.
    clock: its time. faults: the queue of faults that its next requests meet.
    """

    def __init__(self, url: str, port: int, steering: Steering) -> None:
        self.url = url
        self.port = port
        self.clock: Clock = steering.clock
        self.faults: Faults = steering.faults
        self._steering = steering

    def __repr__(self) -> str:
        return f"<Sandbox at {self.url}>"

    @property
    def requests(self) -> list[RecordedRequest]:
        """The last requests it received (1,000, fewer if their bodies are long), oldest first.

        An answered request is there before its answer is seen.
        """
        return self._steering.log.entries()

    def end(self, batch_id: str) -> None:
        """Let a batch end now, with all of its work done. Raises UnknownBatch, or NotPossible when it has ended."""
        self._steering.end(batch_id)

    def expire(self, batch_id: str) -> None:
        """Let a batch end now as if its 24 hours were over: what is not done yet expires.

        Raises UnknownBatch, or NotPossible when it is not in progress.
        """
        self._steering.expire(batch_id)

    def archive(self, batch_id: str) -> None:
        """Take a batch's results away as if its 29 days were over.

        Raises UnknownBatch, or NotPossible when it has not ended or is archived already.
        """
        self._steering.archive(batch_id)

    def reset(self) -> None:
        """Be as at the start: no batches, no faults, no requests seen, full rate limits. The clock stays as it is."""
        self._steering.reset()


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
        yield Sandbox(_url(host, bound_port), bound_port, app.state.steering)


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


class _Server(uvicorn.Server):
    """uvicorn's server, which ends as soon as it is asked to and not at the next of its ticks, 100 ms apart.

    The ticks serve what the sandbox does not use: the `date` header and a maximum of requests.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stop = asyncio.Event()

    async def main_loop(self) -> None:
        await self.stop.wait()


@asynccontextmanager
async def _serving(app: Starlette, listener: socket.socket) -> AsyncIterator[None]:
    server = _Server(
        uvicorn.Config(
            app,
            http=BreakableProtocol,
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
            server.stop.set()
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
