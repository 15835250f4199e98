"""Why a create was not sent, or not again, in words. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from batches_mcp.core.errors import CallError, ErrorReport, Retry, StateUnusable, UpstreamUnreachable
from batches_mcp.core.limits import Limits
from batches_mcp.core.redact import excerpt
from batches_mcp.core.text import count
from batches_mcp.requests.cost import dollars
from batches_mcp.store.claim_rules import Cap, Window
from batches_mcp.store.entry import Approval, Draft, Entry, rfc3339
from batches_mcp.work.evidence import Adopt, Candidates, InDoubt, NoneFound, Unknown, Verdict

# The types of errors that say that a create would pass at another time.
QUEUE_FULL, COST_CAP, COST_UNKNOWN = "queue_full", "cost_cap", "cost_unknown"
PENDING, DENIED = "pending_approval", "approval_denied"


def unsettled(entry: Entry, verdict: Verdict, limits: Limits, error: CallError | None = None) -> CallError:
    """The error for a create of which no batch is known for certain; `error` is what it ended with, if just now."""
    reason = error.report.message if error else "an earlier create of the same content was not answered."
    kind = error.report.type if error else "create_unsettled"

    def report(message: str, next_step: str, wait_s: float | None) -> CallError:
        return CallError(
            ErrorReport(
                kind,
                f"{reason} {message}",
                next_step,
                Retry.HELPS,
                retry_after_s=wait_s,
                status=error.report.status if error else None,
                request_id=error.report.request_id if error else None,
                in_doubt=wait_s is not None,
                at_shell="The same command looks for the batch first, and sends nothing before it is known.",
            )
        )

    match verdict:
        case Candidates(batches):
            named = " or ".join(f"{batch.id} (created {batch.raw.get('created_at')})" for batch in batches)
            return report(
                f"It may have made a batch of {entry.rows:,} requests, which may be {named}. Nothing else was sent.",
                "Make the same call again once that has ended: it tells by the custom_ids of the results whether it is "
                f"the one, and sends nothing before. {_UNLESS_WANTED}",
                limits.ask_again_s,
            )
        case InDoubt(left_s):
            minutes = max(1, math.ceil(left_s / 60))
            return report(
                f"No batch of these {entry.rows:,} requests is listed, but one may still be made for "
                f"{count(minutes, 'minute')}. Nothing else was sent.",
                "Make the same call again: it looks for the batch first, and sends the requests only when none can "
                f"come any more. {_UNLESS_WANTED}",
                min(left_s, limits.ask_again_s),
            )
        case NoneFound():
            return report(
                f"The list was looked at, and no batch of these {entry.rows:,} requests exists; none is paid.",
                "The same call sends them.",
                None,
            )
        case Unknown(cause):
            return report(
                f"Whether it made a batch could not be found out: {cause.report.message}",
                "Make the same call again later: it looks for the batch first, and sends nothing before it could look.",
                cause.report.retry_after_s or limits.ask_again_s,
            )
        case Adopt():
            raise ValueError("an adopted batch is no error")


_UNLESS_WANTED = "Only if the user accepts that they may be billed twice, allow_duplicate sends them at once."


def may_be(batch_id: str) -> str:
    """What to do about a batch that only may be the one of a create that was not answered."""
    return (
        "The create was not answered. This batch may be the one, for it has its size and was created after it began, "
        f"or another program's: its results show which. Retrieve {batch_id} in a minute at the earliest, and until "
        "then send these requests in no other way. The same create again sends nothing before it is known."
    )


def not_shown_alive(place: str) -> UpstreamUnreachable:
    """The error for a create whose connection was ended because this server could no longer show that it lives."""
    message = (
        f"this server could not show in {place} that it is still at work on this create, and ended its connection "
        "before another server may take it over."
    )
    next_step = "Make the same call again: it looks for the batch first."
    return UpstreamUnreachable(ErrorReport("connection_error", message, next_step, Retry.UNSAFE), maybe_accepted=True)


def taken_over(place: str) -> StateUnusable:
    """The error for a create that is no longer this server's, by what stands in the ledger at a place."""
    message = (
        f"this server could not show in {place} that it is still at work on this create, so another may have taken it "
        "over: the upload was ended before its last byte, and no batch was made of it."
    )
    at_shell = "Give the same command again."
    return StateUnusable(
        ErrorReport("state_unusable", message, "Make the same call again.", Retry.HELPS, at_shell=at_shell)
    )


def not_accepted(error: CallError) -> CallError:
    """The error for a create that broke before the last byte of its body was sent: there is no batch of it."""
    report = error.report
    return CallError(
        replace(
            report,
            message=f"{report.message} The upload was not complete, so that no batch was made.",
            next_step="Make the same call again.",
            retry=Retry.HELPS,
            at_shell="Give the same command again.",
        )
    )


def not_begun(seconds: float) -> CallError:
    """The error for a create that was not ready to be sent within the time of a call."""
    message = f"the requests were not read, checked and kept within the {seconds:g} s of a call. Nothing was sent."
    next_step = (
        "Make the same call again. If that takes as long, split the file into smaller ones, one batch each; or let the "
        "user run `batches-mcp run FILE -o OUT` in a shell, which has no such limit."
    )
    return CallError(ErrorReport("timeout", message, next_step, Retry.HELPS))


def changed(draft: Draft, entry: Entry) -> CallError:
    """The error for a part of a file that is not what it was when `entry`, another part, was sent."""
    message = (
        f"{draft.source} has changed since part {entry.part} of {entry.parts} was sent as batch {entry.batch_id}: its "
        "parts no longer fit together, so that rows would be sent twice, or never."
    )
    next_step = (
        "Nothing was sent. Put the file back as it was, and send the parts that are missing; or, if the user wants the "
        "file as it is now, call again with allow_duplicate."
    )
    return CallError(ErrorReport("source_changed", message, next_step))


def duplicate(entry: Entry, now_s: float) -> CallError:
    """The error for requests that were submitted not long ago; `now_s` is Unix time."""
    label = f" (label {entry.label!r})" if entry.label else ""
    minutes = max(0, round((now_s - entry.started_s) / 60))
    if minutes < 2:
        age = "just now"
    else:
        age = f"{minutes} minutes ago" if minutes < 120 else f"{round(minutes / 60)} hours ago"
    message = f"the same {entry.rows:,} requests were submitted {age} as batch {entry.batch_id}{label}."
    next_step = (
        f"Nothing was sent: use batch {entry.batch_id}. Only if the user wants the same requests done and billed a "
        "second time, call again with allow_duplicate."
    )
    return CallError(ErrorReport("duplicate_create", message, next_step))


def over_cap(spent_usd: float, draft: Draft, cap: Cap) -> CallError:
    """The error for a create that might cost more than is left of the cap."""
    window, spender, name = in_words(cap)
    message = (
        f"the batch may cost up to {dollars(draft.estimate_usd or 0)} USD, and {window} came to "
        f"{dollars(spent_usd)} USD: together more than the {dollars(cap.usd)} USD that {spender} may spend."
    )
    next_step = (
        "Nothing was sent. Tell the user; fewer requests or a lower max_tokens cost less, and only the operator can "
        f"raise {name}."
    )
    at_shell = "This was not sent. Fewer requests or a lower max_tokens cost less, or raise --max-cost-usd."
    return CallError(ErrorReport(COST_CAP, message, next_step, at_shell=at_shell))


def queue_full(requests: int, draft: Draft, most: int | None, limits: Limits) -> CallError:
    """The error for a create that has to wait until fewer `requests` are in progress."""
    message = (
        f"{requests:,} requests of this workspace are in progress, and with the {draft.rows:,} of this batch there "
        f"would be more than the {most or 0:,} that may be."
    )
    wait_s = limits.ask_again_s
    return CallError(ErrorReport(QUEUE_FULL, message, "Call again later.", Retry.HELPS, retry_after_s=wait_s))


def in_words(cap: Cap) -> tuple[str, str, str]:
    """A cap's window, who may spend what it leaves, and what it is called."""
    window = "the last 24 hours" if cap.window is Window.DAY else "this month (UTC)"
    if cap.team is None:
        return window, "this server", "--max-cost-usd"
    return f"{window} of team {cap.team}", "the team", f"the team's cap for a {cap.window}"


def denied(approval: Approval) -> CallError:
    """The error for a create that somebody has denied."""
    if approval.job_id is not None:
        message = f"{approval.approver} has denied the job ({approval.id})."
        next_step = "Nothing more of it is sent. To submit it again asks once more."
        return CallError(ErrorReport(DENIED, message, next_step, status=403, at_shell=next_step))
    message = f"{approval.approver} has denied these {approval.rows:,} requests ({approval.id})."
    next_step = "Nothing was sent. Tell the user; only if they still want it, the same call again asks once more."
    return CallError(ErrorReport(DENIED, message, next_step, status=403))


def too_many_waiting(waiting: int) -> CallError:
    """The error for a create that needs an approval while too many of its team wait for one."""
    message = f"this create needs an approval, and {waiting:,} of the team wait for one already; no more can be kept."
    next_step = "Nothing was sent. Tell the user to have those answered first; then make the same call again."
    return CallError(ErrorReport("too_many_approvals", message, next_step, status=409))


def waits_for_approval(approval: Approval, limits: Limits) -> CallError:
    """The error for a create of a job that waits for somebody to approve the job."""
    message = f"the job waits for somebody else's approval ({approval.id}, until {rfc3339(approval.expires_s)})."
    next_step = f"Have it answered: `batches-mcp approvals approve {approval.id}`, or at the service."
    return CallError(ErrorReport(PENDING, message, next_step, Retry.HELPS, limits.ask_again_s, at_shell=next_step))


def waits(approval: Approval) -> str:
    """That a create waits, for what, and what to do about it."""
    cost = (
        "at a price that cannot be estimated"
        if approval.estimate_usd is None
        else (f"for up to {dollars(approval.estimate_usd)} USD")
    )
    return (
        f"Nothing was sent yet: {approval.rows:,} requests {cost} need an approval, for team {approval.team} spends up "
        f"to {dollars(approval.over_usd)} USD at a time without one. Tell the user that {approval.id} waits until "
        f"{rfc3339(approval.expires_s)} for somebody else to approve it. It is then sent by itself; the same call "
        "again tells how it stands, and is answered with the batch once there is one."
    )


def unpriced(estimate: Mapping[str, Any], cap: Cap | None = None) -> CallError:
    """The error for requests of which nobody can say what they may cost, under a cap; `estimate` is of `cost`."""
    reasons = []
    if models := estimate["unknown_models"]:
        reasons.append(f"the price of {', '.join(excerpt(model, 60) for model in models[:_MOST_NAMED])} is not known")
    for each in estimate["unbounded"][:_MOST_NAMED]:
        others = f" (and {each['requests'] - 1:,} other requests)" if each["requests"] > 1 else ""
        reasons.append(f"{each['where']} ({each['custom_id']!r}){others} asks for {each['reason']}")
    message = f"the cost of the batch cannot be estimated: {'; '.join(reasons)}."
    only = _ESTIMATED_ONLY.format(cap="--max-cost-usd" if cap is None else in_words(cap)[2])
    return CallError(ErrorReport(COST_UNKNOWN, message, f"{only} {_LIFTED}", at_shell=only))


def unknown_spent(entry: Entry | None, cap: Cap) -> CallError:
    """The error for any create under a cap while it is not known what one within its window may have cost.

    That one is `entry`; None: one that the caller must not learn of.
    """
    until = "for 24 hours from its creation" if cap.window is Window.DAY else "until the month is over"
    if entry is None:
        made = "a create of another team"
    else:
        made = f"batch {entry.batch_id}" if entry.batch_id else f"a create of {entry.rows:,} requests"
    message = (
        f"what {made} cost is not known: it was made within {in_words(cap)[0]} without a cap on costs. So what is left "
        f"under {in_words(cap)[2]} is not known either."
    )
    next_step = (
        "Nothing was sent. Get the results of that batch once it has ended, which tell its cost, and call again; "
        f"otherwise it counts {until}."
    )
    at_shell = (
        "This was not sent. Get the results of that batch once it has ended, which tell its cost; otherwise it counts "
        f"{until}."
    )
    return CallError(ErrorReport(COST_UNKNOWN, message, next_step, at_shell=at_shell))


_MOST_NAMED = 5
_ESTIMATED_ONLY = (
    "Nothing was sent: {cap} only allows batches whose cost can be estimated. Use a model whose price is "
    "known; give documents as text or in base64; give web_search and web_fetch a max_uses; leave out other server "
    "tools, containers, MCP servers and compaction."
)
_LIFTED = "Or ask the operator, who alone can lift the cap."
