"""What the tables of jobs say of them in sum: how they stand, their batches, and why rows failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from batches_mcp.store.causes import Cause, together
from batches_mcp.store.job import Job, JobState, JobStatus, PartBatch, PartState
from batches_mcp.store.postgres import Transaction

# The batches of parts: as they were made, or as they were collected.
_MADE = "job_parts, json_array_elements(batches::json) b"
_COLLECTED = "job_parts, json_array_elements(output::json->'batches') b"
_UNDER_WAY = f"'{PartState.SUBMITTED}', '{PartState.ENDED}', '{PartState.RETRYING}'"
_CAUSES = msgspec.json.Decoder(list[Cause])
_BATCHES = msgspec.json.Decoder(list[PartBatch])


@dataclass(frozen=True, slots=True)
class JobBatch:
    """A batch of a job: it has `rows` of the part with this number (from 0), which is in this state."""

    id: str
    part: int
    rows: int
    state: PartState


@dataclass(frozen=True, slots=True)
class JobDetails:
    """How a job stands, with some of its batches, why rows failed, and notes of parts with their numbers (from 0)."""

    status: JobStatus
    batches: tuple[JobBatch, ...]
    causes: tuple[Cause, ...]
    notes: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class JobCounts:
    """How many jobs and parts of jobs there are in each state."""

    jobs: dict[JobState, int]
    parts: dict[PartState, int]


def statuses(db: Transaction, jobs: Sequence[Job]) -> list[JobStatus]:
    """How jobs stand, in the same order."""
    ids = [job.id for job in jobs]
    if not ids:
        return []
    among = f"job IN ({', '.join('?' * len(ids))})"
    sums = (
        "SELECT job, state, count(*), sum(rows), sum(succeeded), sum(failed), sum(estimate_usd), count(estimate_usd) "  # noqa: S608 - our own text
        f"FROM job_parts WHERE {among} GROUP BY job, state ORDER BY job, state"
    )
    lines: dict[str, list[Sequence[Any]]] = {}
    for job, *line in db.execute(sums, ids):
        lines.setdefault(job, []).append(line)
    batches = dict(db.execute(f"SELECT job, count(DISTINCT b->>'id') FROM {_MADE} WHERE {among} GROUP BY job", ids))  # noqa: S608
    # A batch that several parts share is paid once.
    each = f"SELECT DISTINCT job, b->>'batch_id', (b->>'cost_usd')::float AS cost_usd FROM {_COLLECTED} WHERE {among}"  # noqa: S608
    costs = f"SELECT job, sum(cost_usd), bool_and(cost_usd IS NOT NULL) FROM ({each}) c GROUP BY job"  # noqa: S608
    known = {job: total_usd for job, total_usd, complete in db.execute(costs, ids) if complete}
    return [_status(job, lines.get(job.id, []), int(batches.get(job.id, 0)), known.get(job.id)) for job in jobs]


def _status(job: Job, lines: Sequence[Sequence[Any]], batches: int, cost_usd: float | None) -> JobStatus:
    parts = {str(line[0]): int(line[1]) for line in lines}
    rows, succeeded, failed, estimate, priced = (sum(line[at] or 0 for line in lines) for at in range(2, 7))
    return JobStatus(
        id=job.id,
        state=job.state,
        rows=int(rows),
        succeeded=int(succeeded),
        failed=int(failed),
        parts=parts,
        batches=batches,
        estimate_usd=round(float(estimate), 6) if parts and priced == sum(parts.values()) else None,
        cost_usd=None if cost_usd is None else round(float(cost_usd), 6),
    )


def batches(db: Transaction, job_id: str, most: int) -> list[JobBatch]:
    """At most so many batches of a job: those of parts under way first, then of parts that failed, then the latest."""
    parts = (
        "SELECT number, state, batches FROM job_parts WHERE job = ? AND batches <> '[]' "  # noqa: S608 - our own text
        f"ORDER BY state NOT IN ({_UNDER_WAY}), state <> '{PartState.FAILED}', number DESC LIMIT ?"
    )
    found = [
        JobBatch(each.id, number, each.rows, PartState(state))
        for number, state, text in db.execute(parts, (job_id, most))
        for each in reversed(_BATCHES.decode(text))
    ]
    return found[:most]


def causes(db: Transaction, job_id: str) -> list[Cause]:
    """Why rows of a job failed, in the parts that were collected; that of most rows first."""
    text = "SELECT output::json->>'causes' FROM job_parts WHERE job = ? AND failed > 0 ORDER BY number"
    return together(cause for (found,) in db.execute(text, (job_id,)) if found for cause in _CAUSES.decode(found))


def notes(db: Transaction, job_id: str, most: int) -> list[tuple[int, str]]:
    """What went wrong with parts of a job, or what they wait for, with their numbers (from 0); failed ones first."""
    noted = f"job = ? AND note IS NOT NULL ORDER BY state <> '{PartState.FAILED}', number LIMIT ?"
    found = db.execute(f"SELECT number, note FROM job_parts WHERE {noted}", (job_id, most))  # noqa: S608 - our own text
    return [(int(number), str(note)) for number, note in found]


def counts(db: Transaction) -> JobCounts:
    """How many jobs and parts there are in each state, whoever's they are."""
    jobs = {str(state): int(number) for state, number in db.execute("SELECT state, count(*) FROM jobs GROUP BY state")}
    parts = dict(db.execute("SELECT state, count(*) FROM job_parts GROUP BY state"))
    return JobCounts(
        {state: jobs.get(state, 0) for state in JobState}, {state: int(parts.get(state, 0)) for state in PartState}
    )
