"""Spans and metrics over OTLP, as a receiver of the test's own gets them from whole servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.e2e.test_stdio import Raw
from tests.support.creates import requests
from tests.support.results import JsonHandler, serving
from tests.support.scripted import answer, failure, scripted_upstream
from tests.support.servers import CREATE, RETRIEVE, running
from tests.support.slow_creates import batch
from tests.support.teams import Caller, service

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CANARY = "canary-of-arguments"
HEADER = "canary-of-the-collector"
LOGS = ("--log-format", "json", "--log-level", "info")


@dataclass(slots=True)
class Receiver:
    """A running one, and the bodies of what was sent to it."""

    url: str = ""
    traces: list[bytes] = field(default_factory=list)
    metrics: list[bytes] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)

    def spans(self) -> list[tuple[str, Span]]:
        """All spans, each with the name of the service that sent it."""
        found = []
        for body in self.traces:
            for each in ExportTraceServiceRequest.FromString(body).resource_spans:
                service_name = attributes(each.resource.attributes)["service.name"]
                found += [(service_name, span) for scope in each.scope_spans for span in scope.spans]
        return found

    def span(self, name: str) -> Span:
        [found] = [span for _, span in self.spans() if span.name == name]
        return found

    def points(self, name: str) -> list[dict[str, Any]]:
        """The attributes of the points of a histogram, in the last that was sent of it."""
        metrics = [
            metric
            for body in self.metrics[-1:]
            for each in ExportMetricsServiceRequest.FromString(body).resource_metrics
            for scope in each.scope_metrics
            for metric in scope.metrics
            if metric.name == name
        ]
        assert all(metric.unit == "s" for metric in metrics)
        return [attributes(point.attributes) for metric in metrics for point in metric.histogram.data_points]


def attributes(pairs: Any) -> dict[str, Any]:
    def plain(pair: KeyValue) -> Any:
        return getattr(pair.value, str(pair.value.WhichOneof("value")))

    return {pair.key: plain(pair) for pair in pairs}


@contextmanager
def receiver() -> Iterator[Receiver]:
    running_one = Receiver()

    class Handler(JsonHandler):
        def do_POST(self) -> None:  # noqa: N802 - what the base looks for
            body = self.rfile.read(int(self.headers["content-length"]))
            running_one.headers.append(self.headers.get("x-collector", ""))
            (running_one.traces if self.path == "/v1/traces" else running_one.metrics).append(body)
            self.answer({})

    with serving(Handler) as running_one.url:
        yield running_one


def sending_to(url: str, **more: str) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_HEADERS": f"x-collector={HEADER}", **more}


def call(client: Raw, name: str, arguments: dict[str, Any], meta: dict[str, Any] | None = None) -> dict[str, Any]:
    return client.ask({"method": "tools/call", "params": {"name": name, "arguments": arguments, "_meta": meta or {}}})


def end(client: Raw) -> None:
    """Close standard input, at which a server sends what is left."""
    assert client.process.popen.stdin is not None
    client.process.popen.stdin.close()
    assert client.process.popen.wait(30) == 0


def test_a_call_is_a_span_of_its_clients_trace_with_its_requests_below_it() -> None:
    steps = [failure(529, "overloaded_error", CANARY, retry_after="0"), answer(200, batch("msgbatch_1"))]
    with receiver() as collector, scripted_upstream(*steps) as upstream:
        env = sending_to(collector.url, OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test")
        with running(["--base-url", upstream.url, "--log-level", "debug"], **env) as process:
            client = Raw(process)
            client.start()
            meta = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
            assert "error" not in call(client, RETRIEVE, {"message_batch_id": CANARY}, meta)
            call(client, RETRIEVE, {"message_batch_id": CANARY, "no such": CANARY})
            call(client, CREATE, {"requests": requests(1, CANARY)})
            client.ask({"method": "resources/read", "params": {"uri": f"batch://{CANARY}/{CANARY}"}})
            end(client)
    first = next(
        span for _, span in collector.spans() if span.trace_id.hex() == TRACE and span.kind == Span.SPAN_KIND_SERVER
    )
    assert (first.name, first.parent_span_id.hex()) == (f"tools/call {RETRIEVE}", PARENT)
    found = attributes(first.attributes)
    assert found["network.transport"] == "pipe"
    assert found["gen_ai.tool.name"] == RETRIEVE
    below = [span for _, span in collector.spans() if span.parent_span_id == first.span_id]
    assert [span.kind for span in below] == [Span.SPAN_KIND_CLIENT] * 2
    told = [attributes(span.attributes) for span in below]
    assert [each["http.response.status_code"] for each in told] == [529, 200]
    assert (told[0]["error.type"], told[1]["http.request.resend_count"]) == ("529", 1)
    assert below[0].status.code == Status.STATUS_CODE_ERROR
    assert (told[0]["http.request.method"], told[0]["server.address"]) == ("GET", "127.0.0.1")
    assert {service_name for service_name, _ in collector.spans()} == {"batches-mcp"}
    # Neither arguments nor results, nor what an error says of them.
    assert not [body for body in [*collector.traces, *collector.metrics] if CANARY.encode() in body]
    assert set(collector.headers) == {HEADER}
    assert not [line for line in process.lines if HEADER in line]
    [session] = collector.points("mcp.server.session.duration")
    assert session == {"network.transport": "pipe"}
    operations = collector.points("mcp.server.operation.duration")
    assert {
        "mcp.method.name": "tools/call",
        "gen_ai.tool.name": RETRIEVE,
        "error.type": "tool_error",
        "network.transport": "pipe",
        "mcp.protocol.version": "2025-11-25",
    } in operations


def test_a_service_over_http_says_tcp_and_not_who_calls(tmp_path: Path) -> None:
    with (
        receiver() as collector,
        scripted_upstream(answer(200, batch("msgbatch_1"))) as upstream,
        service(
            upstream.url, tmp_path, *LOGS, "--drain", "0", key="k", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url
        ) as served,
    ):
        assert not Caller(served, "search-key").call(CREATE, requests=requests(1))[1]
        served.process.popen.terminate()
        served.process.popen.wait(30)
    span = collector.span(f"tools/call {CREATE}")
    assert attributes(span.attributes)["network.transport"] == "tcp"
    [line] = [record for each in served.process.lines if (record := json.loads(each)).get("tool") == CREATE]
    assert line["trace_id"] == span.trace_id.hex()
    assert [each["network.transport"] for each in collector.points("mcp.server.operation.duration")] == ["tcp"]
    assert not [body for body in [*collector.traces, *collector.metrics] if b"search" in body]


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"OTEL_SDK_DISABLED": "true"}, ""),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}, ""),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "only http/protobuf is spoken here, so that nothing is sent"),
    ],
)
def test_what_is_switched_off_or_cannot_be_spoken_is_not_sent(env: dict[str, str], said: str) -> None:
    with (
        receiver() as collector,
        running(["--base-url", "http://127.0.0.1:9"], **sending_to(collector.url, **env)) as process,
    ):
        client = Raw(process)
        client.start()
        end(client)
    assert (collector.traces, collector.metrics) == ([], [])
    assert not said or said in "\n".join(process.lines)


def test_a_collector_that_is_not_there_holds_up_nothing() -> None:
    with running(["--base-url", "http://127.0.0.1:9"], **sending_to("http://127.0.0.1:9")) as process:
        client = Raw(process)
        client.start()
        assert call(client, RETRIEVE, {"message_batch_id": "x"})["result"]["isError"]
        end(client)
    assert not [line for line in process.lines if "Traceback" in line or HEADER in line]
