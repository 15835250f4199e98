"""Submitting a job: its shards are found and planned, what it may cost is held against all caps, and it is begun.

The same input with the same settings is the same job, whoever submits it and however often.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import anyio
import anyio.to_thread
import msgspec

from batches_mcp.api.body import Frame
from batches_mcp.cluster.manifest import MANIFEST
from batches_mcp.cluster.plan import ShardPlan, problems_of
from batches_mcp.cluster.shards import Shard, put, read
from batches_mcp.cluster.steps import Action, Task
from batches_mcp.cluster.tasks import Tasks
from batches_mcp.core.errors import CallError, ErrorReport, UsageError
from batches_mcp.requests.cost import dollars
from batches_mcp.store.claim_rules import ClaimRules
from batches_mcp.store.entry import Approval, Draft
from batches_mcp.store.job import STANDING_STILL, Job, JobPart, JobSettings, JobShard, JobState
from batches_mcp.work.audited import origin_of
from batches_mcp.work.ownership import approve_over_usd, caps_of, in_name_of
from batches_mcp.work.reconcile import identify
from batches_mcp.work.refusals import in_words, unpriced

_ID_CHARS = 12
_QUEUE_CHARS = 16
# A worker of its own that only plans, in the process that submits.
_PLANNED_AT_ONCE = 2


def queue_of(account: str, team: str | None) -> str:
    """The queue of the tasks of an account's jobs, or of a team's; its name is short enough for a channel."""
    return hashlib.sha256(f"{account}\0{team or ''}".encode()).hexdigest()[:_QUEUE_CHARS]


def plan_queue_of(queue: str) -> str:
    """Where shards wait that are to be planned, which whoever submits a job may do as well."""
    return f"{queue}-plan"


async def begin(tasks: Tasks, settings: JobSettings, found: Sequence[Shard], now_s: float) -> Job:
    """Write a job down, or find it; one that was refused is planned anew.

    Raises:
        CallError: the account of the credential, or the database, cannot be used.
    """
    draft = Job("", "", "", JobState.PLANNING, settings, now_s)
    account = tasks.account(draft)
    await identify(account)
    name = account.name
    job_id = _id(name, settings, found, tasks.frame(draft))
    job = replace(draft, id=job_id, account=name, queue=queue_of(name, settings.team))
    shards = [JobShard(job_id, each.number, each.url, each.size_bytes, each.version) for each in found]
    job = await anyio.to_thread.run_sync(tasks.jobs.begin, job, shards)
    if job.state is JobState.REFUSED:
        await anyio.to_thread.run_sync(tasks.jobs.replan, job_id)
        job = replace(job, state=JobState.PLANNING, error=None)
    return job


async def plan(tasks: Tasks, job: Job, tell: Callable[[int, int], object]) -> list[JobShard]:
    """The shards of a job with what is to be made of each; workers help, if there are any. `tell` gets how many are.

    Raises:
        CallError: the database cannot be used.
    """
    if job.settings.limit is not None:
        return await _plan_first(tasks, job, job.settings.limit)
    queue, before = plan_queue_of(job.queue), None
    while True:
        shards = await anyio.to_thread.run_sync(tasks.jobs.shards, job.id)
        missing = [shard for shard in shards if shard.plan is None]
        tell(len(shards) - len(missing), len(shards))
        if not missing:
            return shards
        pending = await tasks.engine.pending(queue)
        if missing == before and not pending:
            # Nobody is at work on it: here, what is in the way is raised.
            await tasks.planned(job, missing[0], None)
        before = missing
        for shard in missing:
            task = Task(Action.PLAN, job.id, shard.number)
            if task not in pending:
                await tasks.engine.defer(queue, task)
        await tasks.engine.take_over([queue])
        await tasks.engine.run_now([queue], _PLANNED_AT_ONCE, tasks.perform)
        if pending:
            await anyio.sleep(tasks.runtime.limits.task_poll_s)


async def _plan_first(tasks: Tasks, job: Job, limit: int) -> list[JobShard]:
    """The same for a trial: shards after its last row are not looked at."""
    left = limit
    shards = await anyio.to_thread.run_sync(tasks.jobs.shards, job.id)
    for shard in shards:
        if shard.plan is None:
            found = await tasks.planned(job, shard, left)
            await anyio.to_thread.run_sync(tasks.jobs.planned, shard, found)
        else:
            found = shard.plan
        left -= int(found["rows"])
        if left <= 0:
            break
    found_all = await anyio.to_thread.run_sync(tasks.jobs.shards, job.id)
    return [shard for shard in found_all if shard.plan is not None]


@dataclass(frozen=True, slots=True)
class Findings:
    """What is wrong with the input of a job: in lines, with why it is `refused`, if it is."""

    lines: tuple[str, ...]
    refused: str | None


def findings(job: Job, shards: Sequence[JobShard]) -> Findings:
    """What is wrong with the shards of a job, all of it."""
    lost = [str(shard.plan["error"]) for shard in shards if shard.plan and "error" in shard.plan]
    plans = [msgspec.convert(shard.plan, ShardPlan) for shard in shards if shard.plan and "error" not in shard.plan]
    problems = problems_of(plans)
    lines = [f"error: {each}" for each in lost] + [f"{each.severity}: {each.text()}" for each in problems]
    left_out = sum(each.left_out for each in plans)
    refused = None
    if lost or any(each.unusable for each in plans):
        refused = "not every table can be used"
    elif left_out and not job.settings.skip_invalid:
        refused = f"{left_out:,} rows have errors; correct them, or leave them out with --skip-invalid"
    elif not sum(each.requests for each in plans):
        refused = "there is no row to send"
    return Findings(tuple(lines), refused)


def parts_of(job: Job, shards: Sequence[JobShard]) -> list[JobPart]:
    """The parts that the shards make together, in order."""
    found = [(shard.number, part) for shard in shards for part in (shard.plan or {}).get("parts", ())]
    return [
        JobPart(job.id, number, shard, int(part["rows"]), part["estimate"]["cost_usd"]["high"], part)
        for number, (shard, part) in enumerate(found)
    ]


async def check_caps(tasks: Tasks, job: Job, parts: Sequence[JobPart]) -> None:
    """See that the whole job leaves room under every cap there is.

    Raises:
        CallError: it does not, or what it may cost is not known under a cap.
    """
    account, bound_usd = tasks.account(job), job.settings.max_cost_usd
    caps = caps_of(account.runtime.caller, tasks.cap_usd)
    if not caps and bound_usd is None:
        return
    unknown = next((part for part in parts if part.estimate_usd is None), None)
    if unknown is not None:
        raise unpriced(unknown.plan["estimate"], caps[0] if caps else None)
    most_usd = sum(part.estimate_usd or 0.0 for part in parts)
    if bound_usd is not None and most_usd > bound_usd:
        raise _over(most_usd, f"the {dollars(bound_usd)} USD of --max-cost-usd", "raise --max-cost-usd")
    records = account.records()
    assert records is not None  # noqa: S101 - there is a ledger
    for cap in caps:
        spent_usd = await anyio.to_thread.run_sync(records.ledger.spent_usd, cap, account.upstream.time_s())
        if spent_usd + most_usd > cap.usd:
            window, spender, name = in_words(cap)
            came_to = f"; {window} came to {dollars(spent_usd)} USD, and {spender} may spend {dollars(cap.usd)} USD"
            raise _over(most_usd, f"what is left under {name}{came_to}", f"have {name} raised")


async def claim_output(tasks: Tasks, job: Job) -> None:
    """See that the output is the job's own and can be written to, before anything is spent.

    Raises:
        UsageError: it is another job's, or its URL cannot be used.
        StateUnusable: its store cannot be used.
    """
    out = job.settings.out
    jobs = await anyio.to_thread.run_sync(tasks.jobs.all)
    sent = (each for each in jobs if each.state not in (JobState.PLANNING, JobState.REFUSED))
    other = next((each.id for each in sent if each.settings.out == out and each.id != job.id), None)
    content = await anyio.to_thread.run_sync(read, out, MANIFEST)
    if content is not None and other is None:
        try:
            known = msgspec.json.decode(content, type=_Claim).job
        except msgspec.DecodeError:
            known = "of another program"
        other = known if known != job.id else None
    if other is not None:
        raise UsageError(f"--out: {out} has the results of job {other}; name another folder")
    if content is None:
        await anyio.to_thread.run_sync(put, out, MANIFEST, msgspec.json.encode(_Claim(job.id)))


class _Claim(msgspec.Struct):
    """What stands in the place of a manifest until the job has ended."""

    job: str
    complete: bool = False


async def start(tasks: Tasks, job: Job, parts: Sequence[JobPart]) -> None:
    """Have a job carried out that was planned, or go on with one that stands still.

    Raises:
        StateUnusable: the database cannot be used.
    """
    if job.state is JobState.PLANNING:
        await anyio.to_thread.run_sync(tasks.jobs.start, job.id, parts)
    elif job.state in STANDING_STILL:
        await anyio.to_thread.run_sync(tasks.jobs.move, job.id, STANDING_STILL, JobState.RUNNING)
    await tasks.go_on(job.id)


async def ask(tasks: Tasks, job: Job) -> Approval | None:
    """Have somebody asked to approve a job that may cost more than its team spends without; what it then waits for.

    Workers would ask the same, with the first batch.

    Raises:
        StateUnusable: the database cannot be used.
    """
    account = tasks.account(job)
    caller, records = account.runtime.caller, account.records()
    assert records is not None  # noqa: S101 - there is a ledger
    rules = ClaimRules(
        approve_over_usd=approve_over_usd(caller),
        open_approvals=account.limits.open_approvals,
        origin=origin_of(account),
        job=await anyio.to_thread.run_sync(tasks.jobs.total, job),
    )
    draft = in_name_of(caller, Draft(job.id, 0, 0, estimate_usd=0.0, job_id=job.id))
    return await anyio.to_thread.run_sync(records.ledger.approvals.ask_for_job, draft, rules)


def _over(most_usd: float, cap: str, advice: str) -> CallError:
    message = f"the job may cost up to {dollars(most_usd)} USD, which is more than {cap}."
    next_step = f"Nothing was sent. Fewer rows (--limit) or a lower max_tokens cost less; or {advice}."
    return CallError(ErrorReport("cost_cap", message, next_step, at_shell=next_step))


def _id(account: str, settings: JobSettings, found: Sequence[Shard], around: Frame) -> str:
    """What stands for a job: its account, its input, and all that decides about what is made of it."""
    decisive = (
        settings.template,
        settings.limit,
        settings.skip_invalid,
        settings.failures,
        settings.out,
        settings.team,
    )
    shards = [(shard.url, shard.version) for shard in found]
    frame: Any = (around.opening, around.closing, around.version, around.beta)
    content = msgspec.json.encode((account, decisive, shards, frame), order="deterministic")
    return hashlib.sha256(content).hexdigest()[:_ID_CHARS]
