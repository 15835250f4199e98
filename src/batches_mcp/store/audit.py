"""The audit: a row for each decision about money and batches, written in the transaction of the decision.

Nothing of a request or a result is in it, and no credential. Rows are written where callers are told apart; they are
never changed, and outlive the ledger's rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from batches_mcp.store.claim_rules import (
    Begun,
    Busy,
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
from batches_mcp.store.entry import Answer, Approval, Draft, Entry, Origin
from batches_mcp.store.state import LedgerDatabase
from batches_mcp.store.team_tables import AUDIT_COLUMNS, names

_COLUMNS = f"key, time_s, {names(AUDIT_COLUMNS)}"
_MOST_TEXT_CHARS = 300


@dataclass(frozen=True, slots=True)
class AuditLog:
    """The audit in one database; its methods raise StateUnusable when that cannot be used."""

    database: LedgerDatabase

    def write(self, event: str, outcome: str, **about: Any) -> None:
        """Write one row; `about` are its other columns."""
        with self.database.transaction() as db:
            write(db, event, outcome, **about)

    def rows(self, since_s: float = 0.0) -> list[dict[str, Any]]:
        """The rows since a time (Unix), oldest first, by their columns."""
        with self.database.transaction() as db:
            cursor = db.execute(f"SELECT {_COLUMNS} FROM audit WHERE time_s >= ? ORDER BY time_s, key", (since_s,))  # noqa: S608
            named = [each[0] for each in cursor.description]
            return [dict(zip(named, row, strict=True)) for row in cursor]


def write(db: Any, event: str, outcome: str, **about: Any) -> None:
    """Write one row within a transaction."""
    values = {"event": event, "outcome": outcome, **about}
    columns, marks = ", ".join(values), ", ".join("?" * len(values))
    texts = [value[:_MOST_TEXT_CHARS] if isinstance(value, str) else value for value in values.values()]
    db.execute(f"INSERT INTO audit ({columns}) VALUES ({marks})", texts)  # noqa: S608 - our own names


def claimed(db: Any, draft: Draft, claim: Claim, rules: ClaimRules, approval: Approval | None = None) -> None:
    """What was decided about a create; looking again while another one is under way decides nothing."""
    if draft.principal is None:
        return
    about: dict[str, Any] = {}
    match claim:
        case Begun(entry):
            about = {"outcome": "begun", "entry": entry.key}
            if rules.caps:
                about["cap_usd"] = min(cap.usd for cap in rules.caps)
            if approval is not None:
                about |= {"approval_id": approval.id, "approver": approval.approver}
        case Made() if rules.repeats:
            return
        case Made(entry):
            about = {"outcome": "attached", "batch_id": entry.batch_id}
            if entry.told and not rules.attach:
                about |= {"outcome": "refused", "reason": "duplicate_create"}
        case Changed(entry):
            about = {"outcome": "refused", "reason": "source_changed", "batch_id": entry.batch_id}
        case OverCap(cap, unknown=unknown):
            reason = "cost_cap" if unknown is None else "cost_unknown"
            about = {"outcome": "refused", "reason": reason, "cap_usd": cap.usd}
        case Unsettled(entry):
            about = {"outcome": "held", "reason": "create_unsettled", "entry": entry.key}
        case Waiting() if rules.approval_id is not None:
            return
        case Waiting(waiting) if waiting.job_id is not None and waiting.state is Answer.PENDING:
            return
        case Waiting(waiting):
            outcome = "refused" if waiting.state is Answer.DENIED else "held"
            about = {"outcome": outcome, "reason": f"approval_{waiting.state}", "approval_id": waiting.id}
        case TooManyWaiting():
            about = {"outcome": "refused", "reason": "too_many_approvals"}
        case Busy() | Unconfirmed() | QueueFull():
            return
    outcome = about.pop("outcome")
    write(db, _event(draft), outcome, **{**_of_draft(draft), **_of_origin(rules.origin), **about})


def followed(db: Any, entry: Entry, outcome: str, reason: str | None = None, batch_id: str | None = None) -> None:
    """What became of a create that was begun; it is written down for the call that it was begun for."""
    if entry.principal is None:
        return
    columns = ("tool", "door", "request_id", "cap_usd", "approver", "approval_id")
    statement = f"SELECT {', '.join(columns)} FROM audit WHERE entry = ? AND outcome = 'begun' ORDER BY key LIMIT 1"  # noqa: S608
    begun = db.execute(statement, (entry.key,)).fetchone()
    call = {} if begun is None else dict(zip(columns, begun, strict=True))
    about = {**_of_draft(entry), **call, "reason": reason, "batch_id": batch_id, "entry": entry.key}
    write(db, _event(entry), outcome, **about)


def answered(db: Any, approval: Approval, outcome: str, approver: str | None = None, reason: str | None = None) -> None:
    """What became of an approval that was asked for; `approver` is who answered, or tried to."""
    call = {"tool": approval.tool, "door": approval.door, "request_id": approval.request_id}
    about = {**_of_draft(approval), **call, "approver": approver, "reason": reason, "cap_usd": approval.over_usd}
    write(db, "approval", outcome, approval_id=approval.id, **about)


def _event(draft: Draft) -> str:
    return "create" if draft.parent is None else "retry"


def _of_draft(draft: Draft) -> dict[str, Any]:
    columns = ("principal", "client", "team", "content", "rows", "estimate_usd")
    return {name: getattr(draft, name) for name in columns}


def _of_origin(origin: Origin | None) -> dict[str, Any]:
    return {} if origin is None else {"tool": origin.tool, "door": origin.door, "request_id": origin.request_id}
