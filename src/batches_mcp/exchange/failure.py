"""An upstream answer with an error status -> the error to report: what it says, what to do, whether to retry. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from pydantic_core import from_json

from batches_mcp.core.errors import ErrorReport, Retry, UpstreamError
from batches_mcp.core.redact import excerpt
from batches_mcp.exchange.result import Answer

_PHRASES = {status.value for status in HTTPStatus}
# https://platform.claude.com/docs/en/api/errors
_OTHER_PHRASES = {529: "overloaded"}

_CLIENT_ERROR, _SERVER_FAULT = 400, 500
# The request was turned away unread, so that even one that costs money may be sent again.
_NOT_ACCEPTED = {429, 529}
# Client errors that pass by themselves.
_PASSING = {408, 409}
_YEAR_S = 365 * 86_400.0

# Statuses that a server which is not the API gives as well.
_WITHOUT_REASON = {403, 404, 405}
_ELSEWHERE = "Check the base URL: that is not how the API answers, and so something else may be there."
# The first for a model, the second for a person at a shell.
_NEXT_STEPS = {
    402: (
        "Tell the user: the account's billing needs attention.",
        "See to the account's billing.",
    ),
    403: (
        "Tell the user: the credential has no permission for this.",
        "Use a credential that has permission for this.",
    ),
    404: ("Check the id: nothing answers to it for this credential, or not yet, or no longer.",) * 2,
    413: ("Send less in one request: split it.",) * 2,
    429: (
        "Wait, then call again. If the message speaks of a spend limit, tell the user instead.",
        "Wait, then give the same command again; if the message speaks of a spend limit, have it raised first.",
    ),
    529: (
        "The upstream is overloaded. Wait, then call again.",
        "The upstream is overloaded. Wait, then give the same command again.",
    ),
}


def failure(answer: Answer, *, repeatable: bool, variables: Collection[str]) -> UpstreamError:
    """The error for an answer with an error status, from whatever the upstream said of it.

    `repeatable` tells whether the request may be sent again in doubt; `variables` are what its credential comes from.
    """
    error = _envelope(answer.body)
    details = error.get("details")
    code = details.get("error_code") if isinstance(details, dict) else None
    message = error.get("message")
    if not (isinstance(message, str) and message):
        message = f"the upstream gave no reason: its answer is {answer.description}."
    phrase = (
        HTTPStatus(answer.status).phrase if answer.status in _PHRASES else _OTHER_PHRASES.get(answer.status, "error")
    )
    retry = retry_of(answer, repeatable=repeatable)
    after_s = None if _limit_is_spent(answer) else retry_after_s(answer.headers)
    if answer.status in _NOT_ACCEPTED and after_s is not None:
        retry = Retry.HELPS  # by then, though nothing should try again by itself before
    elsewhere = answer.status in _WITHOUT_REASON and not error
    next_step, at_shell = _ELSEWHERE, _ELSEWHERE
    if not elsewhere:
        next_step, at_shell = _next_steps(answer.status, retry, variables)
    report = ErrorReport(
        type=_word(error.get("type")) or _word(phrase),
        message=excerpt(message, 2000),
        next_step=next_step,
        retry=retry,
        retry_after_s=after_s,
        status=answer.status,
        request_id=excerpt(answer.request_id, 100) if answer.request_id else None,
        error_code=excerpt(code, 100) if isinstance(code, str) else None,
        at_shell=at_shell,
    )
    return UpstreamError(report, answer.headers, answer.body)


def retry_of(answer: Answer, *, repeatable: bool) -> Retry:
    """Whether sending the request again may help, and is safe."""
    asked_for = answer.headers.get("x-should-retry", "").lower()
    if answer.status in _NOT_ACCEPTED:
        return Retry.USELESS if _limit_is_spent(answer) or asked_for == "false" else Retry.HELPS
    if answer.status < _SERVER_FAULT and answer.status not in _PASSING:
        return Retry.HELPS if asked_for == "true" and repeatable else Retry.USELESS
    if not repeatable:
        return Retry.UNSAFE
    return Retry.USELESS if asked_for == "false" else Retry.HELPS


def _limit_is_spent(answer: Answer) -> bool:
    """Whether it is an account's own spend limit, which ends when its owner raises it, whatever the status promises."""
    return answer.status in _NOT_ACCEPTED and b'"enforced_spend_limit_reached"' in answer.body


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds the upstream asks to wait: `retry-after-ms`, else `retry-after`, a number or a date (RFC 9110 10.2.3)."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
        if 0 <= seconds < _YEAR_S:
            return seconds
    try:
        wanted = parsedate_to_datetime(headers["retry-after"])
        sent = parsedate_to_datetime(headers["date"])
        seconds = max(0.0, (wanted - sent).total_seconds())
    except (KeyError, ValueError, TypeError):
        return None
    return seconds if seconds < _YEAR_S else None


@lru_cache(maxsize=16)  # many answers come within a second
def time_of(date: str | None) -> float | None:
    """A `Date` header as Unix time; None when there is none that can be read."""
    try:
        return parsedate_to_datetime(date or "").timestamp()
    except (ValueError, TypeError, OverflowError, OSError):
        return None


def _next_steps(status: int, retry: Retry, variables: Collection[str]) -> tuple[str, str]:
    """What a model does next, and what a person at a shell does."""
    if retry is Retry.UNSAFE:
        done = "The request may have been carried out. Look at what exists upstream now (list it) before anything else."
        return done, done
    if status == HTTPStatus.UNAUTHORIZED:
        names = " or ".join(sorted(variables)) or "the credential"
        refused = f"the upstream does not accept the value of {names}"
        return f"Tell the user that {refused} in the server's environment.", f"Correct it: {refused}."
    if status in _NOT_ACCEPTED and retry is Retry.USELESS:
        return (
            "Tell the user: waiting a little does not end this limit.",
            "See to the limit that the message speaks of: waiting a little does not end it.",
        )
    if status in _NEXT_STEPS:
        return _NEXT_STEPS[status]
    if status >= _SERVER_FAULT:
        return (
            "The fault is the upstream's. Wait a little; if it lasts, tell the user.",
            "The fault is the upstream's. Wait a little, then give the same command again.",
        )
    if status < _CLIENT_ERROR:
        return (
            "Redirects are not followed. Tell the user to check the base URL this server was started with.",
            "Redirects are not followed. Check the base URL.",
        )
    change = "Change the request as the message says."
    return change, change


def _envelope(body: bytes) -> dict[str, Any]:
    """The `{type, message, details}` of an error body: `{error: {...}}` as many APIs have it, or the body itself."""
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError:
        return {}
    if not isinstance(value, dict):
        return {}
    error = value.get("error", value)
    if isinstance(error, str):
        return {"message": error}
    if not isinstance(error, dict):
        return {}
    # RFC 9457 problem details say `title` and `detail`.
    return {**error, "message": error.get("message") or error.get("detail") or error.get("title")}


def _word(value: object) -> str:
    """A type for an error, in the form types have: lower case and underscores."""
    return "_".join(excerpt(value, 80).lower().split()) if isinstance(value, str) else ""
