"""What a dry run answers: what was found in the requests, and what the create would do with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batches_mcp.core.diagnostics import Severity
from batches_mcp.core.errors import MissingVariable
from batches_mcp.core.settings import BatchSettings
from batches_mcp.core.text import count
from batches_mcp.requests.cost import dollars, estimate, rounded
from batches_mcp.requests.problems import Problem
from batches_mcp.requests.scan import Scan
from batches_mcp.requests.templated import has_made_up_id
from batches_mcp.store.claim_rules import Window
from batches_mcp.store.entry import Answer, Approval, Draft
from batches_mcp.store.ledger import RECENT_S
from batches_mcp.tools.call import Call
from batches_mcp.work.ownership import approve_over_usd
from batches_mcp.work.refusals import in_words

NOTHING_SPENT = "Requests go to the sandbox: nothing is spent."
_SAMPLE_CHARS = 1_000
_MOST_PARTS_SHOWN = 20
_SEND, _ASK = "send", "ask"
_IDS = 'The custom_ids are made up; a template {"custom_id": "{{column}}", "params": {...}} takes them from a column.'
_IN_DOUBT = "Make the create: it looks for that batch first, and sends nothing before it is known whether there is one."


def report(
    call: Call, settings: BatchSettings, found: Scan, betas: str, sample: bytes, known: str | None, now_s: float
) -> dict[str, Any]:
    """The report; `sample` is the first request that would be sent, `now_s` the time (Unix). Writes nothing.

    `known` is said when most of the requests were answered before.

    Raises:
        StateUnusable: the ledger cannot be read.
    """
    cost = estimate(found.demand)
    would, next_step = _prospect(call, settings, found, betas, cost, now_s)
    text = sample.decode(errors="replace")
    parts = [{"requests": part.count, "bytes": part.body_bytes} for part in found.parts[:_MOST_PARTS_SHOWN]]
    problems = [problem.data() for problem in found.problems]
    if would in (_SEND, _ASK) and found.template and has_made_up_id(sample):
        next_step = f"{next_step} {_IDS}"
    if known is not None and would in (_SEND, _ASK):
        problems.append(remark(known))
        next_step = f"{next_step} Most were answered before: see problems."
    invalid = {"invalid": left_out_rows(found)} if found.invalid else {}
    return {
        "would": would,
        "requests": found.requests,
        "bytes": found.body_bytes,
        "parts": len(found.parts),
        "part_sizes": parts,
        "models": dict(found.models.most_common()),
        "errors": found.count(Severity.ERROR),
        "warnings": sum(each["count"] for each in problems if each["severity"] == Severity.WARNING),
        "problems": problems,
        **invalid,
        "estimate": rounded(cost),
        "sample": text if len(text) <= _SAMPLE_CHARS else f"{text[:_SAMPLE_CHARS]}…",
        "next_step": f"{next_step} {NOTHING_SPENT}" if settings.sandbox else next_step,
    }


def left_out_rows(found: Scan) -> dict[str, Any]:
    """How many requests have errors, and which the first of them are."""
    return {"requests": len(found.invalid), "rows": found.invalid_rows}


def remark(text: str) -> dict[str, Any]:
    """A warning about a create as a whole."""
    return Problem(Severity.WARNING, text, 1, ["this server"]).data()


def _prospect(
    call: Call, settings: BatchSettings, found: Scan, betas: str, cost: Mapping[str, Any], now_s: float
) -> tuple[str, str]:
    """What the create would do, and what to do next."""
    parts, part = found.parts, call.arguments.get("part")
    if found.invalid and not call.arguments.get("skip_invalid"):
        would = f"refused: {len(found.invalid):,} of {found.requests:,} requests have errors"
        return would, "Correct them, or leave them out with skip_invalid." if found.sendable else "Correct them."
    if not parts:
        return "refused: no request is left to send", "Nothing would be sent."
    if part is not None and part > len(parts):
        return f"refused: there is no part {part}", f"Call with part 1 to {len(parts)}."
    if part is None and len(parts) > 1:
        sends = f"create with part 1 to {len(parts)} sends {found.sendable:,} requests as {len(parts)} batches"
        would = f"refused: the requests make {len(parts)} batches, so that a part must be named"
        return would, f"{sends} {price(cost)}; tell the user the price first."
    chosen = parts[(part or 1) - 1]
    whole = f" (all {len(parts)} parts: {price(cost)})" if len(parts) > 1 else ""
    if part is not None:
        cost = estimate(chosen.demand)
    content = chosen.content(betas)
    against = _against(call, settings, content, cost, now_s) or _waits(call, content, cost["cost_usd"]["high"])
    if against is not None:
        return against
    named = f"with part {part} " if part is not None else ""
    sends = f"create {named}without dry_run sends {count(chosen.count, 'request')} as 1 batch {price(cost)}{whole}"
    if cost["cost_usd"]["high"] is None:
        why = f", for {', '.join(cost['unknown_models'])} is not known" if cost["unknown_models"] else ""
        return _ASK, f"Ask the user first: {sends}{why}."
    return _SEND, f"{sends}; tell the user the price first."


def price(cost: Mapping[str, Any]) -> str:
    """What requests may cost, in words; `cost` is of `cost.estimate`."""
    low, high = rounded(cost)["cost_usd"].values()
    if high is None:
        return "at a price that cannot be estimated" + ("" if low is None else f", of {dollars(low)} USD at least")
    return f"for {dollars(low)} to {dollars(high)} USD"


def _against(
    call: Call, settings: BatchSettings, content: str, cost: Mapping[str, Any], now_s: float
) -> tuple[str, str] | None:
    """What stands against a create of this content; None when nothing is known to."""
    try:
        records = call.account.begun_records()
    except MissingVariable as error:
        return f"refused: {error.report.message}", error.report.next_step
    caps, high_usd = call.caps(settings.max_cost_usd), cost["cost_usd"]["high"]
    team = None if call.runtime.caller is None else call.runtime.caller.team_name
    if records is not None and not call.arguments.get("allow_duplicate"):
        if records.ledger.unsettled(content, team) is not None:
            return "refused: an earlier create of the same content may have made, or be making, a batch", _IN_DOUBT
        made = records.ledger.standing(content, team=team)
        if (
            made is not None
            and made.started_s > now_s - RECENT_S
            and not settings.allow_duplicates
            and "retry_of" not in call.arguments
        ):
            next_step = f"Use batch {made.batch_id}. Only if the user wants to pay again, call with allow_duplicate."
            return f"refused: same content as {made.batch_id}", next_step
    if _approval(call, content, high_usd) is not None:
        return None  # its cost is reserved
    for cap in caps:
        if high_usd is None:
            would = f"refused: its cost cannot be estimated, which {in_words(cap)[2]} requires"
            return would, "Nothing would be sent."
        spent_usd = 0.0 if records is None else records.ledger.spent_usd(cap, now_s)
        if spent_usd + high_usd > cap.usd:
            window = "in 24 hours" if cap.window is Window.DAY else "in this month"
            would = (
                f"over the cap: up to {dollars(high_usd)} USD, where {dollars(spent_usd)} of {dollars(cap.usd)} USD "
                f"were spent {window}"
            )
            return would, _OVER
    return None


def _approval(call: Call, content: str, high_usd: float | None) -> Approval | None:
    """The approval that a create of this content would attach to; None where it needs none, or would ask for one."""
    caller, records = call.runtime.caller, call.account.begun_records()
    limit_usd = approve_over_usd(caller)
    if caller is None or records is None or limit_usd is None or (high_usd is not None and high_usd <= limit_usd):
        return None
    draft = Draft(content, 0, 0, parent=call.arguments.get("retry_of"), team=caller.team_name)
    return records.ledger.approvals.standing(draft)


def _waits(call: Call, content: str, high_usd: float | None) -> tuple[str, str] | None:
    """What a create would wait for; None when it needs no approval, or has one."""
    limit_usd = approve_over_usd(call.runtime.caller)
    if limit_usd is None or (high_usd is not None and high_usd <= limit_usd):
        return None
    found = _approval(call, content, high_usd)
    if found is None:
        cost = "a cost that cannot be estimated" if high_usd is None else f"up to {dollars(high_usd)} USD"
        would = f"wait for an approval: {cost}, where the team spends {dollars(limit_usd)} USD without one"
        return would, "Ask the user first: somebody else has to approve the create before it is sent."
    match found.state:
        case Answer.PENDING:
            return (
                f"wait for the approval {found.id}, which was asked for before",
                "Tell the user; it need not be asked again.",
            )
        case Answer.DENIED:
            return f"refused: {found.approver} has denied {found.id}", "Ask the user what to do instead."
        case _:
            return None


_OVER = "Tell the user; fewer requests or a lower max_tokens cost less, and only the operator raises the cap."
