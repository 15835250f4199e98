"""Why a create was not sent, or not again, in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batches_mcp.batch.create.entry import Draft, Entry
from batches_mcp.batch.create.evidence import Adopt, NoneFound, Several, Unknown, Verdict
from batches_mcp.errors import CallError, ErrorReport, Retry
from batches_mcp.redact import excerpt


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


def unpriced(estimate: Mapping[str, Any]) -> CallError:
    """The error for requests of which nobody can say what they may cost, under a cap; `estimate` is of `cost`."""
    reasons = []
    if models := estimate["unknown_models"]:
        reasons.append(f"the price of {', '.join(excerpt(model, 60) for model in models[:_MOST_NAMED])} is not known")
    for each in estimate["unbounded"][:_MOST_NAMED]:
        others = f" (and {each['requests'] - 1:,} other requests)" if each["requests"] > 1 else ""
        reasons.append(f"{each['where']} ({each['custom_id']!r}){others} asks for {each['reason']}")
    message = f"the cost of the batch cannot be estimated: {'; '.join(reasons)}."
    return CallError(ErrorReport("cost_unknown", message, _ESTIMATED_ONLY))


def unknown_spent(entry: Entry) -> CallError:
    """The error for any create under a cap while it is not known what one of the last 24 hours may have cost."""
    made = f"batch {entry.batch_id}" if entry.batch_id else f"a create of {entry.rows:,} requests"
    message = (
        f"what {made} cost is not known: it was made within the last 24 hours without a cap on costs. So what is left "
        "under --max-cost-usd is not known either."
    )
    next_step = (
        "Nothing was sent. Get the results of that batch once it has ended, which tell its cost, and call again; "
        "otherwise it counts for 24 hours from its creation."
    )
    return CallError(ErrorReport("cost_unknown", message, next_step))


_MOST_NAMED = 5
_ESTIMATED_ONLY = (
    "Nothing was sent: --max-cost-usd only allows batches whose cost can be estimated. Use a model whose price is "
    "known; give documents as text or in base64; give web_search and web_fetch a max_uses; leave out other server "
    "tools, containers, MCP servers and compaction. Or ask the operator, who alone can lift the cap."
)
