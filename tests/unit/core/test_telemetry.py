"""What the variables OTEL_* ask for, and what of them must not be shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batches_mcp.core.telemetry import Signals, secrets_of, signals, unknown_protocol

ALL, TRACES, METRICS = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
)
NONE, BOTH = Signals(False, False), Signals(True, True)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, NONE),
        ({ALL: ""}, NONE),
        ({ALL: "http://c"}, BOTH),
        ({TRACES: "http://c"}, Signals(True, False)),
        ({METRICS: "http://c"}, Signals(False, True)),
        ({ALL: "http://c", "OTEL_SDK_DISABLED": "TRUE"}, NONE),
        ({ALL: "http://c", "OTEL_SDK_DISABLED": "no"}, BOTH),
        ({ALL: "http://c", "OTEL_TRACES_EXPORTER": "none"}, Signals(False, True)),
        ({ALL: "http://c", "OTEL_METRICS_EXPORTER": "console,otlp", "OTEL_TRACES_EXPORTER": ""}, BOTH),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, NONE),
    ],
)
def test_signals_are_sent_where_they_have_an_endpoint(variables: dict[str, str], expected: Signals) -> None:
    assert signals(variables) == expected
    assert bool(signals(variables)) is (expected != NONE)


@pytest.mark.parametrize(
    ("asked", "unknown"), [("", None), ("http/protobuf", None), ("grpc", "grpc"), ("http/json", "http/json")]
)
def test_only_one_protocol_is_spoken(asked: str, unknown: str | None) -> None:
    assert unknown_protocol({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": asked}) == unknown


def test_what_headers_hold_is_secret() -> None:
    variables = {
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20abc-def, x=1",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "k=v=w",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://me:pass@word@collector:4318/v1",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://collector:4318",
        "OTEL_SERVICE_NAME": "name=shown",
    }
    assert secrets_of(variables) == ["Bearer abc-def", "abc-def", "1", "1", "v=w", "v=w", "pass@word"]


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    assert all(secrets_of({"OTEL_EXPORTER_OTLP_HEADERS": text}))
