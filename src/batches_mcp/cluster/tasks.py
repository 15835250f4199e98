"""What a worker does: the tasks that the engine gives it, and looking after those that were lost."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import anyio
import anyio.to_thread
import msgspec

from batches_mcp.access.principal import READ, WRITE, Principal, Team
from batches_mcp.api.body import Frame, frame
from batches_mcp.cluster import parts
from batches_mcp.cluster.collecting import collect_part, finish
from batches_mcp.cluster.engine import Engine
from batches_mcp.cluster.local import ShardFiles
from batches_mcp.cluster.part_work import PartWork, source_of
from batches_mcp.cluster.plan import plan
from batches_mcp.cluster.steps import AHEAD, Action, Task, is_permanent, next_action, outcome, pause_s
from batches_mcp.core.errors import CallError, UnreadableFile
from batches_mcp.core.plan import ToolPlan
from batches_mcp.core.redact import Redactor
from batches_mcp.store.approvals import Approvals
from batches_mcp.store.entry import Origin
from batches_mcp.store.job import Job, JobPart, JobShard, JobState, PartState
from batches_mcp.store.jobs import Jobs
from batches_mcp.store.shared import SharedState
from batches_mcp.work.account import Account
from batches_mcp.work.refusals import COST_CAP, DENIED, PENDING, QUEUE_FULL
from batches_mcp.work.runtime import Runtime

log = logging.getLogger(__name__)

_CLIENT, _DOOR = "batches-mcp job", "job"
# What waits for the budget of the day is tried as if it had failed so often.
_WAITS = 10
_STEPS: Mapping[Action, Callable[[PartWork], Awaitable[float]]] = {
    Action.PREPARE: parts.prepare,
    Action.SUBMIT: parts.send,
    Action.POLL: parts.poll,
    Action.COLLECT: collect_part,
    Action.RETRY: parts.send_again,
}


@dataclass(frozen=True, slots=True)
class Tasks:
    """Carries out the tasks of one worker; `create` and `cancel` are the tools for batches.

    Jobs of a team are carried out with what `teams` say of it. `cap_usd` is the operator's, for 24 hours.
    """

    runtime: Runtime
    state: SharedState
    engine: Engine
    create: ToolPlan
    cancel: ToolPlan | None
    files: ShardFiles
    redactor: Redactor
    teams: Mapping[str, Team]
    cap_usd: float | None = None

    @property
    def jobs(self) -> Jobs:
        return Jobs(self.state.database)

    def account(self, job: Job) -> Account:
        """The account that a job's batches are made in, in the name of whoever submitted it."""
        settings = job.settings
        team = None if settings.team is None else self.teams[settings.team]
        return self.account_of(team, settings.principal, Origin("", _DOOR, job.id))

    def account_of(self, team: Team | None, principal: str = "", origin: Origin | None = None) -> Account:
        """The account that batches of a team are made in, or those of no team; `origin` is for the audit."""
        caller = Principal(principal, _CLIENT, team, frozenset({READ, WRITE}))
        return Account(self.runtime.of(caller, origin), self.create)

    def frame(self, job: Job) -> Frame:
        """What the creates of a job send around their requests."""
        limits = replace(self.runtime.limits, batch_requests=job.settings.part_rows)
        variables = self.account(job).forward.variables
        return frame(self.create.request, {"requests": []}, variables, limits)

    async def planned(self, job: Job, shard: JobShard, limit: int | None) -> dict[str, Any]:
        """What is to be made of a shard, or of its first rows, as it is written down.

        Raises:
            CallError: the shard has changed, or cannot be had.
        """
        about = (source_of(shard), job.settings.template, self.frame(job), limit)
        found = await self.runtime.long_work(plan, self.files, *about)
        return cast("dict[str, Any]", msgspec.to_builtins(found))

    async def perform(self, task: Task) -> None:
        """Carry out a task, as far as its job still wants it, and have what follows done.

        The boundary of a worker: what goes wrong here is logged, and `look_after` has it done again.
        """
        try:
            await self._perform(task)
        except CallError as error:
            log.warning("job %s, %s: %s", task.job, task.action, self.redactor.text(error.report.what()))
        except Exception as error:  # noqa: BLE001 - the boundary
            log.error("job %s, %s: %s", task.job, task.action, _internal(error))

    async def _perform(self, task: Task) -> None:
        job = await anyio.to_thread.run_sync(self.jobs.get, task.job)
        if job is None or job.state.final or (job.settings.team is not None and job.settings.team not in self.teams):
            return
        match task.action:
            case Action.PLAN:
                await self._plan(job, task.number)
            case Action.FINISH:
                await self._finish(job)
            case _:
                await self._part(job, task)
                await self.go_on(job.id, without=task)

    async def go_on(self, job_id: str, without: Task | None = None) -> None:
        """Have a task for each part of a job that something is to be done for, and for its end.

        `without` is the task that is being carried out, and has seen to its own part.

        Raises:
            StateUnusable: the database cannot be used.
        """
        job = await anyio.to_thread.run_sync(self.jobs.get, job_id)
        if job is None or job.state.final or job.state is JobState.PLANNING:
            return
        found = await anyio.to_thread.run_sync(self.jobs.next_parts, job_id, AHEAD)
        pending = await self.engine.pending(job.queue)
        busy = {each.number for each in pending if each.job == job_id and each.action in _STEPS}
        for part in found:
            action = next_action(job.state, part.state)
            mine = without is not None and without.number == part.number
            if action is not None and not mine and part.number not in busy:
                await self.engine.defer(job.queue, Task(action, job_id, part.number))
        states = await anyio.to_thread.run_sync(self.jobs.states, job_id)
        if outcome(states, job.state) is not None:
            await self.engine.defer(job.queue, Task(Action.FINISH, job_id))

    async def look_after(self, queues: list[str]) -> None:
        """Now and then, take the tasks over of workers that died, and have those done that were lost."""
        while True:
            try:
                for task in await self.engine.take_over(queues):
                    log.warning("job %s: %s of part %d is taken over", task.job, task.action, task.number + 1)
                for job in await anyio.to_thread.run_sync(self.jobs.unfinished, queues):
                    await self.go_on(job.id)
            except CallError as error:
                log.warning("%s", error)
            await anyio.sleep(self.runtime.limits.task_sweep_s)

    async def _part(self, job: Job, task: Task) -> None:
        part = await anyio.to_thread.run_sync(self.jobs.part, job.id, task.number)
        if part is None:
            return
        after_s = 0.0
        if next_action(job.state, part.state) is task.action:
            after_s = await self._step(job, part, task.action)
        now = await anyio.to_thread.run_sync(self.jobs.get, task.job)
        part = await anyio.to_thread.run_sync(self.jobs.part, task.job, task.number)
        action = None if now is None or part is None else next_action(now.state, part.state)
        if action is not None:
            await self.engine.defer(job.queue, Task(action, task.job, task.number), after_s)

    async def _step(self, job: Job, part: JobPart, action: Action) -> float:
        """Carry out a step; after how many seconds the next may follow, or the same again if it failed."""
        shard = await anyio.to_thread.run_sync(self.jobs.shard, job.id, part.shard)
        assert shard is not None  # noqa: S101 - a part is of a shard
        try:
            work = PartWork(
                job=job,
                part=part,
                shard=shard,
                account=self.account(job),
                around=self.frame(job),
                jobs=self.jobs,
                files=self.files,
                prepared=self.state.account(job.account).prepared_requests(),
                cap_usd=self.cap_usd,
                cancel=self.cancel,
            )
            return await _STEPS[action](work)
        except UnreadableFile as error:
            return await self._give_up(job, part, str(error))
        except CallError as error:
            report = error.report
            note = self.redactor.text(report.what())
            if report.type == DENIED:
                self._tell_failed(job, await anyio.to_thread.run_sync(self.jobs.give_up, job.id, note))
            if is_permanent(report):
                return await self._give_up(job, part, note)
            asked_s = report.retry_after_s
            if report.type in (QUEUE_FULL, COST_CAP, PENDING):
                log.info("job %s, part %d: %s", job.id, part.number + 1, note)
                await anyio.to_thread.run_sync(self.jobs.waits, part, note)
                return pause_s(_WAITS, asked_s, self.runtime.limits.job_pause_s)
            log.warning("job %s, part %d: %s", job.id, part.number + 1, note)
        except Exception as error:  # noqa: BLE001 - as in `perform`; its part says so as well
            note, asked_s = _internal(error), None
            log.error("job %s, part %d: %s", job.id, part.number + 1, note)
        await anyio.to_thread.run_sync(self.jobs.failed, part, note)
        return pause_s(part.failures + 1, asked_s, self.runtime.limits.job_pause_s)

    async def _give_up(self, job: Job, part: JobPart, note: str) -> float:
        log.error("job %s, part %d: %s", job.id, part.number + 1, note)
        before = (part.state,)
        failed = partial(self.jobs.advance, part, before, state=PartState.FAILED, note=note)
        self._tell_failed(job, int(await anyio.to_thread.run_sync(failed)))
        return 0.0

    def _tell_failed(self, job: Job, parts: int) -> None:
        for observer in self.runtime.forward.upstream.observers if parts else ():
            observer.parts_ended(job.settings.team, PartState.FAILED, parts)

    async def _plan(self, job: Job, number: int) -> None:
        """Read a shard, and write down what is to be made of it, or why nothing can be."""
        shard = await anyio.to_thread.run_sync(self.jobs.shard, job.id, number)
        if shard is None or shard.plan is not None:
            return
        try:
            found = await self.planned(job, shard, None)
        except CallError as error:
            if not is_permanent(error.report):
                log.warning("job %s, %s: %s", job.id, shard.url, self.redactor.text(error.report.what()))
                return  # whoever submits the job has it done again
            found = {"error": self.redactor.text(error.report.message)}
        await anyio.to_thread.run_sync(self.jobs.planned, shard, found)

    async def _finish(self, job: Job) -> None:
        """Write what tells that a job has ended."""
        found = await anyio.to_thread.run_sync(self.jobs.parts, job.id)
        final = outcome([part.state for part in found], job.state)
        if final is None:
            return
        shards = await anyio.to_thread.run_sync(self.jobs.shards, job.id)
        try:
            await anyio.to_thread.run_sync(finish, job, shards, found)
        except CallError as error:
            log.warning("job %s: %s", job.id, self.redactor.text(error.report.what()))
            return  # `look_after` has it done again
        failed = next((part for part in found if part.state is PartState.FAILED), None)
        error_text = None if failed is None else f"part {failed.number + 1}: {failed.note}"
        await anyio.to_thread.run_sync(self.jobs.move, job.id, [job.state], final, error_text)
        approvals = Approvals(self.state.account(job.account).database())
        await anyio.to_thread.run_sync(approvals.withdraw_job, job.id)


def _internal(error: Exception) -> str:
    log.debug("internal error", exc_info=error)
    return f"internal error ({type(error).__name__}); --log-level debug shows more"
