"""What an operator asked to watch a server by. Nothing of it is imported unless it was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from batches_mcp.cli.startup import Ready, installed, say
from batches_mcp.core import telemetry
from batches_mcp.core.errors import UsageError

if TYPE_CHECKING:
    from batches_mcp.store.open_work import OpenWork
    from batches_mcp.work.runtime import Runtime

_MOST_PORT = 65_535


class Running(Protocol):
    """A server or a worker that runs."""

    @property
    def runtime(self) -> Runtime: ...


def with_metrics(prepared: Ready, address: str, callers: Sequence[Running]) -> Ready:
    """The same with metrics, which are served at an address from now on; `callers` has what runs once it does.

    Raises:
        UsageError: it is not an address, or what metrics need is not installed.
        ServeError: the address cannot be bound.
    """
    host, port = _parsed(address)
    with installed("--metrics-address", "team"):
        from batches_mcp.serve.metrics import Gauges, Metrics
    from batches_mcp.store.open_work import open_work

    def open_now() -> OpenWork | None:
        if not callers or not prepared.batch.ledger:
            return None
        upstream = callers[-1].runtime.forward.upstream
        return open_work(prepared.state, upstream.clock.wall_s() + upstream.wall_ahead_s)

    def waiting() -> int:
        return callers[-1].runtime.forward.upstream.waiting if callers else 0

    jobs = prepared.state.shared_jobs
    gauges = Gauges(open_now, waiting, lambda: prepared.state.leases_lost, None if jobs is None else jobs.counts)
    metrics = Metrics(gauges, [tool.name for tool in prepared.plan.tools])
    bound = metrics.listen(host, port)
    say(f"serving metrics at http://{f'[{host}]' if ':' in host else host}:{bound}/metrics")
    return replace(
        prepared,
        observers=(*prepared.observers, metrics),
        middleware=(*prepared.middleware, metrics.measure),
    )


def with_telemetry(prepared: Ready, variables: Mapping[str, str], stack: ExitStack, *, over_http: bool) -> Ready:
    """The same with traces and metrics over OTLP, if the variables OTEL_* ask for any; `stack` sends the last of them.

    Hosts hand their own variables on to every server: what cannot be sent does not keep a server from starting.
    """
    wanted = telemetry.signals(variables)
    if not wanted:
        return prepared
    if (protocol := telemetry.unknown_protocol(variables)) is not None:
        say(f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}; only http/protobuf is spoken here, so that nothing is sent")
        return prepared
    try:
        with installed("OTEL_EXPORTER_OTLP_ENDPOINT", "otel"):
            from batches_mcp.serve.telemetry import Telemetry
        sending = Telemetry(wanted, [tool.name for tool in prepared.plan.tools], one_session=not over_http)
    except (UsageError, ValueError) as error:
        say(f"no traces and metrics are sent: {error}")
        return prepared
    stack.callback(sending.close)
    return replace(
        prepared,
        observers=(*prepared.observers, sending),
        middleware=(*prepared.middleware, sending.around),
    )


def _parsed(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdecimal() or int(port) > _MOST_PORT:
        raise UsageError(f"--metrics-address: found {address!r}, expected HOST:PORT, such as 127.0.0.1:9464")
    return host, int(port)
