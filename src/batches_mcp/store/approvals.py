"""Creates that wait for an approval: asked for in the claim's transaction, answered once, and begun once."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, fields
from typing import Any

from batches_mcp.store import audit
from batches_mcp.store.claim_rules import ClaimRules, JobTotal
from batches_mcp.store.entry import Answer, Approval, Draft, State
from batches_mcp.store.state import LedgerDatabase

# How long somebody has to approve a create, and how long it is then tried to send it.
EXPIRES_AFTER_S = 86_400.0
# What is over is kept for as long as a team's creates are; a job's, since the last create that it let begin.
_FORGET_AFTER_S = 32 * 86_400.0
_COLUMNS = ", ".join(field.name for field in fields(Approval))
_OPEN = f"state IN ('{Answer.PENDING}', '{Answer.APPROVED}')"
# Sums of amounts differ by so much, depending on their order.
_ROUNDING_USD = 1e-6
_SAME = "content = ? AND coalesce(team, '') = ? AND coalesce(parent, '') = ?"


@dataclass(frozen=True, slots=True)
class Approvals:
    """The approvals of one account. Every method is one transaction, and raises StateUnusable when it cannot be."""

    database: LedgerDatabase

    def pending(self) -> list[Approval]:
        """Those that somebody may answer, the oldest first."""
        with self.database.transaction() as db:
            expire(db)
            return _select(db, f"state = '{Answer.PENDING}' AND kept ORDER BY asked_s, id")

    def approved(self) -> list[Approval]:
        """The creates that are to be sent, the oldest first; those of jobs are their workers' to send."""
        with self.database.transaction() as db:
            expire(db)
            return _select(db, f"state = '{Answer.APPROVED}' AND job_id IS NULL ORDER BY asked_s, id")

    def find(self, approval_id: str) -> Approval | None:
        with self.database.transaction() as db:
            expire(db)
            return find(db, approval_id)

    def standing(self, draft: Draft) -> Approval | None:
        """What the same create is told of: an open approval, or one that was denied and not told of yet."""
        with self.database.transaction() as db:
            expire(db)
            return standing(db, draft)

    def ask_for_job(self, draft: Draft, rules: ClaimRules) -> Approval | None:
        """What a job waits for that is about to be begun, in the name of a draft; None: it can be begun.

        So it is as well when too many of its team wait: its first create is to ask again.
        """
        if rules.job is None or not rules.needs_approval(draft):
            return None
        with self.database.transaction() as db:
            expire(db)
            found = of_job(db, draft, rules.job)
            if found is None and count_open(db, draft.team) < rules.open_approvals:
                found = ask(db, draft, rules)
            return None if found is None or found.grants else found

    def withdraw_job(self, job: str) -> None:
        """A job has ended, so that nobody needs to answer for it."""
        with self.database.transaction() as db:
            for found in _select(db, f"job_id = ? AND state = '{Answer.PENDING}'", job):
                _close(db, found, Answer.REJECTED, reason="job_ended")

    def kept(self, approval_id: str, draft: Draft) -> None:
        """The requests are kept, in the form of a draft: from now on somebody may answer."""
        with self.database.transaction() as db:
            _update(db, approval_id, kept=True, body=draft.body, body_bytes=draft.body_bytes, betas=draft.betas)

    def withdraw(self, approval_id: str) -> None:
        """The requests could not be kept, so that nobody was asked."""
        with self.database.transaction() as db:
            found = find(db, approval_id)
            if found is not None and found.state is Answer.PENDING and not found.kept:
                _close(db, found, Answer.REJECTED, reason="requests_not_kept")

    def answer(self, approval_id: str, approver: str, *, approve: bool) -> tuple[Approval | None, bool]:
        """Approve or deny what is pending: the approval as it is then, and whether this changed it.

        That the approver may do so was seen before.
        """
        with self.database.transaction() as db:
            expire(db)
            found = find(db, approval_id)
            if found is None or found.state is not Answer.PENDING or not found.kept:
                return found, False
            state = Answer.APPROVED if approve else Answer.DENIED
            now_s = _now_s(db)
            # Who approves late leaves as much time for sending it.
            times = {"answered_s": now_s, **({"expires_s": now_s + EXPIRES_AFTER_S} if approve else {})}
            _update(db, approval_id, state=state, approver=approver, **times)
            audit.answered(db, found, str(state), approver)
            return find(db, approval_id), True

    def refused(self, approval_id: str, approver: str, reason: str) -> None:
        """Write down that somebody tried to answer who may not."""
        with self.database.transaction() as db:
            found = find(db, approval_id)
            if found is not None:
                audit.answered(db, found, "refused", approver, reason)

    def reject(self, approval_id: str, reason: str) -> None:
        """What was approved stands against something else, and is not sent any more."""
        with self.database.transaction() as db:
            found = find(db, approval_id)
            if found is not None and found.state is Answer.APPROVED:
                _close(db, found, Answer.REJECTED, reason=reason)


# Within a transaction


def find(db: Any, approval_id: str) -> Approval | None:
    return next(iter(_select(db, "id = ?", approval_id)), None)


def standing(db: Any, draft: Draft) -> Approval | None:
    """See `Approvals.standing`."""
    condition = f"{_SAME} AND ({_OPEN} OR (state = '{Answer.DENIED}' AND NOT told)) ORDER BY asked_s DESC"
    return next(iter(_select(db, condition, draft.content, draft.team or "", draft.parent or "")), None)


def of_job(db: Any, draft: Draft, job: JobTotal) -> Approval | None:
    """By which approval a create of a job may be begun; or the one that it waits for, or was denied.

    Together its creates may cost what was approved.
    """
    found = _select(db, "job_id = ? AND coalesce(team, '') = ? ORDER BY asked_s DESC, id", job.id, draft.team or "")
    grants = [each for each in found if each.grants]
    approved = [each.estimate_usd for each in grants if each.estimate_usd is not None]
    if len(approved) < len(grants):
        return grants[0]
    begun_usd = _begun(db, job, "TRUE", "coalesce(cost_usd, estimate_usd)")[0]
    if grants and draft.estimate_usd is not None and begun_usd + draft.estimate_usd <= sum(approved) + _ROUNDING_USD:
        return grants[0]
    denied = [each for each in found if each.state is Answer.DENIED and not each.told]
    return next((each for each in found if each.state is Answer.PENDING or each in denied), None)


def _begun(db: Any, job: JobTotal, condition: str, *amounts: str) -> tuple[float, ...]:
    """The sums over the creates of a job that made a batch, or may have."""
    sums = ", ".join(f"coalesce(sum({each}), 0)" for each in amounts)
    over = f"'{State.REFUSED}', '{State.NONE_FOUND}'"
    statement = f"SELECT {sums} FROM creates WHERE job_id = ? AND state NOT IN ({over}) AND {condition}"  # noqa: S608
    [found] = db.execute(statement, (job.id,))
    return tuple(float(each) for each in found)


def _whole(db: Any, draft: Draft, job: JobTotal) -> dict[str, Any]:
    """What is asked for a job: what it is still to send; beyond that, the create that there is no room for."""
    requests, batches, usd = _begun(db, job, "parent IS NULL", "rows", "1", "estimate_usd")
    more = batches < job.batches
    estimate_usd = job.estimate_usd
    if estimate_usd is not None:
        estimate_usd = round(max(estimate_usd - usd, draft.estimate_usd or 0.0), 6)
    return {
        "content": job.id,
        "rows": job.requests - int(requests) if more else draft.rows,
        "body_bytes": 0,
        "body": "",
        "betas": "",
        "source": job.source,
        "label": job.label,
        "part": None,
        "parts": job.batches - int(batches) if more else 1,
        "source_hash": None,
        "parent": None,
        "estimate_usd": estimate_usd,
        "models": job.models,
        # Its requests are in its input.
        "kept": True,
    }


def ask(db: Any, draft: Draft, rules: ClaimRules) -> Approval:
    """Reserve the cost of a create, and have it wait; or have its whole job wait, for which nothing is reserved."""
    now_s = _now_s(db)
    origin = rules.origin
    call = (
        {"tool": "", "door": None, "request_id": None}
        if origin is None
        else {"tool": origin.tool, "door": origin.door, "request_id": origin.request_id}
    )
    values = {
        **{field.name: getattr(draft, field.name) for field in fields(Draft)},
        **call,
        "id": f"approval_{secrets.token_hex(10)}",
        "state": Answer.PENDING,
        "asked_s": now_s,
        "expires_s": now_s + EXPIRES_AFTER_S,
        "over_usd": rules.approve_over_usd,
        "again": rules.again or rules.repeats,
        "kept": False,
        "told": False,
        **({} if rules.job is None else _whole(db, draft, rules.job)),
    }
    columns, marks = ", ".join(values), ", ".join("?" * len(values))
    db.execute(f"INSERT INTO approvals ({columns}) VALUES ({marks})", tuple(values.values()))  # noqa: S608 - our own names
    [approval] = _select(db, "id = ?", values["id"])
    audit.answered(db, approval, "asked")
    return approval


def denial_told(db: Any, approval: Approval) -> None:
    _update(db, approval.id, told=True)


def begun(db: Any, approval: Approval, key: int) -> None:
    """A create was begun by an approval, which no other will be; but for those of the same job."""
    if approval.job_id is None:
        _update(db, approval.id, state=Answer.USED, entry=key)
    else:
        # All of the job's together are what it may cost.
        update = "UPDATE approvals SET state = ?, expires_s = ? WHERE job_id = ? AND state IN (?, ?)"
        expires_s = _now_s(db) + EXPIRES_AFTER_S
        db.execute(update, (Answer.USED, expires_s, approval.job_id, Answer.APPROVED, Answer.USED))


def given_back(db: Any, key: int) -> None:
    """A create made no batch: by its approval, if there is one, it may be begun once more."""
    values = (Answer.APPROVED, key, Answer.USED)
    db.execute("UPDATE approvals SET state = ?, entry = NULL WHERE entry = ? AND state = ?", values)


def expire(db: Any) -> None:
    """Close what was not answered, or not sent, in time."""
    now = "(SELECT now_s FROM clock)"
    for approval in _select(db, f"{_OPEN} AND expires_s <= {now}"):
        _close(db, approval, Answer.EXPIRED)


def reserved_usd(db: Any, team: str | None) -> float:
    """What creates of a team, or of everybody, may cost that wait; a job's, once it may send, wait for room."""
    of_team, values = ("", ()) if team is None else (" AND team = ?", (team,))
    statement = (
        f"SELECT coalesce(sum(coalesce(estimate_usd, 0)), 0) FROM approvals WHERE {_OPEN} AND job_id IS NULL{of_team}"  # noqa: S608
    )
    [(usd,)] = db.execute(statement, values)
    return float(usd)


def count_open(db: Any, team: str | None) -> int:
    """How many creates of a team wait."""
    statement = f"SELECT count(*) FROM approvals WHERE {_OPEN} AND coalesce(team, '') = ?"  # noqa: S608 - our own text
    [(number,)] = db.execute(statement, (team or "",))
    return int(number)


def any_asked(db: Any) -> bool:
    """Whether any approval was ever asked for; copies of its requests may be left."""
    return bool(_select(db, "1 = 1 LIMIT 1"))


def bodies(db: Any) -> set[str]:
    """The names of the copies of requests that wait."""
    return {str(body) for (body,) in db.execute(f"SELECT body FROM approvals WHERE {_OPEN}")}  # noqa: S608 - our own text


def forget(db: Any) -> None:
    """Remove what has long been over."""
    condition = "expires_s < (SELECT now_s FROM clock) - ?"
    db.execute(f"DELETE FROM approvals WHERE NOT {_OPEN} AND {condition}", (_FORGET_AFTER_S,))  # noqa: S608


def _close(db: Any, approval: Approval, state: Answer, reason: str | None = None) -> None:
    _update(db, approval.id, state=state)
    audit.answered(db, approval, str(state), approval.approver, reason)


def _update(db: Any, approval_id: str, **values: Any) -> None:
    changes = ", ".join(f"{name} = ?" for name in values)
    db.execute(f"UPDATE approvals SET {changes} WHERE id = ?", (*values.values(), approval_id))  # noqa: S608 - our own names


def _select(db: Any, condition: str, *values: Any) -> list[Approval]:
    cursor = db.execute(f"SELECT {_COLUMNS} FROM approvals WHERE {condition}", values)  # noqa: S608 - our own text
    return [_approval(dict(zip((each[0] for each in cursor.description), row, strict=True))) for row in cursor]


def _approval(row: dict[str, Any]) -> Approval:
    flags = {name: bool(row[name]) for name in ("again", "kept", "told")}
    return Approval(**{**row, **flags, "state": Answer(row["state"])})


def _now_s(db: Any) -> float:
    [(now_s,)] = db.execute("SELECT now_s FROM clock")
    return float(now_s)
