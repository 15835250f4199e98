"""Metrics for Prometheus, on a listener of their own; the door to its library.

No label has a value that callers choose freely: neither who they are nor which batch it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from batches_mcp.core.errors import CallError, ServeError
from batches_mcp.core.observe import Observer, Tell
from batches_mcp.serve.operations import BUCKETS_S, Operation, measured
from batches_mcp.store.open_work import OpenWork

if TYPE_CHECKING:  # where no jobs can be, nothing of them is imported
    from batches_mcp.store.job_reading import JobCounts

log = logging.getLogger(__name__)

_OPERATION_LABELS = (
    "mcp_method_name",
    "gen_ai_tool_name",
    "error_type",
    "network_transport",
    "mcp_protocol_version",
)


@dataclass(frozen=True, slots=True)
class Gauges:
    """What is looked up when metrics are asked for, in a thread; `open_work` is None as long as nothing is served.

    `job_counts` is None where there can be no jobs.
    """

    open_work: Callable[[], OpenWork | None]
    waiting_calls: Callable[[], int]
    leases_lost: Callable[[], int]
    job_counts: Callable[[], JobCounts] | None = None


class Metrics(Observer):
    """Counts, and measures, until the end of the process."""

    def __init__(self, gauges: Gauges, tools: Collection[str]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each one, of which nobody makes use
        self.registry = registry = CollectorRegistry()
        self._tools = frozenset(tools)
        self._operations = Histogram(
            "mcp_server_operation_duration_seconds",
            "How long MCP requests took.",
            _OPERATION_LABELS,
            registry=registry,
            buckets=BUCKETS_S,
        )
        self._requests = Counter(
            "batches_mcp_requests_submitted", "Requests in batches that were made.", ["team"], registry=registry
        )
        self._batches = Counter("batches_mcp_batches_submitted", "Batches that were made.", ["team"], registry=registry)
        self._cost = Counter(
            "batches_mcp_cost_usd",
            "US dollars: reserved for batches that were made, and what they really cost as far as is known.",
            ["team", "kind"],
            registry=registry,
        )
        self._upstream = Counter(
            "batches_mcp_upstream_requests",
            "Requests to the API, by the status of the answer or the type of the error.",
            ["status"],
            registry=registry,
        )
        self._parts = Counter(
            "batches_mcp_job_parts_ended",
            "Parts of jobs that were done or failed.",
            ["team", "state"],
            registry=registry,
        )
        self._rows = Counter(
            "batches_mcp_job_rows_collected",
            "Rows of jobs that were written, by what became of them.",
            ["team", "outcome"],
            registry=registry,
        )
        registry.register(_Looked(gauges))
        ProcessCollector(registry=registry)

    @contextmanager
    def exchange(self, method: str, url: str, attempt: int) -> Iterator[Tell]:  # noqa: ARG002
        outcome: int | str = "canceled"

        def tell(found: int | str) -> None:
            nonlocal outcome
            outcome = found

        try:
            yield tell
        finally:
            self._upstream.labels(str(outcome)).inc()

    def submitted(self, team: str | None, requests: int, reserved_usd: float | None) -> None:
        self._requests.labels(team or "").inc(requests)
        self._batches.labels(team or "").inc()
        self._cost.labels(team or "", "reserved").inc(reserved_usd or 0.0)

    def cost(self, team: str | None, actual_usd: float) -> None:
        self._cost.labels(team or "", "actual").inc(actual_usd)

    def parts_ended(self, team: str | None, state: str, parts: int, *, succeeded: int = 0, failed: int = 0) -> None:
        self._parts.labels(team or "", state).inc(parts)
        for outcome, rows in (("succeeded", succeeded), ("failed", failed)):
            self._rows.labels(team or "", outcome).inc(rows)

    async def measure(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Middleware of MCP."""

        def record(found: Operation, duration_s: float) -> None:
            labels = (found.method, found.tool, found.error_type, found.transport, found.protocol_version)
            self._operations.labels(*labels).observe(duration_s)

        return await measured(ctx, call_next, self._tools, record)

    def listen(self, host: str, port: int) -> int:
        """Answer `GET /metrics` from now on, in threads of its own; the port is returned.

        Raises:
            ServeError: the address cannot be bound.
        """
        try:
            server, _ = start_http_server(port, host, self.registry)
        except OSError as error:
            raise ServeError(
                f"cannot listen on {host} port {port}: {error.strerror or error}; check --metrics-address"
            ) from error
        return int(server.server_address[1])


@dataclass(frozen=True, slots=True)
class _Looked(Collector):
    gauges: Gauges

    def collect(self) -> Iterator[Metric]:
        try:
            found = self.gauges.open_work()
        except CallError as error:
            log.warning("what is open cannot be looked up: %s", error.report.message)
            found = None
        if found is not None:
            yield GaugeMetricFamily(
                "batches_mcp_queue_requests",
                "Requests in batches that are in progress, as last seen.",
                value=found.requests,
            )
            yield GaugeMetricFamily(
                "batches_mcp_unsettled_creates",
                "Creates of which it is not known whether they made a batch.",
                value=found.creates,
            )
        yield from self._jobs()
        waiting = self.gauges.waiting_calls()
        yield GaugeMetricFamily(
            "batches_mcp_waiting_calls", "Calls of the API that wait for their turn.", value=waiting
        )
        lost = self.gauges.leases_lost()
        yield CounterMetricFamily("batches_mcp_lease_lost", "Leases of this server that had run out.", value=lost)

    def _jobs(self) -> Iterator[Metric]:
        if self.gauges.job_counts is None:
            return
        try:
            found = self.gauges.job_counts()
        except CallError as error:
            log.warning("how many jobs there are cannot be told: %s", error.report.message)
            return
        jobs = GaugeMetricFamily("batches_mcp_jobs", "Jobs in the database, by their state.", labels=["state"])
        parts = GaugeMetricFamily("batches_mcp_job_parts", "Parts of these jobs, by their state.", labels=["state"])
        for family, numbers in ((jobs, found.jobs), (parts, found.parts)):
            for state, number in numbers.items():
                family.add_metric([state], number)
            yield family
