"""What goes wrong over REST, as the upstream says it: `{type: error, error: {type, message}, request_id}`."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import JSONResponse

from batches_mcp.core.errors import ErrorReport, Retry
from batches_mcp.serve.incoming import ALLOW_DUPLICATE
from batches_mcp.serve.requestids import request_id

# https://platform.claude.com/docs/en/api/errors
_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
# What Anthropic calls those of our own errors that it knows another name for.
_ANTHROPICS = {"server_busy": "overloaded_error"}
_SERVER_FAULT = 500
# Of our own errors, by their type; what else was wrong was the request.
_STATUS = {
    "request_too_large": 413,
    "duplicate_create": 409,
    "create_unsettled": 409,
    "cost_cap": 402,
    "cost_unknown": 402,
    "rate_limited": 429,
    "shutting_down": 503,
    "server_busy": 503,
    "timeout": 504,
    "connection_error": 502,
    "unusable_answer": 502,
    "answer_too_large": 502,
    "missing_variable": 500,
    "bad_variable": 500,
    "state_unusable": 500,
    "not_declared": 500,
    "internal_error": 500,
}


def refusal(status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An error of ours, with the id by which the log knows the request."""
    return _response(status, _TYPES.get(status) or _by_class(status), message, request_id(), headers)


def failed(report: ErrorReport) -> JSONResponse:
    """What a call came to that gave no answer to hand on, or was not made.

    A client that retries by itself, as the official ones do, is asked not to when that would not help, or could be
    carried out, and paid, twice.
    """
    status = report.status or _STATUS.get(report.type, HTTPStatus.BAD_REQUEST)
    headers = {} if report.retry is Retry.HELPS and not report.in_doubt else {"x-should-retry": "false"}
    if report.retry_after_s is not None:
        headers["retry-after"] = f"{report.retry_after_s:g}"
    message = f"{report.message} {_next_step(report)}".strip()
    if report.status is not None and report.request_id:
        return _response(status, report.type, message, report.request_id, headers)
    kind = _ANTHROPICS.get(report.type) or _TYPES.get(status) or _by_class(status)
    return _response(status, kind, message, request_id(), headers)


def _next_step(report: ErrorReport) -> str:
    """What a program can do next; reports speak of tools and of the user behind an agent."""
    if "allow_duplicate" in report.next_step and report.type not in _NEXT_STEPS:
        return _NEXT_STEPS["create_unsettled"]
    return _NEXT_STEPS.get(report.type, report.next_step)


_AGAIN = f"the header `{ALLOW_DUPLICATE}: true` sends the same requests a second time, and bills them a second time."
_NEXT_STEPS = {
    "internal_error": "",
    "invalid_arguments": "",
    "duplicate_create": f"Nothing was sent; {_AGAIN}",
    "create_unsettled": f"The same request again looks for that batch before it sends anything; {_AGAIN}",
    "cost_cap": "Nothing was sent. Fewer requests or a lower max_tokens cost less; --max-cost-usd or the team's cap "
    "is the operator's.",
}


def _by_class(status: int) -> str:
    return "api_error" if status >= _SERVER_FAULT else "invalid_request_error"


def _response(status: int, kind: str, message: str, request_id: str, headers: Mapping[str, str] | None) -> JSONResponse:
    content = {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}
    return JSONResponse(content, status, headers={**(headers or {}), "request-id": request_id})
