"""What the variables OTEL_* ask for. Pure.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ and
https://opentelemetry.io/docs/specs/otel/protocol/exporter/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_PROTOCOLS = {"http/protobuf"}


@dataclass(frozen=True, slots=True)
class Signals:
    """Which of them are sent."""

    traces: bool
    metrics: bool

    def __bool__(self) -> bool:
        return self.traces or self.metrics


def signals(variables: Mapping[str, str]) -> Signals:
    """The signals that have an endpoint and are not switched off; without an endpoint nothing is sent anywhere."""
    if variables.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return Signals(False, False)
    return Signals(_wanted("TRACES", variables), _wanted("METRICS", variables))


def secrets_of(variables: Mapping[str, str]) -> list[str]:
    """What must not be shown of the variables: the headers that spans and metrics are sent with, passwords in URLs."""
    found: list[str] = []
    for name, value in variables.items():
        if not name.startswith("OTEL_EXPORTER_OTLP_"):
            continue
        if name.endswith("HEADERS"):
            headers = [unquote(pair.partition("=")[2].strip()) for pair in value.split(",")]
            found += [each for header in headers for each in (header, header.rpartition(" ")[2])]
        elif name.endswith("ENDPOINT"):
            found.append(value.partition("://")[2].rpartition("@")[0].partition(":")[2])
    return list(filter(None, found))


def unknown_protocol(variables: Mapping[str, str]) -> str | None:
    """A protocol that is asked for and not spoken here."""
    names = ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL")
    asked = [variables[name].strip() for name in names if variables.get(name, "").strip()]
    return next((each for each in asked if each not in _PROTOCOLS), None)


def _wanted(signal: str, variables: Mapping[str, str]) -> bool:
    endpoint = (
        variables.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT", "").strip() or variables.get(_ENDPOINT, "").strip()
    )
    exporter = variables.get(f"OTEL_{signal}_EXPORTER", "otlp").strip() or "otlp"
    return bool(endpoint) and "otlp" in exporter.split(",")
