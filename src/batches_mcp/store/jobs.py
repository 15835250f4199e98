"""Jobs in the shared database: every state moves by compare-and-set, so that a task may be carried out twice."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import msgspec

from batches_mcp.store import job_reading
from batches_mcp.store.claim_rules import JobTotal
from batches_mcp.store.entry import Answer
from batches_mcp.store.job import Job, JobPart, JobSettings, JobShard, JobState, JobStatus, PartBatch, PartState
from batches_mcp.store.job_reading import JobCounts, JobDetails
from batches_mcp.store.postgres import Postgres, Transaction

_FINAL = f"'{PartState.DONE}', '{PartState.FAILED}', '{PartState.CANCELED}'"
# Of those that something is wrong with, bodies are written so many times as far ahead at the most.
_MOST_PREPARED = 4
# Columns that hold JSON, and what it is read as.
_AS_JSON: Mapping[str, Any] = {
    "settings": JobSettings,
    "plan": dict[str, Any] | None,
    "output": dict[str, Any] | None,
    "batches": tuple[PartBatch, ...],
}
_STATES: Mapping[type, Callable[[str], Any]] = {Job: JobState, JobPart: PartState}

Row = TypeVar("Row", Job, JobShard, JobPart)


@dataclass(frozen=True, slots=True)
class Jobs:
    """All jobs of a database. Every method is one transaction, and raises StateUnusable when that cannot be used."""

    database: Postgres

    def begin(self, job: Job, shards: Sequence[JobShard]) -> Job:
        """Write a job down. One that is there already stays, but for what does not decide about its content."""
        with self.database.transaction() as db:
            if _insert(db, "jobs", job):
                for shard in shards:
                    _insert(db, "job_shards", shard)
                return job
            [found] = _select(db, Job, "jobs", "id = ?", job.id)
            settings = replace(
                found.settings,
                queue_requests=job.settings.queue_requests,
                max_cost_usd=job.settings.max_cost_usd,
                label=job.settings.label,
            )
            db.execute("UPDATE jobs SET settings = ? WHERE id = ?", (_text(settings), job.id))
            return replace(found, settings=settings)

    def get(self, job_id: str) -> Job | None:
        with self.database.transaction() as db:
            return next(iter(_select(db, Job, "jobs", "id = ?", job_id)), None)

    def all(self) -> list[Job]:
        """All of them, newest first."""
        with self.database.transaction() as db:
            return _select(db, Job, "jobs", "TRUE ORDER BY created_s DESC, id")

    def unfinished(self, queues: Collection[str]) -> list[Job]:
        """The jobs in these queues that workers have something to do for, oldest first."""
        states = (JobState.RUNNING, JobState.PAUSED, JobState.CANCELING)
        with self.database.transaction() as db:
            marks = ", ".join("?" * len(queues)), ", ".join("?" * len(states))
            condition = f"queue IN ({marks[0]}) AND state IN ({marks[1]}) ORDER BY created_s, id"
            return _select(db, Job, "jobs", condition, *queues, *states)

    def move(self, job_id: str, before: Iterable[JobState], after: JobState, error: str | None = None) -> bool:
        """Move a job on; false when it is in none of the states `before`."""
        with self.database.transaction() as db:
            known = list(before)
            marks = ", ".join("?" * len(known))
            finished = "extract(epoch from clock_timestamp())" if after.final else "NULL"
            update = (
                f"UPDATE jobs SET state = ?, error = ?, finished_s = {finished} WHERE id = ? AND state IN ({marks})"  # noqa: S608
            )
            moved = db.execute(update, (after, error, job_id, *known)).rowcount == 1
            if moved and after is JobState.CANCELING:
                _move_parts(db, job_id, [PartState.WAITING], PartState.CANCELED)
            if moved and after is JobState.RUNNING:
                _move_parts(db, job_id, [PartState.CANCELED, PartState.FAILED], PartState.WAITING)
                # A job that was denied asks anew.
                told = "UPDATE account_approvals SET told = TRUE WHERE job_id = ? AND state = ?"
                db.execute(told, (job_id, Answer.DENIED))
            return moved

    def shards(self, job_id: str) -> list[JobShard]:
        with self.database.transaction() as db:
            return _select(db, JobShard, "job_shards", "job = ? ORDER BY number", job_id)

    def shard(self, job_id: str, number: int) -> JobShard | None:
        with self.database.transaction() as db:
            return next(iter(_select(db, JobShard, "job_shards", "job = ? AND number = ?", job_id, number)), None)

    def planned(self, shard: JobShard, plan: Mapping[str, Any]) -> bool:
        """Write down what was found in a shard; false when somebody has."""
        with self.database.transaction() as db:
            update = "UPDATE job_shards SET plan = ? WHERE job = ? AND number = ? AND plan IS NULL"
            return db.execute(update, (_text(plan), shard.job, shard.number)).rowcount == 1

    def replan(self, job_id: str) -> None:
        """Forget what was found in the shards of a job that was refused."""
        with self.database.transaction() as db:
            update = "UPDATE jobs SET state = ?, error = NULL, finished_s = NULL WHERE id = ? AND state = ?"
            if db.execute(update, (JobState.PLANNING, job_id, JobState.REFUSED)).rowcount == 1:
                db.execute("UPDATE job_shards SET plan = NULL WHERE job = ?", (job_id,))

    def start(self, job_id: str, parts: Iterable[JobPart]) -> bool:
        """Begin to send a job that was planned; false when somebody has begun, or it was refused."""
        with self.database.transaction() as db:
            update = "UPDATE jobs SET state = ? WHERE id = ? AND state = ?"
            if db.execute(update, (JobState.RUNNING, job_id, JobState.PLANNING)).rowcount != 1:
                return False
            for part in parts:
                _insert(db, "job_parts", part)
            return True

    def part(self, job_id: str, number: int) -> JobPart | None:
        with self.database.transaction() as db:
            return next(iter(_select(db, JobPart, "job_parts", "job = ? AND number = ?", job_id, number)), None)

    def parts(self, job_id: str) -> list[JobPart]:
        with self.database.transaction() as db:
            return _select(db, JobPart, "job_parts", "job = ? ORDER BY number", job_id)

    def next_parts(self, job_id: str, ahead: int) -> list[JobPart]:
        """The parts that something is to be done for: those begun, and the first others, so many `ahead` of sending.

        Parts that something is wrong with do not keep others waiting, as long as they are a few.
        """
        with self.database.transaction() as db:
            begun = f"job = ? AND state NOT IN ({_FINAL}, '{PartState.WAITING}') ORDER BY number"
            found = _select(db, JobPart, "job_parts", begun, job_id)
            prepared = [part for part in found if part.state is PartState.PREPARED]
            sound = sum(not part.failures for part in prepared)
            room = max(0, min(ahead - sound, _MOST_PREPARED * ahead - len(prepared)))
            waiting = f"job = ? AND state = '{PartState.WAITING}' ORDER BY failures > 0, number LIMIT ?"
            return found + _select(db, JobPart, "job_parts", waiting, job_id, room)

    def advance(self, part: JobPart, before: Collection[PartState], **changes: Any) -> bool:
        """Change a part that is in one of the states `before`, and has as many batches as was known; what went wrong
        until then is over.
        """
        changes = {"failures": 0, "note": None, **changes}
        values = {name: _text(value) if name in _AS_JSON else value for name, value in changes.items()}
        assigned = ", ".join(f"{name} = ?" for name in values)
        marks = ", ".join("?" * len(before))
        condition = f"job = ? AND number = ? AND state IN ({marks}) AND batches = ?"
        with self.database.transaction() as db:
            update = f"UPDATE job_parts SET {assigned} WHERE {condition}"  # noqa: S608 - our own names
            given = (*values.values(), part.job, part.number, *before, _text(part.batches))
            return db.execute(update, given).rowcount == 1

    def failed(self, part: JobPart, note: str) -> None:
        """Note what went wrong with a step that is to be tried again."""
        self._note(part, note, 1)

    def waits(self, part: JobPart, note: str) -> None:
        """Note what a part waits for, with which nothing is wrong."""
        self._note(part, note, 0)

    def _note(self, part: JobPart, note: str, failures: int) -> None:
        with self.database.transaction() as db:
            update = "UPDATE job_parts SET failures = failures + ?, note = ? WHERE job = ? AND number = ?"
            db.execute(update, (failures, note, part.job, part.number))

    def total(self, job: Job) -> JobTotal:
        """All that a job is to send."""
        sums = (
            "SELECT count(*), coalesce(sum(requests), 0), sum(estimate_usd), count(estimate_usd) FROM (SELECT "
            "(plan::json->>'requests')::bigint AS requests, estimate_usd FROM job_parts WHERE job = ?) p "
            "WHERE requests > 0"
        )
        each_model = "json_array_elements_text(plan::json->'models')"
        models = f"SELECT DISTINCT {each_model} FROM job_shards WHERE job = ? ORDER BY 1"  # noqa: S608 - our own text
        with self.database.transaction() as db:
            [(batches, requests, usd, priced)] = db.execute(sums, (job.id,))
            named = ", ".join(str(model) for (model,) in db.execute(models, (job.id,)))
        estimate_usd = round(float(usd or 0.0), 6) if priced == batches else None
        about = (job.settings.url, job.settings.label, named)
        return JobTotal(job.id, int(requests), int(batches), estimate_usd, *about)

    def give_up(self, job_id: str, note: str) -> int:
        """Nothing more of a job may be sent: fail the parts of which nothing was begun, and tell how many they were."""
        with self.database.transaction() as db:
            update = "UPDATE job_parts SET state = ?, note = ? WHERE job = ? AND state = ?"
            return db.execute(update, (PartState.FAILED, note, job_id, PartState.WAITING)).rowcount

    def committed_usd(self, job_id: str) -> float:
        """What a job has cost, or may cost as far as that is not known."""
        with self.database.transaction() as db:
            summed = "SELECT coalesce(sum(coalesce(cost_usd, estimate_usd)), 0) FROM job_parts WHERE job = ?"
            [(found,)] = db.execute(summed, (job_id,))
        return float(found)

    def status(self, job_id: str) -> JobStatus | None:
        """How a job stands."""
        with self.database.transaction() as db:
            return next(iter(job_reading.statuses(db, _select(db, Job, "jobs", "id = ?", job_id))), None)

    def newest(
        self, accounts: Collection[str], limit: int, team: str | None, *, all_teams: bool = False
    ) -> list[tuple[Job, JobStatus]]:
        """The newest jobs of some accounts that a team pays for, or of no team if that is None, or of all teams."""
        whose = f"account IN ({', '.join('?' * len(accounts))})" if accounts else "FALSE"
        whose += "" if all_teams else " AND settings::json->>'team' IS NOT DISTINCT FROM ?::text"
        with self.database.transaction() as db:
            values = (*accounts, *(() if all_teams else (team,)), limit)
            found = _select(db, Job, "jobs", f"{whose} ORDER BY created_s DESC, id LIMIT ?", *values)
            return list(zip(found, job_reading.statuses(db, found), strict=True))

    def details(self, job: Job, most_batches: int, most_notes: int) -> JobDetails:
        """How a job stands, with what is known beyond the numbers."""
        with self.database.transaction() as db:
            [status] = job_reading.statuses(db, [job])
            return JobDetails(
                status,
                tuple(job_reading.batches(db, job.id, most_batches)),
                tuple(job_reading.causes(db, job.id)),
                tuple(job_reading.notes(db, job.id, most_notes)),
            )

    def counts(self) -> JobCounts:
        """How many jobs and parts there are in each state, whoever's they are."""
        with self.database.transaction() as db:
            return job_reading.counts(db)

    def states(self, job_id: str) -> set[PartState]:
        """The states that parts of a job are in."""
        with self.database.transaction() as db:
            found = db.execute("SELECT DISTINCT state FROM job_parts WHERE job = ?", (job_id,))
            return {PartState(state) for (state,) in found}


def _move_parts(db: Transaction, job_id: str, before: Sequence[PartState], after: PartState) -> None:
    marks = ", ".join("?" * len(before))
    update = f"UPDATE job_parts SET state = ?, failures = 0, note = NULL WHERE job = ? AND state IN ({marks})"  # noqa: S608
    db.execute(update, (after, job_id, *before))


def _insert(db: Transaction, table: str, row: Row) -> bool:
    """Insert a row; false when it is there already."""
    names = [each.name for each in fields(row)]
    values = [_text(getattr(row, name)) if name in _AS_JSON else getattr(row, name) for name in names]
    marks = ", ".join("?" * len(names))
    insert = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks}) ON CONFLICT DO NOTHING"  # noqa: S608
    return db.execute(insert, values).rowcount == 1


def _select(db: Transaction, kind: type[Row], table: str, condition: str, *values: Any) -> list[Row]:
    names = [each.name for each in fields(kind)]
    rows = db.execute(f"SELECT {', '.join(names)} FROM {table} WHERE {condition}", values)  # noqa: S608 - our own text
    return [kind(**{name: _value(kind, name, value) for name, value in zip(names, row, strict=True)}) for row in rows]


def _value(kind: type, name: str, value: Any) -> Any:
    if name in _AS_JSON:
        return None if value is None else msgspec.json.decode(value, type=_AS_JSON[name])
    return _STATES[kind](value) if name == "state" else value


def _text(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()
