"""What is made of a create without an answer, and of the rows of a batch that ended."""

from __future__ import annotations

from typing import Any

import pytest

from batches_mcp.batch.create.evidence import (
    Adopt,
    NoneFound,
    Several,
    Verdict,
    candidates,
    created_s,
    maybe_accepted,
    since_s,
    size,
    verdict,
)
from batches_mcp.batch.create.retryable import ON_REQUEST, PASSING, kind_of, matters
from batches_mcp.errors import (
    CallError,
    ErrorReport,
    InvalidArguments,
    Retry,
    UnusableAnswer,
    UpstreamError,
    UpstreamUnreachable,
)

NOON_S = 1_767_268_800.0  # 2026-01-01T12:00:00Z
DATE = "Thu, 01 Jan 2026 12:00:00 GMT"


def batch(name: str = "a", rows: int = 3, created_at: str = "2026-01-01T12:00:00Z") -> dict[str, Any]:
    counts = {"processing": rows, "succeeded": 0}
    return {"id": name, "request_counts": counts, "created_at": created_at}


def report(retry: Retry = Retry.USELESS) -> ErrorReport:
    return ErrorReport("x", "x", "x", retry)


@pytest.mark.parametrize(
    ("error", "maybe"),
    [
        (UpstreamUnreachable(report(), maybe_accepted=True), True),
        (UpstreamUnreachable(report(), maybe_accepted=False), False),
        (UpstreamError(report(Retry.UNSAFE)), True),
        (UpstreamError(report(Retry.HELPS)), False),
        (UpstreamError(report()), False),
        (UnusableAnswer(report()), True),
        (InvalidArguments(report()), False),
    ],
)
def test_which_errors_may_hide_a_batch(error: CallError, maybe: bool) -> None:
    assert maybe_accepted(error) is maybe


@pytest.mark.parametrize(
    ("date", "elapsed_s", "measured", "earliest_s"),
    [
        (DATE, 10.0, True, NOON_S - 70),
        (DATE, 10.0, False, NOON_S - 3_610),
        (DATE, -10.0, False, NOON_S - 86_400),  # our clock was set back in between
        (None, 10.0, True, 5_000.0 - 70),
        ("nonsense", 10.0, True, 5_000.0 - 70),
    ],
)
def test_the_time_is_the_upstreams(date: str | None, elapsed_s: float, measured: bool, earliest_s: float) -> None:
    assert since_s(date, 5_000.0, elapsed_s, measured=measured) == earliest_s


def test_candidates_are_of_the_size_new_and_unknown() -> None:
    batches = [
        batch("ours"),
        batch("larger", rows=4),
        batch("older", created_at="2026-01-01T11:59:59Z"),
        batch("known"),
        batch("undated", created_at="?"),
        {"id": "odd", "request_counts": None},
    ]
    assert [each["id"] for each in candidates(batches, 3, NOON_S, {"known"})] == ["ours", "undated"]
    assert created_s(batch()) == NOON_S
    assert size({"request_counts": {"succeeded": 2, "expired": 1}}) == 3


A, B = batch("a"), batch("b")


@pytest.mark.parametrize(
    ("ours", "possible", "rivals", "found"),
    [
        ([], [], 0, NoneFound()),
        ([], [A], 0, Adopt(A, confirmed=False)),
        ([], [A], 1, Several([A])),
        ([], [A, B], 0, Several([A, B])),
        ([A], [], 0, Adopt(A, confirmed=True)),
        ([A], [B], 3, Adopt(A, confirmed=True)),
        ([A, B], [], 0, Several([A, B])),
    ],
)
def test_the_verdict(ours: list[Any], possible: list[Any], rivals: int, found: Verdict) -> None:
    assert verdict(ours, possible, rivals) == found


@pytest.mark.parametrize(
    ("outcome", "detail", "message", "kind"),
    [
        ("succeeded", "end_turn", "", None),
        ("succeeded", "tool_use", "", None),
        ("succeeded", "max_tokens", "", "truncated"),
        ("succeeded", "refusal", "", "refused"),
        ("expired", None, "", "expired"),
        ("canceled", None, "", "canceled"),
        ("errored", "api_error", "", "api_error"),
        ("errored", "timeout_error", "", "timeout_error"),
        ("errored", "billing_error", "", "billing"),
        ("errored", "invalid_request_error", "Your credit balance is too low to access", "billing"),
        ("errored", "invalid_request_error", "max_tokens: too many", "invalid"),
        ("errored", "not_found_error", "model: x", "invalid"),
        ("errored", None, "", "invalid"),
        ("something_new", None, "", None),
    ],
)
def test_what_a_row_is_called(outcome: str, detail: str | None, message: str, kind: str | None) -> None:
    assert kind_of(outcome, detail, message) == kind
    assert kind in (*PASSING, *ON_REQUEST, None)
    assert matters(outcome, detail) or kind is None
