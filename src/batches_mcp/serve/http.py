"""Serving over Streamable HTTP at `/mcp`: stateless for clients of the 2025 revisions, streaming for all.

Beside it: files with results, a health check, and the dashboard at `/`.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import uvicorn
from mcp.server.lowlevel import Server
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from batches_mcp import __version__
from batches_mcp.core.errors import CallError, ServeError
from batches_mcp.core.limits import LIMITS, Limits
from batches_mcp.core.plan import ToolPlan
from batches_mcp.core.settings import Admission, HttpSettings
from batches_mcp.core.signals import watch_signals
from batches_mcp.serve import dashboard
from batches_mcp.serve.auth import HEALTH_PATH, PROBES, READY_PATH, Gate, host_names
from batches_mcp.serve.connections import limited
from batches_mcp.serve.doors import APPROVALS_PATH, KEY_PATH, PATH, WELL_KNOWN, Access, Doors
from batches_mcp.serve.envelope import failed, refusal
from batches_mcp.serve.identified import Identified
from batches_mcp.serve.open_requests import Ending, OpenRequests
from batches_mcp.serve.readiness import Readiness
from batches_mcp.serve.toolarge import MAX_BODY_BYTES, WaysOn, too_large
from batches_mcp.store import files as results_files

if TYPE_CHECKING:
    from batches_mcp.access.keyset import Verifier

_DASHBOARD_PATH = "/"
# Where `as_file` says that files are: the folder of an account, and the name of a file.
_RESULTS_PATH = f"/{results_files.FOLDER}/{{account}}/{{name}}"
# An answer that is still on its way to a slow client gets this long.
_LAST_BYTES_S = 5.0
# What the dashboard asks for where callers have credentials of their own.
_ANY_CREDENTIAL = Admission("Authorization", SecretStr(""), "Bearer", "the key that was given to you")
Find = Callable[[Request, str, str], Awaitable[Path | None]]
"""The file with results of an account, by its name, if the caller may have it; raises CallError."""


@dataclass(frozen=True, slots=True)
class RestApp:
    """What is served beside MCP: its port when the settings name none, and the headers its clients put a key into."""

    app: ASGIApp
    port: int
    key_headers: frozenset[str]


def app(
    server: Server[Any],
    settings: HttpSettings,
    tools: Sequence[ToolPlan],
    find: Find,
    ways: WaysOn,
    ready: Readiness,
    access: Access | None = None,
    verifier: Callable[[], Verifier] | None = None,
    *,
    jobs: bool = False,
) -> ASGIApp:
    """The ASGI application: the MCP endpoint, files with results, the dashboard and the probes behind the gate.

    With `access` the doors of a service are behind the gate; `verifier` is theirs. The dashboard shows `jobs` if there
    may be any.
    """
    asked = settings.asked if access is None else _ANY_CREDENTIAL
    door = (KEY_PATH if access is not None and access.keys else PATH).removeprefix("/")
    waiting = None if access is None else APPROVALS_PATH.removeprefix("/")
    shown = [Route(_DASHBOARD_PATH, partial(_dashboard, tools, asked, door, waiting, jobs), methods=["GET"])]
    has_page = dashboard.is_served(tools)
    inner = server.streamable_http_app(
        streamable_http_path=PATH,
        stateless_http=True,
        json_response=False,
        max_request_body_size=MAX_BODY_BYTES,
        # The gate has checked Host and Origin, for every path alike.
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        custom_starlette_routes=[
            Route(HEALTH_PATH, _health, methods=["GET"]),
            Route(READY_PATH, ready.__call__, methods=["GET"]),
            Route(_RESULTS_PATH, partial(_results, find), methods=["GET"]),
            *(shown if has_page else ()),
            *(access.routes if access is not None else ()),
        ],
    )
    names = host_names(settings.host, settings.allow_hosts)
    said = partial(too_large, ways=ways)
    # The page holds nothing but names of tools, and asks for the credential that its calls then show.
    typed = has_page and asked is not None and asked.scheme != dashboard.SENT_BY_BROWSERS
    open_paths = PROBES | ({_DASHBOARD_PATH} if typed else set())
    if access is None:
        return Gate(inner, names, settings.asked, said, open_paths=open_paths)
    methods = {tool.name: tool.request.method for tool in tools}
    return Gate(Doors(inner, access, verifier, open_paths, methods), names, None, said)


def run(
    server: Server[Any],
    settings: HttpSettings,
    tools: Sequence[ToolPlan],
    find: Find,
    port: int,
    announce: Callable[[str], None],
    ways: WaysOn,
    ready: Readiness,
    rest: RestApp | None = None,
    access: Access | None = None,
    limits: Limits = LIMITS,
    *,
    jobs: bool = False,
) -> int:
    """Serve until a signal, whose number is returned; `port` counts when the settings name none.

    What is under way then is ended by the draining of `ready`. The dashboard shows `jobs` if there may be any.

    Raises:
        ServeError: an address cannot be bound.
    """
    mcp_port = port if settings.port is None else settings.port
    requests = OpenRequests(ready.draining)
    verifiers: list[Verifier] = []
    verifier = (lambda: verifiers[0]) if access is not None and access.rules is not None else None
    application: ASGIApp = Ending(
        app(server, settings, tools, find, ways, ready, access, verifier, jobs=jobs), requests
    )
    with ExitStack() as stack:
        listeners = [stack.enter_context(_listen(settings.host, mcp_port, "--port"))]
        said = f"serving MCP at {_url(listeners[0])}{PATH}"
        if rest is not None:
            rest_port = rest.port if settings.rest_port is None else settings.rest_port
            if rest_port == 0 or rest_port != mcp_port:
                listeners.append(stack.enter_context(_listen(settings.host, rest_port, "--rest-port")))
            said += f" and REST at {_url(listeners[-1])}"
            behind, asked = rest.app, settings.asked
            if access is not None:
                behind = Doors(
                    rest.app, access, verifier, PROBES, key_headers=rest.key_headers, rest=True, refuse=refusal
                )
                asked = None
            names = host_names(settings.host, settings.allow_hosts)
            gate = Gate(behind, names, asked, key_headers=rest.key_headers, refuse=refusal)
            of_page = {_DASHBOARD_PATH} if dashboard.is_served(tools) else set[str]()
            of_service = {KEY_PATH, APPROVALS_PATH} if access is not None else set[str]()
            paths = frozenset({PATH, *PROBES, *of_page, *of_service})
            ports = (listener.getsockname()[1] for listener in listeners)
            application = _Both(application, Ending(gate, requests, refusal), paths, *ports)
        announce(f"{said} (Ctrl-C ends)")

        async def serve() -> int:
            async with AsyncExitStack() as entered:
                if access is not None and access.rules is not None:
                    from batches_mcp.access.keyset import verifier as of_rules

                    verifiers.append(await entered.enter_async_context(of_rules(access.rules)))
                return await _serve(Identified(application), listeners, requests, limits)

        return anyio.run(serve)


class _Both:
    """MCP and REST in one server: told apart by port, or by path where they share one, of which MCP has `paths`."""

    def __init__(
        self, mcp: ASGIApp, rest: ASGIApp, paths: frozenset[str], mcp_port: int, rest_port: int | None = None
    ) -> None:
        self._mcp, self._rest, self._paths = mcp, rest, paths
        self._mcp_port, self._rest_port = mcp_port, rest_port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._rest if self._is_rest(scope) else self._mcp)(scope, receive, send)

    def _is_rest(self, scope: Scope) -> bool:
        if scope["type"] != "http":
            return False  # the server's life is that of MCP's
        if self._rest_port is None:
            path: str = scope["path"]
            below = (f"/{results_files.FOLDER}/", WELL_KNOWN, f"{APPROVALS_PATH}/")
            return path not in self._paths and not path.startswith(below)
        return bool(scope["server"][1] == self._rest_port)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


async def _serve(application: ASGIApp, listeners: list[socket.socket], requests: OpenRequests, limits: Limits) -> int:
    config = uvicorn.Config(
        application,
        http=limited(limits),
        ws="none",  # which would go past the gate
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
    )
    server = _Uvicorn(config)
    received: list[int] = []
    stopping = anyio.Event()

    async def stop() -> None:
        await stopping.wait()
        # Until then it listens, so that a load balancer learns from /readyz why nothing else is answered.
        await requests.draining.end(requests.answered)
        server.should_exit = True
        await server.close_connections()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch_signals, received, stopping.set)
        tasks.start_soon(stop)
        await server.serve(sockets=listeners)
        tasks.cancel_scope.cancel()
    return received[0] if received else 0


class _Uvicorn(uvicorn.Server):
    """uvicorn without its own signal handling, which would end the process by the signal instead of an exit code."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def close_connections(self) -> None:
        """Close those on which the last answer has still not been taken after a while."""
        await anyio.sleep(_LAST_BYTES_S)
        for connection in list(self.server_state.connections):
            connection.transport.abort()


@contextmanager
def _listen(host: str, port: int, flag: str) -> Iterator[socket.socket]:
    # The protocol is named because asyncio sets TCP_NODELAY only where it is: without it every answer on a kept-alive
    # connection waits 40 ms for the client's delayed acknowledgement. (`socket.create_server` leaves it out.)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        if os.name == "posix":  # elsewhere it would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(2048)
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            advice = (
                f"another program uses that port; choose another with {flag}" if taken else f"check --host and {flag}"
            )
            raise ServeError(f"cannot listen on {host} port {port}: {error.strerror or error}; {advice}") from error
        yield listener


async def _health(_: Request) -> JSONResponse:
    """The process is up and serves; says nothing of the upstream."""
    return JSONResponse({"status": "ok", "version": __version__})


async def _dashboard(
    tools: Sequence[ToolPlan],
    asked: Admission | None,
    path: str,
    approvals: str | None,
    jobs: bool,
    _: Request,
) -> HTMLResponse:
    page, headers = dashboard.browser_page(tools, asked, path, approvals, jobs=jobs)
    return HTMLResponse(page, headers=dict(headers))


async def _results(find: Find, request: Request) -> Response:
    """A file that `as_file` wrote for an account that the tools work for now; the gate has let the caller in."""
    try:
        path = await find(request, request.path_params["account"], request.path_params["name"])
    except CallError as error:
        return failed(error.report)
    if path is None:
        return PlainTextResponse("There is no such file of results.\n", 404)
    return FileResponse(path, media_type=results_files.media_type(path), filename=path.name)
