"""Traces and metrics over OTLP, with the variables OTEL_* of the standard; the door to OpenTelemetry's SDK.

The SDK of MCP makes the spans of a server itself, whose parent is that of `_meta.traceparent`; here they get what it
leaves out, and requests to the upstream get theirs. Arguments and results are in none of them, nor who calls.
https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/mcp.md
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

from batches_mcp import __version__
from batches_mcp.core.context import current
from batches_mcp.core.observe import Observer, Tell
from batches_mcp.core.telemetry import Signals
from batches_mcp.serve.operations import BUCKETS_S, Operation, measured, transport_of

_SCOPE = "batches-mcp"
_ERROR_STATUS = 400
# What is left to be sent when the server ends gets this long.
_LAST_EXPORT_S = 3.0


class Telemetry(Observer):
    """Sends spans and metrics, to where OTEL_* say, until it is closed.

    With `one_session` all is one session of MCP, as over stdio; a server over HTTP is stateless, and has none.

    Raises:
        ValueError: a variable has a value that cannot be.
    """

    def __init__(self, signals: Signals, tools: Collection[str], *, one_session: bool) -> None:
        self._one_session, self._began_s = one_session, time.monotonic()
        named = Resource.create({SERVICE_NAME: "batches-mcp", SERVICE_VERSION: __version__})
        resource = named.merge(OTELResourceDetector().detect())
        self._tools = frozenset(tools)
        self._closers: list[Callable[[], object]] = []
        if signals.traces:
            provider = TracerProvider(resource=resource)
            provider.add_span_processor(_Wordless(OTLPSpanExporter()))
            trace.set_tracer_provider(provider)
            self._closers.append(provider.shutdown)
        if signals.metrics:
            meters = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())], resource=resource)
            metrics.set_meter_provider(meters)
            self._closers.append(meters.shutdown)
        meter, described = metrics.get_meter(_SCOPE, __version__), "How long MCP requests took."
        self._tracer = trace.get_tracer(_SCOPE, __version__)
        self._operations = meter.create_histogram(
            "mcp.server.operation.duration", "s", described, explicit_bucket_boundaries_advisory=BUCKETS_S
        )
        self._sessions = meter.create_histogram(
            "mcp.server.session.duration",
            "s",
            "How long MCP sessions took.",
            explicit_bucket_boundaries_advisory=BUCKETS_S,
        )

    async def around(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Middleware of MCP, within the span that its SDK makes."""
        span = trace.get_current_span()
        span.set_attribute("network.transport", transport_of(ctx))
        if (call := current()) is not None and call.trace_id is None and span.get_span_context().is_valid:
            call.trace_id = trace.format_trace_id(span.get_span_context().trace_id)

        def record(found: Operation, duration_s: float) -> None:
            attributes = {
                "mcp.method.name": found.method,
                "gen_ai.tool.name": found.tool,
                "error.type": found.error_type,
                "network.transport": found.transport,
                "mcp.protocol.version": found.protocol_version,
            }
            self._operations.record(duration_s, {name: value for name, value in attributes.items() if value})

        return await measured(ctx, call_next, self._tools, record)

    @contextmanager
    def exchange(self, method: str, url: str, attempt: int) -> Iterator[Tell]:
        """A span of HTTP's for a client, without the path: ids of batches are arguments."""
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        attributes: dict[str, str | int] = {
            "http.request.method": method,
            "server.address": parts.hostname or "",
            "server.port": port,
            "url.scheme": parts.scheme,
            "network.protocol.name": "http",
        }
        if attempt > 1:
            attributes["http.request.resend_count"] = attempt - 1
        options: dict[str, Any] = {"record_exception": False, "set_status_on_exception": False}
        with self._tracer.start_as_current_span(method, kind=SpanKind.CLIENT, attributes=attributes, **options) as span:

            def tell(outcome: int | str) -> None:
                if isinstance(outcome, int):
                    span.set_attribute("http.response.status_code", outcome)
                if isinstance(outcome, str) or outcome >= _ERROR_STATUS:
                    span.set_attribute("error.type", str(outcome))
                    span.set_status(StatusCode.ERROR)

            yield tell

    def close(self) -> None:
        """Send what is left, as far as that takes no longer than a moment, and end."""
        if self._one_session:
            self._sessions.record(time.monotonic() - self._began_s, {"network.transport": "pipe"})
        # A collector that is not there is asked again and again, whatever time the SDK is given.
        ending = threading.Thread(target=self._end, name="telemetry", daemon=True)
        ending.start()
        ending.join(_LAST_EXPORT_S)

    def _end(self) -> None:
        for each in self._closers:
            each()


class _Wordless(BatchSpanProcessor):
    """Sends spans without what errors say in words, in which there may be arguments."""

    def on_end(self, span: ReadableSpan) -> None:
        if span.events or span.status.description:
            span = ReadableSpan(
                name=span.name,
                context=span.get_span_context(),
                parent=span.parent,
                resource=span.resource,
                attributes=span.attributes,
                links=span.links,
                kind=span.kind,
                status=Status(span.status.status_code),
                start_time=span.start_time,
                end_time=span.end_time,
                instrumentation_scope=span.instrumentation_scope,
            )
        super().on_end(span)
