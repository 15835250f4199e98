"""Which rows of a batch may succeed when they are sent again, and the names `retry_types` has for the others. Pure."""

from __future__ import annotations

from batches_mcp.api.outcomes import unfinished_of

# Errors that are nobody's fault and pass: https://platform.claude.com/docs/en/api/errors
PASSING = ("expired", "api_error", "overloaded_error", "rate_limit_error", "timeout_error")
ON_REQUEST = ("canceled", "billing", "invalid", "truncated", "refused")


def kind_of(outcome: str, detail: str | None, message: str) -> str | None:
    """What `retry_types` calls a row, by its type, the type of its error or its stop_reason; None for one that is done.

    Used-up credit is known by its text: the API gives it the type of any other invalid request, as captured in
    https://github.com/bespokelabsai/curator/issues/296.
    """
    match outcome:
        case "expired" | "canceled":
            return outcome
        case "succeeded":
            stopped = unfinished_of((outcome, detail))
            return stopped if stopped in ON_REQUEST else None
        case "errored":
            if detail in PASSING:
                return detail
            return "billing" if detail == "billing_error" or "credit balance" in message else "invalid"
        case _:
            return None


def matters(outcome: str, detail: str | None) -> bool:
    """Whether `kind_of` may have a name for a row."""
    return kind_of(outcome, detail, "") is not None
