"""What a claim weighs: whether a create may be begun, or what stands against it, decided within one transaction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from batches_mcp.api.batch import RESULTS_KEPT_S
from batches_mcp.store import approvals, audit
from batches_mcp.store.claim_rules import (
    Baseline,
    Begun,
    Busy,
    Cap,
    Changed,
    Claim,
    ClaimRules,
    Made,
    OverCap,
    QueueFull,
    TooManyWaiting,
    Unconfirmed,
    Unsettled,
    Waiting,
)
from batches_mcp.store.database import insert, select, update
from batches_mcp.store.entry import DAY_S, DOUBT_S, Answer, Approval, Draft, Entry, State

# The same content within this time is taken for a mistake, and costs within it count against the cap.
RECENT_S = DAY_S
UNSETTLED = f"state IN ('{State.SENDING}', '{State.AMBIGUOUS}')"
MADE = f"state IN ('{State.ACCEPTED}', '{State.ADOPTED}')"
WANTED = f"NOT deleted AND ({MADE} OR {UNSETTLED})"
# No team is one as well: of everybody who is told apart from nobody.
OF_TEAM = "coalesce(team, '') = ?"
# A team's content as it is now, or the body that it was known by in version 1.
_SAME = f"(content = ? OR body = ?) AND {OF_TEAM}"


def claim(
    db: Any, draft: Draft, owner: str, upstream: Baseline, at_work: Callable[[Entry], bool], rules: ClaimRules
) -> Claim:
    """See `Ledger.claim`."""
    found = _in_the_way(db, draft, owner, upstream, at_work, rules)
    if found is not None:
        audit.claimed(db, draft, found, rules)
        return found
    approval = _approval(db, draft, rules)
    if approval is None and rules.approval_id is not None:
        raise LookupError(f"the approval {rules.approval_id} is gone")
    against = _against(db, draft, upstream, rules, approval)
    if against is not None:
        audit.claimed(db, draft, against, rules)
        return against
    about = {field.name: getattr(draft, field.name) for field in fields(Draft)}
    times = {"started_s": upstream.now_s, "since_s": upstream.newest_s, "newest_id": upstream.newest_id}
    begun = Begun(insert(db, **about, state=State.SENDING, owner=owner, **times))
    if approval is not None:
        approvals.begun(db, approval, begun.entry.key)
    audit.claimed(db, draft, begun, rules, approval)
    return begun


def refused(db: Any, entry: Entry, state: State = State.REFUSED, reason: str | None = None) -> None:
    """No batch was made of an entry that is unsettled."""
    update(db, entry.key, state=state, owner=None)
    if entry.principal is not None:
        approvals.given_back(db, entry.key)
        audit.followed(db, entry, "not_sent" if state is State.REFUSED else str(state), reason)


def _against(db: Any, draft: Draft, upstream: Baseline, rules: ClaimRules, approval: Approval | None) -> Claim | None:
    """What keeps a create from being begun, of which there is no other."""
    if approval is not None and not approval.grants:
        return Waiting(approval)
    if approval is not None and rules.job is None:
        return None  # its cost has been reserved
    against = _no_room(db, draft, upstream, rules)
    if against is None and rules.unconfirmed:
        return Unconfirmed()
    if against is None and approval is None and rules.needs_approval(draft):
        waiting = approvals.count_open(db, draft.team)
        enough = waiting >= rules.open_approvals
        return TooManyWaiting(waiting) if enough else Waiting(approvals.ask(db, draft, rules))
    return against


def _in_the_way(
    db: Any, draft: Draft, owner: str, upstream: Baseline, at_work: Callable[[Entry], bool], rules: ClaimRules
) -> Claim | None:
    """Another create of the same content, or of an earlier version of its source."""
    open_ones = f"{_SAME} AND {UNSETTLED} AND key > ? ORDER BY key"
    for entry in select(db, open_ones, *_same(draft), rules.after):
        if at_work(entry):
            return Busy(entry)
        if entry.state is State.SENDING and entry.sent_s is None:
            refused(db, entry, reason="interrupted")
        elif not rules.again:
            update(db, entry.key, state=State.AMBIGUOUS, owner=owner)
            return Unsettled(entry)
    if rules.again:
        return None
    if rules.attach:
        made = standing(db, _same(draft), draft.parent, rules.after)
    else:
        later = "key > (SELECT coalesce(max(key), 0) FROM creates WHERE batch_id = ?)"
        condition = f"{_SAME} AND {MADE} AND started_s > ? AND {later} ORDER BY key DESC"
        made = select(db, condition, *_same(draft), upstream.now_s - RECENT_S, draft.parent)
    if made and not rules.repeated:
        return Made(made[0])
    changed = _other_version(db, draft, upstream.now_s - RESULTS_KEPT_S)
    return None if changed is None else Changed(changed)


def _approval(db: Any, draft: Draft, rules: ClaimRules) -> Approval | None:
    """The approval that a create has, waits for, or was denied."""
    if rules.approval_id is not None:
        approvals.expire(db)
        return approvals.find(db, rules.approval_id)
    if not rules.needs_approval(draft):
        return None
    approvals.expire(db)
    if rules.job is not None:
        return approvals.of_job(db, draft, rules.job)
    found = approvals.standing(db, draft)
    if found is not None and found.state is Answer.DENIED:
        approvals.denial_told(db, found)
    return found


def _no_room(db: Any, draft: Draft, upstream: Baseline, rules: ClaimRules) -> Claim | None:
    """A cap, or the queue, that leaves no room for a create."""
    for cap in rules.caps:
        since_s = cap.window.since_s(upstream.now_s)
        within, values = _counted(cap, since_s)
        if found := select(db, f"{within} AND cost_usd IS NULL AND estimate_usd IS NULL", *values):
            return OverCap(cap, unknown=found[0])
        spent = spent_usd(db, cap, since_s)
        if spent + (draft.estimate_usd or 0.0) > cap.usd:
            return OverCap(cap, spent)
    return _queue_full(db, draft, upstream, rules)


def _queue_full(db: Any, draft: Draft, upstream: Baseline, rules: ClaimRules) -> Claim | None:
    if rules.queue_requests is None:
        return None
    in_progress = in_queue(db, upstream.now_s)
    return QueueFull(in_progress) if in_progress and in_progress + draft.rows > rules.queue_requests else None


def in_queue(db: Any, now_s: float) -> int:
    """How many requests the upstream has, or may have, in its queue; it ends every batch within a day."""
    open_ones = select(db, f"started_s > ? AND {WANTED}", now_s - DAY_S - DOUBT_S)
    return sum(entry.rows for entry in open_ones if not (entry.settled and entry.last_seen.ended))


def standing(db: Any, same: tuple[str, str, str], parent: str | None, after: int) -> list[Entry]:
    """The batches of a content (see `_same`) and parent, the latest first."""
    of_parent, parents = ("parent IS NULL", ()) if parent is None else ("parent = ?", (parent,))
    condition = f"{_SAME} AND {of_parent} AND key > ? AND NOT deleted AND {MADE} ORDER BY key DESC"
    return select(db, condition, *same, *parents, after)


def spent_usd(db: Any, cap: Cap, since_s: float) -> float:
    """What creates since a time cost or may cost that a cap is for, and those that wait for an approval."""
    condition, values = _counted(cap, since_s)
    summed = "SELECT coalesce(sum(coalesce(cost_usd, estimate_usd, 0)), 0) FROM creates WHERE "
    [(usd,)] = db.execute(summed + condition, values)
    return float(usd) + approvals.reserved_usd(db, cap.team)


def _same(draft: Draft) -> tuple[str, str, str]:
    """The values of `_SAME`."""
    return draft.content, draft.body, draft.team or ""


def _other_version(db: Any, draft: Draft, since_s: float) -> Entry | None:
    """A part of the same source as it was before, if not all of its parts were sent; see `Draft.source_hash`."""
    if draft.parts is None:
        return None
    condition = f"source = ? AND {OF_TEAM} AND parts IS NOT NULL AND started_s > ? AND {WANTED} ORDER BY key DESC"
    sent = select(db, condition, draft.source, draft.team or "", since_s)
    if not sent or sent[0].source_hash == draft.source_hash:
        return None
    whole = {entry.part for entry in sent if entry.source_hash == sent[0].source_hash}
    return None if len(whole) == sent[0].parts else sent[0]


def _counted(cap: Cap, since_s: float) -> tuple[str, tuple[Any, ...]]:
    """The creates that a cap is for, with the condition's values."""
    condition = f"started_s >= ? AND ({MADE} OR {UNSETTLED})"
    return (condition, (since_s,)) if cap.team is None else (f"{condition} AND team = ?", (since_s, cap.team))
