"""Answers with an error status: what is told of them, and whether a retry helps."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batches_mcp.core.errors import Retry
from batches_mcp.exchange.failure import failure, retry_after_s, retry_of
from batches_mcp.exchange.result import Answer
from tests.unit.plans import answer

ENVELOPE = {
    "type": "error",
    "error": {"type": "not_found_error", "message": "Batch not found", "details": {"error_code": "batch_gone"}},
    "request_id": "req_in_body",
}


def told(reply: Answer, *, repeatable: bool = True, variables: tuple[str, ...] = ("API_KEY",)) -> str:
    return failure(reply, repeatable=repeatable, variables=variables).report.text()


def test_an_error_envelope_is_told_in_full() -> None:
    error = failure(answer(ENVELOPE, 404, headers={"request-id": "req_1"}), repeatable=True, variables=())
    assert error.report.text() == (
        "not_found_error (HTTP 404, request req_1): Batch not found\n"
        "Next: Check the id: nothing answers to it for this credential, or not yet, or no longer. "
        "Retrying the same call will not help."
    )
    assert error.report.data() == {
        "type": "not_found_error",
        "status": 404,
        "request_id": "req_1",
        "error_code": "batch_gone",
        "message": "Batch not found",
        "next_step": "Check the id: nothing answers to it for this credential, or not yet, or no longer.",
        "retryable": False,
    }


@pytest.mark.parametrize(
    ("body", "beginning"),
    [
        ({"error": {"type": "invalid_request_error", "message": "bad"}}, "invalid_request_error (HTTP 400): bad\n"),
        ({"error": "bad"}, "bad_request (HTTP 400): bad\n"),
        ({"error": {"message": "bad", "type": None}}, "bad_request (HTTP 400): bad\n"),
        ({"type": "validation", "message": "bad"}, "validation (HTTP 400): bad\n"),
        ({"type": "about:blank", "title": "Bad", "detail": "really bad"}, "about:blank (HTTP 400): really bad\n"),
        ({"title": "Bad"}, "bad_request (HTTP 400): Bad\n"),
        ({"detail": "Not here"}, "bad_request (HTTP 400): Not here\n"),
        ({"error": {"type": "Two Words", "message": "a\n\n b\x00"}}, "two_words (HTTP 400): a b\\x00\n"),
        ({"error": {"message": {"text": "bad"}}}, "bad_request (HTTP 400): the upstream gave no reason: "),
        ({"error": None}, "bad_request (HTTP 400): the upstream gave no reason: "),
        ({"error": ["bad"]}, "bad_request (HTTP 400): the upstream gave no reason: "),
        (["bad"], "bad_request (HTTP 400): the upstream gave no reason: "),
        ("bad", "bad_request (HTTP 400): the upstream gave no reason: "),
        (b"", "bad_request (HTTP 400): the upstream gave no reason: its answer is application/json, 0 bytes.\n"),
        (b"{", "bad_request (HTTP 400): the upstream gave no reason: its answer is application/json, 1 bytes.\n"),
    ],
)
def test_every_kind_of_envelope_gives_a_type_and_a_message(body: Any, beginning: str) -> None:
    assert told(answer(body, 400)).startswith(beginning)


def test_a_page_is_described_and_not_shown() -> None:
    text = told(answer(b"<html>internal</html>", 502, kind="text/html"))
    assert text.startswith("bad_gateway (HTTP 502): the upstream gave no reason: its answer is text/html, 21 bytes.\n")
    assert "internal" not in text


def test_a_long_message_is_cut() -> None:
    report = failure(answer({"error": {"message": "x" * 5000}}, 400), repeatable=True, variables=()).report
    assert len(report.message) == 2000
    assert len(report.text()) < 3000


@given(st.binary(max_size=200) | st.text().map(str.encode), st.integers(300, 599), st.booleans())
def test_any_body_and_status_makes_an_error(body: bytes, status: int, repeatable: bool) -> None:
    report = failure(answer(body, status), repeatable=repeatable, variables=("K",)).report
    assert report.type
    assert report.message
    assert report.next_step
    assert report.status == status


@pytest.mark.parametrize(
    ("status", "step"),
    [
        (302, "Redirects are not followed. Tell the user to check the base URL this server was started with."),
        (400, "Change the request as the message says."),
        (401, "Tell the user that the upstream does not accept the value of API_KEY in the server's environment."),
        (402, "Tell the user: the account's billing needs attention."),
        (403, "Tell the user: the credential has no permission for this."),
        (404, "Check the id:"),
        (413, "Send less in one request: split it."),
        (429, "Wait, then call again."),
        (500, "The fault is the upstream's."),
        (529, "The upstream is overloaded."),
    ],
)
def test_the_next_step_fits_the_status(status: int, step: str) -> None:
    assert f"\nNext: {step}" in told(answer({}, status))


def test_a_call_that_may_have_been_carried_out_says_look_first() -> None:
    text = told(answer({}, 500), repeatable=False)
    assert "may have been carried out. Look at what exists upstream now" in text
    assert text.endswith("Do not repeat the call before that: it might be carried out, and paid, twice.")


def test_an_unknown_status_has_a_type_too() -> None:
    assert told(answer({}, 529)).startswith("overloaded (HTTP 529)")
    assert told(answer({}, 499)).startswith("error (HTTP 499)")


USELESS, HELPS, UNSAFE = Retry.USELESS, Retry.HELPS, Retry.UNSAFE


@pytest.mark.parametrize(
    ("status", "wish", "repeatable", "once"),
    [
        # Status, `x-should-retry`, for what may be repeated, for what may not.
        (400, None, USELESS, USELESS),
        (400, "true", HELPS, USELESS),
        (401, None, USELESS, USELESS),
        (404, None, USELESS, USELESS),
        (404, "false", USELESS, USELESS),
        (302, None, USELESS, USELESS),
        (408, None, HELPS, UNSAFE),
        (408, "false", USELESS, UNSAFE),
        (409, None, HELPS, UNSAFE),
        (429, None, HELPS, HELPS),
        (429, "false", USELESS, USELESS),
        (429, "true", HELPS, HELPS),
        (500, None, HELPS, UNSAFE),
        (500, "false", USELESS, UNSAFE),
        (503, "TRUE", HELPS, UNSAFE),
        (504, None, HELPS, UNSAFE),
        (529, None, HELPS, HELPS),
        (529, "False", USELESS, USELESS),
    ],
)
def test_a_retry_helps_when_it_may_pass_and_cannot_do_twice(
    status: int, wish: str | None, repeatable: Retry, once: Retry
) -> None:
    reply = answer({}, status, headers={"x-should-retry": wish} if wish else None)
    assert retry_of(reply, repeatable=True) is repeatable
    assert retry_of(reply, repeatable=False) is once


def test_an_own_spend_limit_does_not_pass_by_waiting() -> None:
    body = {"error": {"type": "rate_limit_error", "details": {"error_code": "enforced_spend_limit_reached"}}}
    assert retry_of(answer(body, 429), repeatable=True) is Retry.USELESS


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "10"}, 10.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "10"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "10"}, 10.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e12"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Sat, 21 Nov 2026 10:00:30 GMT", "date": "Sat, 21 Nov 2026 10:00:00 GMT"}, 30.0),
        ({"retry-after": "Sat, 21 Nov 2026 09:00:00 GMT", "date": "Sat, 21 Nov 2026 10:00:00 GMT"}, 0.0),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT", "date": "Sat, 21 Nov 2026 10:00:00 GMT"}, None),
        ({"retry-after": "Sat, 21 Nov 2026 10:00:30 GMT"}, None),
        ({"retry-after": "Sat, 21 Nov 2026 10:00:30 -0000", "date": "Sat, 21 Nov 2026 10:00:00 GMT"}, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_header_is_a_time_or_none(after: str, date: str) -> None:
    seconds = retry_after_s({"retry-after": after, "date": date, "retry-after-ms": after})
    assert seconds is None or seconds >= 0
