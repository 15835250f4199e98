"""Every answer other than 200: the status and the evidence come from `Answer`, the type from the status."""

from collections.abc import Mapping

from batches_mcp.sandbox.answers import Answer

__all__ = [
    "ApiError",
    "api_key_invalid",
    "bad_encoding",
    "batch_missing",
    "both_cursors",
    "cancel_refused",
    "credential_missing",
    "delete_refused",
    "injected",
    "internal_error",
    "invalid_body",
    "invalid_json",
    "invalid_limit",
    "invalid_params",
    "method_not_allowed",
    "no_results",
    "path_not_found",
    "queue_limit",
    "rate_limit",
    "request_too_large",
    "single_message",
    "too_large_decoded",
    "unexpected_betas",
    "unknown_cursor",
    "version_missing",
    "version_unknown",
    "wrong_workspace",
]

_NO_HEADERS: Mapping[str, str] = {}
# Captured: the API's 404 tells SDKs not to try again.
_DO_NOT_RETRY: Mapping[str, str] = {"x-should-retry": "false"}

# Documented.
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",  # inferred
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class ApiError(Exception):
    """An error answer of the API, raised by a handler and written by the one error handler.

    status: the answer's own unless a switch or a fault says otherwise.
    error_code: `details.error_code`.
    bare: the body lacks the outer `type` and `request_id`, as answers from the edge in front of the API do.
    """

    def __init__(
        self,
        answer: Answer,
        message: str,
        *,
        status: int | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
        error_code: str | None = None,
        bare: bool = False,
    ) -> None:
        super().__init__(message)
        self.answer = answer
        self.message = message
        self.status = answer.status if status is None else status
        self.error_type = _ERROR_TYPES[self.status]
        self.headers = headers if self.status != 404 else {**_DO_NOT_RETRY, **headers}
        self.error_code = error_code
        self.bare = bare


def credential_missing() -> ApiError:
    return ApiError(Answer.MISSING_CREDENTIAL, "x-api-key header is required")


def api_key_invalid() -> ApiError:
    return ApiError(Answer.BAD_KEY, "API key is invalid.")


def version_missing() -> ApiError:
    return ApiError(Answer.MISSING_VERSION, "anthropic-version: header is required")


def version_unknown(version: str) -> ApiError:
    return ApiError(Answer.UNKNOWN_VERSION, f'anthropic-version: "{version}" is not a valid version')


def wrong_workspace(status: int) -> ApiError:
    """Documented is only that it must match."""
    message = "anthropic-workspace-id: does not match the workspace that the API key belongs to"
    return ApiError(Answer.WRONG_WORKSPACE, message, status=status)


def unexpected_betas(names: list[str]) -> ApiError:
    quoted = ", ".join(f"`{name}`" for name in names)
    return ApiError(
        Answer.UNKNOWN_BETA,
        f"Unexpected value(s) {quoted} for the `anthropic-beta` header. Please consult our documentation at "
        "docs.anthropic.com or try again without the header.",
    )


def path_not_found() -> ApiError:
    return ApiError(Answer.UNKNOWN_PATH, "Not found")


def single_message() -> ApiError:
    return ApiError(
        Answer.SINGLE_MESSAGE,
        "Not found. This is a sandbox of the Message Batches API: it answers /v1/messages/batches and "
        "/v1/messages/count_tokens, and no single messages. Send the message as a request of a batch "
        "(POST /v1/messages/batches), or to the API itself.",
    )


def invalid_params(error_type: str, message: str) -> ApiError:
    """Params whose tokens cannot be counted."""
    answer = Answer.COUNT_UNKNOWN_MODEL if error_type == "not_found_error" else Answer.COUNT_REFUSED
    return ApiError(answer, message)


def method_not_allowed(status: int, headers: Mapping[str, str]) -> ApiError:
    """`headers` holds `allow`."""
    if status == 404:
        return ApiError(Answer.WRONG_METHOD, "Not found", status=404)
    return ApiError(Answer.WRONG_METHOD, "Method Not Allowed", headers=headers)


def internal_error() -> ApiError:
    return ApiError(Answer.INTERNAL_ERROR, "Internal server error")


def rate_limit(retry_after_s: int, headers: Mapping[str, str]) -> ApiError:
    """`headers` holds the rate limit's own."""
    message = "This request would exceed your organization's rate limit of requests per minute for Message Batches."
    return ApiError(Answer.RATE_LIMIT, message, headers={**headers, "retry-after": str(retry_after_s)})


def queue_limit(allowed: int) -> ApiError:
    message = f"This batch would exceed your organization's limit of {allowed} batch requests in the processing queue."
    return ApiError(Answer.QUEUE_LIMIT, message)


def invalid_json(reason: str) -> ApiError:
    return ApiError(Answer.NOT_JSON, f"The request body is not valid JSON: {reason}")


def bad_encoding(reason: str) -> ApiError:
    return ApiError(Answer.BAD_ENCODING, f"content-encoding: {reason}")


def invalid_body(answer: Answer, message: str, status: int | None = None) -> ApiError:
    """A create whose body breaks a rule for the whole batch."""
    return ApiError(answer, message, status=status)


def request_too_large(answer: Answer) -> ApiError:
    """The bare body was seen in a public issue (anthropic-sdk-python 938)."""
    return ApiError(answer, "Request exceeds the maximum size", bare=True)


def too_large_decoded() -> ApiError:
    return ApiError(
        Answer.TOO_LARGE_DECODED,
        "Request exceeds the maximum size",
        error_code="request_body_too_large_after_decoding",
    )


def batch_missing(answer: Answer, batch_id: str, status: int | None = None) -> ApiError:
    """`answer` says why it is missing; the text does not."""
    if status == 400:
        message = "message_batch_id: String should match pattern '^msgbatch_[a-zA-Z0-9]+$'"
    elif status == 403:
        message = "Your API key does not have permission to use the specified resource."
    else:
        message = f"Message Batch {batch_id} not found."
    return ApiError(answer, message, status=status)


def no_results(answer: Answer, batch_id: str, status: int | None = None) -> ApiError:
    return ApiError(answer, f"Message Batch {batch_id} has no available results.", status=status)


def delete_refused(answer: Answer, status: int | None = None) -> ApiError:
    message = "In progress batches cannot be deleted. Consider canceling the batch instead."
    return ApiError(answer, message, status=status)


def cancel_refused(answer: Answer, batch_id: str, status: int) -> ApiError:
    """Documented is only that a batch may be canceled before processing ends."""
    state = "is already being canceled" if answer is Answer.CANCEL_CANCELING else "has ended and cannot be canceled"
    return ApiError(answer, f"Message Batch {batch_id} {state}.", status=status)


def invalid_limit(message: str) -> ApiError:
    return ApiError(Answer.LIMIT_RANGE, f"limit: {message}")


def both_cursors() -> ApiError:
    return ApiError(Answer.BOTH_CURSORS, "after_id and before_id cannot be used together")


def unknown_cursor(name: str, batch_id: str, status: int) -> ApiError:
    return ApiError(Answer.UNKNOWN_CURSOR, f"{name}: Message Batch {batch_id} not found.", status=status)


def injected(answer: Answer, message: str, retry_after_s: int | None = None, error_code: str | None = None) -> ApiError:
    """A fault that was asked for."""
    headers = _NO_HEADERS if retry_after_s is None else {"retry-after": str(retry_after_s)}
    return ApiError(answer, message, headers=headers, error_code=error_code)
