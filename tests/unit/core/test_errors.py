"""What an error says: to a person, to a model, and as data."""

from __future__ import annotations

import pytest

from batches_mcp.core import errors
from batches_mcp.core.diagnostics import Diagnostic, Severity
from batches_mcp.core.errors import (
    BatchesMcpError,
    CallError,
    CapabilityError,
    ErrorReport,
    Retry,
    UpstreamUnreachable,
)

LOOK = "Look first."


@pytest.mark.parametrize(
    ("report", "text"),
    [
        (ErrorReport("t", "m.", LOOK), "t: m.\nNext: Look first. Retrying the same call will not help."),
        (
            ErrorReport("t", "m.", LOOK, status=404, request_id="req_1"),
            "t (HTTP 404, request req_1): m.\nNext: Look first. Retrying the same call will not help.",
        ),
        (
            ErrorReport("t", "m.", LOOK, Retry.HELPS, status=500),
            "t (HTTP 500): m.\nNext: Look first. A retry may help.",
        ),
        (
            ErrorReport("t", "m.", LOOK, Retry.HELPS, retry_after_s=10.0),
            "t: m.\nNext: Look first. A retry may help, after 10 s.",
        ),
        (
            ErrorReport("t", "m.", LOOK, Retry.UNSAFE),
            "t: m.\nNext: Look first. Do not repeat the call before that: it might be carried out, and paid, twice.",
        ),
    ],
)
def test_the_text_says_what_happened_and_what_to_do(report: ErrorReport, text: str) -> None:
    assert report.text() == text


@pytest.mark.parametrize(
    ("report", "text"),
    [
        (ErrorReport("t", "m.", LOOK, status=404, request_id="req_1"), "t (HTTP 404, request req_1): m."),
        (ErrorReport("t", "m.", LOOK, Retry.HELPS, at_shell="Correct it."), "t: m.\nNext: Correct it."),
    ],
)
def test_at_a_shell_the_text_is_for_a_person(report: ErrorReport, text: str) -> None:
    assert str(CallError(report)) == text


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0.25, "0.25"), (1.0, "1"), (86_400.0, "86400"), (30_000_000.0, "30000000"), (1 / 3, "0.333")],
)
def test_a_waiting_time_is_written_plainly(seconds: float, written: str) -> None:
    assert f"after {written} s." in ErrorReport("t", "m", "n", Retry.HELPS, seconds).text()


def test_a_waiting_time_is_not_told_where_a_retry_does_not_help() -> None:
    assert "10" not in ErrorReport("t", "m", "n", Retry.USELESS, 10.0).text()


def test_the_data_leaves_out_what_is_not_known() -> None:
    assert ErrorReport("t", "m", "n").data() == {"type": "t", "message": "m", "next_step": "n", "retryable": False}
    assert ErrorReport("t", "m", "n", Retry.HELPS, 1.5, 429, "req_1", "code").data() == {
        "type": "t",
        "status": 429,
        "request_id": "req_1",
        "error_code": "code",
        "message": "m",
        "next_step": "n",
        "retryable": True,
        "retry_after_s": 1.5,
    }


def test_what_is_unsafe_is_not_retryable() -> None:
    assert ErrorReport("t", "m", "n", Retry.UNSAFE).data()["retryable"] is False


def test_a_capability_error_lists_every_diagnostic() -> None:
    found = [
        Diagnostic("f.yaml", 1, 2, "tab", Severity.ERROR, "a tab", "use spaces"),
        Diagnostic("f.yaml", 3, 4, "dialect", Severity.WARNING, "odd"),
    ]
    error = CapabilityError(found)
    assert error.diagnostics == tuple(found)
    assert str(error) == "f.yaml:1:2: tab: a tab; use spaces\nf.yaml:3:4: dialect: warning: odd"


def test_an_unreachable_upstream_may_have_acted() -> None:
    error = UpstreamUnreachable(ErrorReport("t", "m", "n"), maybe_accepted=True)
    assert error.maybe_accepted
    assert isinstance(error, CallError)


def test_the_tree_in_the_documentation_is_the_tree() -> None:
    documented = {
        line.split("── ")[-1].split()[0]
        for line in (errors.__doc__ or "").splitlines()
        if "Error" in line or "── " in line
    }
    classes = {
        name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, BatchesMcpError)
    }
    assert classes <= documented
