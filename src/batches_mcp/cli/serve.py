"""`serve`: the tools over MCP, over stdio or HTTP, until the command is asked to stop."""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batches_mcp.cli import service
from batches_mcp.cli.access import AccessSettings, access_flags
from batches_mcp.cli.flags import (
    HomePath,
    batch_flags,
    flag,
    folders,
    log_format,
    log_level,
    metrics_address,
    upstream_flags,
)
from batches_mcp.cli.startup import Ready, ready, say
from batches_mcp.core.errors import UsageError
from batches_mcp.core.logs import LogFormat, configure
from batches_mcp.core.plan import BehaviorName
from batches_mcp.core.redact import Redactor
from batches_mcp.core.settings import (
    TOKEN,
    BatchSettings,
    Environment,
    HttpSettings,
    Protocol,
    Transport,
    UpstreamSettings,
    default_root,
)

if TYPE_CHECKING:
    from batches_mcp.serve.callers import Callers
    from batches_mcp.serve.toolarge import WaysOn

DEFAULT_PORT = 9090
DEFAULT_REST_PORT = 8080
# Hosts do not wait for long; a service is given the 600 s in which a create is answered at the latest.
_STDIO_DRAIN_S = 10.0
_HTTP_DRAIN_S = 600.0


@click.command
@flag(
    "--transport", type=click.Choice(["stdio", "http"]), default="stdio", show_default=True, help="How clients connect."
)
@flag(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help=f"Address to listen on (http); beyond loopback needs {TOKEN}.",
)
@flag("--port", type=click.IntRange(0, 65535), help="Port to listen on (http).  [default: the capability's, 9090]")
@flag("--rest", is_flag=True, help="Also serve what the capability exposes as REST (http).")
@flag("--rest-port", type=click.IntRange(0, 65535), help="Port of REST.  [default: the capability's, 8080]")
@flag("--allow-host", multiple=True, metavar="NAME", help=f"Answer to this host name too (http); needs {TOKEN}.")
@click.argument("more_roots", nargs=-1, type=HomePath(), callback=folders, metavar="[DIR]...")
@upstream_flags
@batch_flags
@flag(
    "--confirm-over",
    type=click.FloatRange(0),
    metavar="USD",
    help="Ask first when it may cost more than this.",
)
@flag(
    "--protocol",
    type=click.Choice(["auto", "legacy"]),
    default="auto",
    show_default=True,
    help="legacy: only the `initialize` handshake of the 2025 revisions (stdio).",
)
@flag(
    "--drain",
    type=click.FloatRange(0, 86_400),
    metavar="SECONDS",
    help="How long creates under way may take to end when the server is asked to stop.  [default: 10, over HTTP 600]",
)
@flag(
    "--upstream-calls",
    type=click.IntRange(1, 1_000),
    metavar="N",
    help="How many calls of the API may be under way at a time; more wait, each caller in its turn.  [default: 100]",
)
@access_flags
@metrics_address
@log_level
@log_format
def serve(
    *,
    transport: Transport,
    host: str,
    port: int | None,
    rest: bool,
    rest_port: int | None,
    allow_host: tuple[str, ...],
    more_roots: tuple[Path, ...],
    upstream: UpstreamSettings,
    batch: BatchSettings,
    confirm_over: float | None,
    protocol: Protocol,
    drain: float | None,
    upstream_calls: int | None,
    access: AccessSettings,
    metrics_address: str | None,
    log_level: str,
    log_format: LogFormat,
) -> int:
    """Serve the capability's tools over MCP. File arguments may read in DIR, as with --root.

    The API key is taken from the environment (ANTHROPIC_API_KEY, or a file named by ANTHROPIC_API_KEY_FILE), else it
    is the one that `batches-mcp key set` stored. Without one the server starts and lists its tools, and calls answer
    what is missing.
    """
    from batches_mcp.core.signals import leave

    if log_format == "json":
        configure(log_level, Redactor.of(()), log_format)  # the secrets are not known yet, nor used
    if rest and transport != "http":
        raise UsageError("--rest is served over HTTP only; add --transport http")
    if rest_port is not None and not rest:
        raise UsageError("--rest-port says where --rest is served; add --rest")
    environment = Environment(warn=say)
    token = environment.secret(TOKEN)
    if access.given:
        service.check_settings(access, batch, token, over_http=transport == "http")
        allow_host = (*allow_host, *access.host_names)
    http = HttpSettings(host, port, allow_host, token, rest_port, doors=access.given) if transport == "http" else None
    teams = service.teams_of(access, environment, sandbox=upstream.sandbox) if access.given else None
    with ExitStack() as stack:
        root = default_root(environment) if http is None and not more_roots else None
        batch = replace(batch, roots=(*batch.roots, *_existing(more_roots)), confirm_over_usd=confirm_over)
        found = ready(upstream, environment, log_level, batch, root, with_rest=rest, teams=teams, log_format=log_format)
        prepared = stack.enter_context(found)
        if upstream_calls is not None:
            prepared = replace(prepared, limits=replace(prepared.limits, upstream_calls=upstream_calls))
        callers: list[Callers] = []
        if any(name.startswith("OTEL_") for name in environment.values):
            from batches_mcp.cli.observed import with_telemetry

            prepared = with_telemetry(prepared, environment.values, stack, over_http=http is not None)
        if metrics_address is not None:
            from batches_mcp.cli.observed import with_metrics

            prepared = with_metrics(prepared, metrics_address, callers)
        if http is not None:
            doors = service.doors(access, teams, prepared) if access.given else None
            number = _serve_http(prepared, http, batch, _HTTP_DRAIN_S if drain is None else drain, doors, callers)
            stack.close()
            leave(128 + number if number else 0)
        from batches_mcp.serve import stdio
        from batches_mcp.serve.draining import Draining

        draining = Draining(_STDIO_DRAIN_S if drain is None else drain)
        server = prepared.server(draining, callers.append)

        if os.isatty(0):
            say("serving MCP over standard input, where a client is expected; Ctrl-D ends")
            say("to see it at work, run: batches-mcp demo")
        _settle()
        stdio.run(server, protocol, draining, before_leaving=stack.close)
        stack.close()
        leave(0)  # as everywhere here: a thread that still waits for the upstream is not waited for


def _existing(folders: Sequence[Path]) -> list[Path]:
    """Those of a host's list that are there: its default may name a folder that this machine does not have."""
    for folder in folders:
        if not folder.is_dir():
            say(f"{folder} is not a folder; file arguments cannot read there")
    return [folder for folder in folders if folder.is_dir()]


def _serve_http(
    prepared: Ready,
    settings: HttpSettings,
    batch: BatchSettings,
    drain_s: float,
    doors: service.Service | None,
    running: list[Callers],
) -> int:
    """Serve MCP, and REST if there is any, until a signal, whose number is returned."""
    from batches_mcp.serve import http, result_files
    from batches_mcp.serve.draining import Draining
    from batches_mcp.serve.readiness import Readiness

    if settings.token is None and doors is None:
        settings = replace(settings, admission=prepared.admission())
    draining = Draining(drain_s)
    readiness = Readiness(draining, prepared.state.checks())
    server = prepared.server(draining, running.append, None if doors is None else doors.guard)
    rest = prepared.rest
    app: http.RestApp | None = None
    if rest is not None:
        from batches_mcp.serve.rest import Rest, key_headers

        answering = Rest(rest, prepared.redactor, batch, lambda: running[-1])
        app = http.RestApp(answering, rest.port or DEFAULT_REST_PORT, key_headers(rest))
    _settle()
    ways, port, tools = _ways_on(prepared), prepared.plan.port or DEFAULT_PORT, prepared.plan.tools

    async def find(request: Any, account: str, name: str) -> Path | None:
        return await result_files.find(running[-1], tools, request, account, name)

    async def audit(request: Any, tools: Sequence[str]) -> None:
        await running[-1].refused(request, tools)

    access = None
    if doors is not None:
        from batches_mcp.serve import approvals

        routes = approvals.routes(lambda: running[-1], tools, prepared.redactor)
        access = replace(doors.access, audit=audit, routes=routes)
    jobs = prepared.state.shared_jobs is not None
    return http.run(server, settings, tools, find, port, say, ways, readiness, app, access, prepared.limits, jobs=jobs)


def _ways_on(prepared: Ready) -> WaysOn:
    """How a batch can be made on this server that one message over HTTP cannot hold."""
    from batches_mcp.serve.toolarge import WaysOn

    creates = [tool for tool in prepared.plan.tools if tool.behavior is BehaviorName.SUBMIT]
    files = any("requests_file" in tool.input_schema["properties"] for tool in creates)
    paths = [route.template for route in prepared.rest.routes if route.spools_body] if prepared.rest else []
    return WaysOn(bool(creates), files, *paths[:1])


def _settle() -> None:
    """What has been imported stays: keep the collector from looking at it ever again."""
    gc.freeze()
    gc.enable()
