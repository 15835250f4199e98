"""Every answer other than 200, with its status, type, message and the evidence for it."""

from collections.abc import Mapping

from batches_mcp.sandbox.evidence import Evidence

__all__ = [
    "ApiError",
    "api_key_invalid",
    "batch_not_found",
    "cancel_after_end",
    "credential_missing",
    "internal_error",
    "invalid_body",
    "invalid_json",
    "invalid_query",
    "method_not_allowed",
    "no_results",
    "not_deletable",
    "path_not_found",
    "request_too_large",
    "unexpected_betas",
    "version_missing",
    "version_unknown",
]

_NO_HEADERS: Mapping[str, str] = {}
# Captured: the API's 404 tells SDKs not to try again.
_DO_NOT_RETRY: Mapping[str, str] = {"x-should-retry": "false"}


class ApiError(Exception):
    """An error answer of the API, raised by a handler and written by the one error handler.

    bare: the body lacks the outer `type` and `request_id`, as answers from the edge in front of the API do.
    """

    def __init__(
        self,
        status: int,
        error_type: str,
        message: str,
        evidence: Evidence,
        *,
        headers: Mapping[str, str] = _NO_HEADERS,
        bare: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error_type = error_type
        self.message = message
        self.evidence = evidence
        self.headers = headers
        self.bare = bare


def credential_missing() -> ApiError:
    """Documented type, inferred text."""
    return ApiError(401, "authentication_error", "x-api-key header is required", Evidence.INFERRED)


def api_key_invalid() -> ApiError:
    return ApiError(401, "authentication_error", "API key is invalid.", Evidence.CAPTURED)


def version_missing() -> ApiError:
    return _invalid_request("anthropic-version: header is required", Evidence.CAPTURED)


def version_unknown(version: str) -> ApiError:
    return _invalid_request(f'anthropic-version: "{version}" is not a valid version', Evidence.INFERRED)


def unexpected_betas(names: list[str]) -> ApiError:
    quoted = ", ".join(f"`{name}`" for name in names)
    return _invalid_request(
        f"Unexpected value(s) {quoted} for the `anthropic-beta` header. Please consult our documentation at "
        "docs.anthropic.com or try again without the header.",
        Evidence.DOCUMENTED,
    )


def path_not_found() -> ApiError:
    return ApiError(404, "not_found_error", "Not found", Evidence.INFERRED, headers=_DO_NOT_RETRY)


def method_not_allowed(headers: Mapping[str, str]) -> ApiError:
    """`headers` holds `allow`."""
    return ApiError(405, "invalid_request_error", "Method Not Allowed", Evidence.INFERRED, headers=headers)


def internal_error() -> ApiError:
    """A fault of the sandbox itself, in the API's clothes."""
    return ApiError(500, "api_error", "Internal server error", Evidence.DOCUMENTED)


def invalid_json(reason: str) -> ApiError:
    return _invalid_request(f"The request body is not valid JSON: {reason}", Evidence.CAPTURED)


def invalid_body(message: str, evidence: Evidence) -> ApiError:
    """A create whose body breaks a rule for the whole batch."""
    return _invalid_request(message, evidence)


def request_too_large() -> ApiError:
    """Documented limit and type; the bare body was seen in a public issue (anthropic-sdk-python 938)."""
    return ApiError(413, "request_too_large", "Request exceeds the maximum size", Evidence.DOCUMENTED, bare=True)


def batch_not_found(batch_id: str) -> ApiError:
    """Captured for an unknown id; inferred for another tenant's, a deleted or a malformed one."""
    return ApiError(
        404, "not_found_error", f"Message Batch {batch_id} not found.", Evidence.CAPTURED, headers=_DO_NOT_RETRY
    )


def no_results(batch_id: str, evidence: Evidence) -> ApiError:
    return ApiError(
        404,
        "not_found_error",
        f"Message Batch {batch_id} has no available results.",
        evidence,
        headers=_DO_NOT_RETRY,
    )


def not_deletable(evidence: Evidence) -> ApiError:
    return _invalid_request("In progress batches cannot be deleted. Consider canceling the batch instead.", evidence)


def cancel_after_end(batch_id: str) -> ApiError:
    """Documented is only that a batch may be canceled before processing ends."""
    return _invalid_request(f"Message Batch {batch_id} has ended and cannot be canceled.", Evidence.INFERRED)


def invalid_query(message: str) -> ApiError:
    """The ranges are documented, the texts are not."""
    return _invalid_request(message, Evidence.INFERRED)


def _invalid_request(message: str, evidence: Evidence) -> ApiError:
    return ApiError(400, "invalid_request_error", message, evidence)
