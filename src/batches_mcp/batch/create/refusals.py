"""Why a create was not sent, or not again, in words. Pure."""

from __future__ import annotations

from batches_mcp.batch.create.entry import Draft, Entry
from batches_mcp.batch.create.evidence import Adopt, NoneFound, Several, Unknown, Verdict
from batches_mcp.errors import CallError, ErrorReport, Retry


def unsettled(entry: Entry, verdict: Verdict, error: CallError | None = None) -> CallError:
    """The error for a create of which no batch is known for certain; `error` is what it ended with, if just now."""
    reason = error.report.message if error else "an earlier create of the same content was not answered."
    kind = error.report.type if error else "create_unsettled"

    def report(message: str, next_step: str, retry: Retry) -> CallError:
        status = error.report.status if error else None
        request_id = error.report.request_id if error else None
        return CallError(
            ErrorReport(kind, f"{reason} {message}", next_step, retry, status=status, request_id=request_id)
        )

    match verdict:
        case Several(batches):
            named = ", ".join(f"{batch.get('id')} (created {batch.get('created_at')})" for batch in batches)
            return report(
                f"It may have made a batch of {entry.rows:,} requests, which may be {named}. Nothing else was sent.",
                "Tell the user. Once these have ended, the same call tells by their custom_ids which one it is. "
                "allow_duplicate sends the requests a second time all the same.",
                Retry.UNSAFE,
            )
        case NoneFound():
            return report(
                f"The list was looked at, and no batch of these {entry.rows:,} requests exists; none is paid.",
                "The same call is safe: it looks once more before it sends.",
                Retry.HELPS,
            )
        case Unknown(cause):
            return report(
                f"Whether it made a batch could not be found out: {cause.report.message}",
                "Make the same call again later: it looks for the batch first, and sends nothing before it could look.",
                Retry.HELPS,
            )
        case Adopt():
            raise ValueError("an adopted batch is no error")


def duplicate(entry: Entry, now_s: float) -> CallError:
    """The error for requests that were submitted not long ago; `now_s` is Unix time."""
    label = f" (label {entry.label!r})" if entry.label else ""
    minutes = max(0, round((now_s - entry.started_s) / 60))
    age = f"{minutes} min" if minutes < 120 else f"{round(minutes / 60)} h"
    message = f"the same {entry.rows:,} requests were submitted {age} ago as batch {entry.batch_id}{label}."
    next_step = (
        f"Nothing was sent: use batch {entry.batch_id}. Only if the user wants the same requests done and billed a "
        "second time, call again with allow_duplicate."
    )
    return CallError(ErrorReport("duplicate_create", message, next_step))


def over_cap(spent_usd: float, draft: Draft, cap_usd: float) -> CallError:
    """The error for a create that might cost more than is left of the cap."""
    message = (
        f"the batch may cost up to {draft.estimate_usd or 0:.4f} USD, and the last 24 hours came to {spent_usd:.4f} "
        f"USD: together more than the {cap_usd:g} USD that this server may spend."
    )
    next_step = (
        "Nothing was sent. Tell the user; fewer requests or a lower max_tokens cost less, and only the operator can "
        "raise --max-cost-usd."
    )
    return CallError(ErrorReport("cost_cap", message, next_step))


def unpriced(models: list[str]) -> CallError:
    """The error for requests of which it is not known what they cost, where that must be known."""
    message = f"the price of {', '.join(models)} is not known, and this server may only spend what it can reckon."
    next_step = (
        "Nothing was sent. Use a model whose price is known, or tell the user, who started it with --max-cost-usd."
    )
    return CallError(ErrorReport("cost_unknown", message, next_step))
