"""What is made of a create without an answer, and of the rows of a batch that ended."""

from __future__ import annotations

from typing import Any

import pytest

from batches_mcp.api.batch import Batch, Page
from batches_mcp.core.errors import (
    CallError,
    ErrorReport,
    InvalidArguments,
    Retry,
    UnusableAnswer,
    UpstreamError,
    UpstreamUnreachable,
)
from batches_mcp.store.claim_rules import Baseline
from batches_mcp.store.entry import Entry
from batches_mcp.work.evidence import (
    Adopt,
    Candidates,
    InDoubt,
    NoneFound,
    Verdict,
    baseline,
    candidates,
    created_s,
    maybe_accepted,
    verdict,
)
from batches_mcp.work.retryable import ON_REQUEST, PASSING, kind_of, matters
from tests.unit.plans import answer

NOON_S = 1_767_268_800.0  # 2026-01-01T12:00:00Z
DATE = "Thu, 01 Jan 2026 12:00:00 GMT"


def raw(name: str = "a", rows: int = 3, created_at: str = "2026-01-01T12:00:00Z") -> dict[str, Any]:
    counts = {"processing": rows, "succeeded": 0}
    return {"id": name, "request_counts": counts, "created_at": created_at}


def batch(name: str = "a", rows: int = 3, created_at: str = "2026-01-01T12:00:00Z") -> Batch:
    return Batch.of(raw(name, rows, created_at))


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
    ("page", "date", "expected"),
    [
        ({"data": [raw("b"), raw("a")]}, DATE, Baseline(NOON_S, NOON_S, "b")),
        ({"data": []}, DATE, Baseline(NOON_S)),
        ({"data": []}, None, Baseline(5_000.0)),
        ({"data": [{"id": "b", "created_at": "?"}]}, DATE, Baseline(NOON_S, NOON_S - 120)),
        ({"data": ["b"]}, DATE, Baseline(NOON_S, NOON_S - 120)),
        ({"nothing": 1}, "nonsense", Baseline(5_000.0, 4_880.0)),
    ],
)
def test_what_is_newer_than_a_create_is_measured_before_it(page: Any, date: str | None, expected: Baseline) -> None:
    assert baseline(Page.of(page, answer(page, headers={"date": date} if date else {})), 5_000.0) == expected


def test_candidates_are_of_the_size_and_unknown() -> None:
    batches = [batch("ours"), batch("larger", rows=4), batch("known"), Batch.of({"id": "odd", "request_counts": None})]
    entry = Entry("c", 3, 100)
    assert [each.id for each in candidates(batches, entry, {"known"})] == ["ours"]
    assert created_s(batch()) == NOON_S
    assert created_s(batch(created_at="?")) == float("inf")
    assert Batch.of({"request_counts": {"succeeded": 2, "expired": 1}}).total == 3


A, B = batch("a"), batch("b")


@pytest.mark.parametrize(
    ("ours", "possible", "left_s", "found"),
    [
        ([], [], 1.0, InDoubt(1.0)),
        ([], [], 0.0, NoneFound()),
        ([], [A], 0.0, Candidates([A])),
        ([], [A, B], 1.0, Candidates([A, B])),
        ([A], [], 1.0, Adopt(A)),
        ([A], [B], 0.0, Adopt(A)),
        ([A, B], [], 0.0, Candidates([A, B])),
    ],
)
def test_the_verdict(ours: list[Any], possible: list[Any], left_s: float, found: Verdict) -> None:
    assert verdict(ours, possible, left_s) == found


def test_of_batches_of_the_same_content_each_create_may_have_any() -> None:
    assert verdict([A, B], [], 1.0, alike=2) == Adopt(B)
    assert verdict([A, B], [A], 1.0, alike=3) == Adopt(B)


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
