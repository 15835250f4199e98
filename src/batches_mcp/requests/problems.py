"""What can be wrong with one request, and how that is said."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from batches_mcp.core.redact import excerpt

# More than any model generates, and few enough for whatever counts them.
MOST_MAX_TOKENS = 10**9

CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something about one request. `where` is exact, like `requests[17].custom_id`; `kind` groups its like."""

    where: str
    custom_id: str | None
    kind: str
    severity: Severity
    message: str

    @classmethod
    def error(cls, where: str, custom_id: str | None, kind: str, message: str) -> Self:
        return cls(where, custom_id, kind, Severity.ERROR, message)

    @classmethod
    def warning(cls, where: str, custom_id: str | None, kind: str, message: str) -> Self:
        return cls(where, custom_id, kind, Severity.WARNING, message)

    def text(self) -> str:
        return f"{self.where}: {self.message}"

    def data(self) -> dict[str, str]:
        named = {"custom_id": self.custom_id} if self.custom_id else {}
        return {"where": self.where, **named, "severity": str(self.severity), "message": self.message}


def custom_id_problem(request: dict[str, Any]) -> str:
    if "custom_id" not in request:
        return "missing"
    custom_id = request["custom_id"]
    if not isinstance(custom_id, str):
        return "expected text"
    if CUSTOM_ID.fullmatch(custom_id):
        return ""
    if not 1 <= len(custom_id) <= 64:
        return f"has {len(custom_id):,} characters; expected 1 to 64"
    wrong = sorted(set(re.sub(r"[a-zA-Z0-9_-]", "", custom_id)))
    return f"{excerpt(custom_id, 70)!r} has {' '.join(map(repr, wrong[:5]))}; allowed are letters, digits, - and _"


def params_problems(params: dict[str, Any]) -> Iterator[tuple[str, str]]:
    kinds: Sequence[tuple[str, type, str]] = (
        ("model", str, "text"),
        ("max_tokens", int, "a whole number"),
        ("messages", list, "a list"),
    )
    for name, kind, wanted in kinds:
        if name not in params:
            yield name, "missing"
        elif not isinstance(params[name], kind) or isinstance(params[name], bool):
            yield name, f"expected {wanted}"
        elif name == "max_tokens" and params[name] < 1:
            yield name, f"{excerpt(str(params[name]), 40)} is less than 1"
        elif name == "max_tokens" and params[name] > MOST_MAX_TOKENS:
            yield name, f"is more than {MOST_MAX_TOKENS:,}; no model generates that many tokens"
        elif name == "messages" and not params[name]:
            yield name, "is empty; at least one message is needed"
    if params.get("stream") not in (None, False):
        yield "stream", "a batch cannot stream; leave it out"
    if params.get("speed") is not None:
        yield "speed", "fast mode is not available in batches; leave it out"


def at(where: str, name: str) -> str:
    """`requests[17].custom_id`, or `line 17, custom_id`."""
    return f"{where}.{name}" if where.endswith("]") else f"{where}, {name}"
