"""What is done for one part of a job, each step of which may be carried out twice, by whichever worker.

Each ends with a compare-and-set of the part's state, and returns after how many seconds the next may follow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import IO

import anyio.to_thread
import msgspec

from batches_mcp.api.batch import Batch
from batches_mcp.api.body import Frame
from batches_mcp.cluster.local import ShardFiles
from batches_mcp.cluster.plan import PartPlan
from batches_mcp.cluster.prepare import prepare as written
from batches_mcp.cluster.shards import Shard
from batches_mcp.cluster.steps import poll_after_s
from batches_mcp.core.errors import CallError, ErrorReport, InvalidArguments, Retry
from batches_mcp.core.plan import Feed, ToolPlan
from batches_mcp.exchange.failure import retry_after_s
from batches_mcp.requests.reading import unpacked
from batches_mcp.store.entry import DOUBT_S
from batches_mcp.store.job import Job, JobPart, JobShard, JobState, PartBatch, PartState
from batches_mcp.store.jobs import Jobs
from batches_mcp.store.kept import Copy, KeptRequests
from batches_mcp.store.records import Records
from batches_mcp.work.account import Account
from batches_mcp.work.deliver import OutgoingCreate
from batches_mcp.work.evidence import Adopt, InDoubt, NoneFound
from batches_mcp.work.intake import Body, take
from batches_mcp.work.learn import learn
from batches_mcp.work.reconcile import look
from batches_mcp.work.refusals import QUEUE_FULL, unpriced, unsettled
from batches_mcp.work.retry import retried
from batches_mcp.work.retryable import PASSING
from batches_mcp.work.send import CreateRules, submit

Write = Callable[[Path, Iterable[bytes], str], Copy]

# The list is looked at for batches that have ended without anybody asking for them.
_LIST_LIMIT = 100
_PIECE_BYTES = 1 << 18
# Shortly after it was created, a batch may be answered 404: https://github.com/anthropics/anthropic-sdk-python/issues/1432
_SETTLING_S = 60.0


@dataclass(frozen=True, slots=True)
class PartWork:
    """A part of a job, and what it takes to carry it out.

    `prepared` keeps bodies until they are sent, `cap_usd` bounds 24 hours, `cancel` is the tool that cancels batches;
    without one they run to their end.
    """

    job: Job
    part: JobPart
    shard: JobShard
    account: Account
    around: Frame
    jobs: Jobs
    files: ShardFiles
    prepared: KeptRequests
    cap_usd: float | None
    cancel: ToolPlan | None

    @property
    def source(self) -> Shard:
        return source_of(self.shard)

    @property
    def plan(self) -> PartPlan:
        return msgspec.convert(self.part.plan, PartPlan)

    @property
    def records(self) -> Records:
        found = self.account.records()
        assert found is not None  # noqa: S101 - a worker keeps a ledger
        return found

    async def advance(self, *before: PartState, **changes: object) -> None:
        """Move the part on; when somebody has done so meanwhile, there is nothing to do."""
        await anyio.to_thread.run_sync(lambda: self.jobs.advance(self.part, before, **changes))


def source_of(shard: JobShard) -> Shard:
    """A shard as it was found."""
    return Shard(shard.number, shard.url, shard.size_bytes, shard.version)


async def prepare(work: PartWork) -> float:
    """Write the body of a part and keep it in the store, from where any worker can send it.

    Raises:
        InvalidArguments: the shard has changed since it was planned.
        StateUnusable: a store or a folder cannot be used.
    """
    if not work.plan.requests:
        # All of its rows have errors, so that there is nothing to send.
        await work.advance(PartState.WAITING, state=PartState.ENDED, settled=True)
        return 0.0
    with work.prepared.draft() as path:
        body = await _written(work, path, work.prepared.write)
        file = await work.account.runtime.long_work(work.prepared.keep, body.copy)
        file.close()
    await work.advance(
        PartState.WAITING, state=PartState.PREPARED, body=body.copy.name, body_bytes=body.copy.length_bytes
    )
    return 0.0


async def send(work: PartWork) -> float:
    """Send a part through the one gate, which takes the batch that was made of it before, if there is one.

    Raises:
        CallError: there is no batch of it yet, or it is not known whether there is one.
    """
    if work.job.state is JobState.CANCELING:
        return await _withdraw(work)
    with work.records.kept.draft() as path:
        body = await work.account.runtime.long_work(_lent, work, path)
        body = body or await _written(work, path, work.records.kept.write)
        batch = await _create(work, body, None)
    await work.advance(PartState.PREPARED, state=PartState.SUBMITTED, batches=(PartBatch(batch.id, body.rows),))
    if work.part.body is not None:
        await work.account.runtime.long_work(work.prepared.forget, work.part.body)
    return 0.0


async def poll(work: PartWork) -> float:
    """Ask how the batch of a part is; in a job that is canceled, cancel it first.

    Raises:
        CallError: that cannot be known now.
    """
    account, part = work.account, work.part
    latest = part.batches[-1]
    try:
        batch, answer = await account.batches.get(latest.id)
    except CallError as error:
        if error.report.status != HTTPStatus.NOT_FOUND or await _is_new(work, latest.id):
            raise
        lost = replace(latest, lost=error.report.type)
        await work.advance(PartState.SUBMITTED, state=PartState.ENDED, batches=(*part.batches[:-1], lost))
        return 0.0
    await learn(account, [batch])
    entry = await anyio.to_thread.run_sync(work.records.ledger.find, latest.id)
    if entry is None:
        # It had been adopted, and the answer of another create has named it meanwhile.
        state = PartState.RETRYING if part.retries else PartState.WAITING
        await work.advance(PartState.SUBMITTED, state=state, batches=part.batches[:-1])
        return 0.0
    if batch.ended:
        await work.advance(PartState.SUBMITTED, state=PartState.ENDED)
        return 0.0
    if work.job.state is JobState.CANCELING and not batch.was_canceled:
        await _cancel(work, latest.id)
    waited_s = account.upstream.time_s() - (batch.created_s or entry.started_s)
    return poll_after_s(retry_after_s(answer.headers), waited_s, account.limits.job_pause_s)


async def send_again(work: PartWork) -> float:
    """Send the rows again that failed in the latest batch through no fault of their request.

    Raises:
        CallError: there is no batch of them yet, or it is not known whether there is one.
    """
    account, part = work.account, work.part
    latest = part.batches[-1]
    try:
        found = await retried(account, latest.id, PASSING, silent, again=True)
    except InvalidArguments as error:
        # Their requests are no longer there: what there is of them is what is written.
        await work.advance(PartState.RETRYING, state=PartState.ENDED, settled=True, note=error.report.message)
        return 0.0
    with work.records.kept.draft() as path:
        written = await account.runtime.long_work(
            take, found.source, work.around, lambda _: path, work.records.kept.write
        )
        body = written[1].get(0)
        if body is None or not await _affordable(work, body):
            await work.advance(PartState.RETRYING, state=PartState.ENDED, settled=True)
            return 0.0
        batch = await _create(work, body, latest.id)
    batches = (*part.batches, PartBatch(batch.id, body.rows))
    await work.advance(PartState.RETRYING, state=PartState.SUBMITTED, batches=batches)
    return 0.0


async def _affordable(work: PartWork, body: Body) -> bool:
    """Whether the whole job stays within its bound when rows are sent again."""
    most_usd = work.job.settings.max_cost_usd
    if most_usd is None:
        return True
    committed_usd = await anyio.to_thread.run_sync(work.jobs.committed_usd, work.job.id)
    return body.high_usd is not None and committed_usd + body.high_usd <= most_usd


async def _create(work: PartWork, body: Body, parent: str | None) -> Batch:
    account, job, part = work.account, work.job, work.part
    if work.cap_usd is not None and body.high_usd is None:
        raise unpriced(body.estimate)
    about = body.draft(
        work.around.beta,
        source=work.shard.url,
        label=job.settings.label or f"job {job.id}",
        part=part.number + 1,
        parent=parent,
    )
    outgoing = OutgoingCreate(account.tool, {"requests": []}, body.copy.path, about)
    rules = CreateRules(attach=True, certain=True, cap_usd=work.cap_usd, queue_requests=job.settings.queue_requests)
    try:
        with ExitStack() as stack:
            sent = await submit(account, outgoing, rules, silent, stack, math.inf)
    except CallError as error:
        if error.report.type == QUEUE_FULL:
            # Some of what is counted may have ended, of which nobody has asked.
            await learn(account, (await account.batches.page(_LIST_LIMIT)).batches)
        raise
    if sent.batch is None:
        message = "the create was taken, and there is no batch of it yet."
        raise CallError(ErrorReport("create_pending", message, "Ask again.", Retry.HELPS, account.limits.ask_again_s))
    return sent.batch


async def _written(work: PartWork, path: Path, write: Write) -> Body:
    """The body of a part, written anew: the same bytes as were planned."""
    return await work.account.runtime.long_work(
        written, work.files, work.source, work.plan, work.job.settings.template, work.around, path, write
    )


def _lent(work: PartWork, path: Path) -> Body | None:
    """The body that was prepared, at `path`; None when it is no longer there, or damaged."""
    part, kept = work.part, work.records.kept
    if part.body is None:
        return None
    try:
        with work.prepared.opened(part.body, work.around.beta) as file:
            source: IO[bytes] = unpacked(file)  # type: ignore[assignment]
            copy = kept.write(path, iter(lambda: source.read(_PIECE_BYTES), b""), work.around.beta)
    except FileNotFoundError:
        return None
    return Body(copy, work.plan.content, work.plan.requests, work.plan.estimate)


async def _withdraw(work: PartWork) -> float:
    """Of a part of a job that is canceled, find out whether a create of it was begun that made a batch.

    Raises:
        CallError: that is not known yet.
    """
    ledger, content, team = work.records.ledger, work.plan.content, work.job.settings.team
    made = await anyio.to_thread.run_sync(ledger.standing, content, 0, team)
    batch_id = None if made is None else str(made.batch_id)
    entry = None if made is not None else await anyio.to_thread.run_sync(ledger.unsettled, content, team)
    if entry is not None:
        presence = work.records.presence
        at_work = entry.owner is not None and await anyio.to_thread.run_sync(presence.alive, entry.owner)
        verdict = InDoubt(DOUBT_S) if at_work else await look(work.account, work.records, entry)
        if isinstance(verdict, Adopt):
            batch_id = verdict.batch.id
        elif not isinstance(verdict, NoneFound):
            raise unsettled(entry, verdict, work.account.limits)
    if batch_id is None:
        await work.advance(PartState.PREPARED, state=PartState.CANCELED)
    else:
        batches = (PartBatch(batch_id, work.plan.requests),)
        await work.advance(PartState.PREPARED, state=PartState.SUBMITTED, batches=batches)
    return 0.0


async def _cancel(work: PartWork, batch_id: str) -> None:
    """Cancel a batch; what has been processed is billed, and its results are collected."""
    if work.cancel is None:
        return
    feeds = (each for each in work.cancel.request.path if isinstance(each, Feed))
    argument = next(name for feed in feeds for name in feed.value.arguments)
    await learn(work.account, [Batch.of(await work.account.forward.content(work.cancel, {argument: batch_id}))])


async def _is_new(work: PartWork, batch_id: str) -> bool:
    """Whether a batch is so new that the upstream may not find it yet."""
    entry = await anyio.to_thread.run_sync(work.records.ledger.find, batch_id)
    created_s = entry.last_seen.created_s if entry and not entry.deleted else None
    return created_s is not None and abs(work.account.upstream.time_s() - created_s) < _SETTLING_S


async def silent(_done: float, _total: float, _words: str) -> None:
    """Nobody is told how far it is."""
