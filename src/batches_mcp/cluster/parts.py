"""What is done for one part of a job, each step of which may be carried out twice, by whichever worker.

Each ends with a compare-and-set of the part's state, and returns after how many seconds the next may follow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import IO

import anyio.to_thread

from batches_mcp.api.batch import Batch
from batches_mcp.cluster.canceling import cancel_batch, withdraw
from batches_mcp.cluster.part_work import PartWork, silent
from batches_mcp.cluster.prepare import prepare as written
from batches_mcp.cluster.steps import poll_after_s
from batches_mcp.core.errors import CallError, InvalidArguments
from batches_mcp.exchange.failure import retry_after_s
from batches_mcp.requests.reading import unpacked
from batches_mcp.store.claim_rules import JobTotal
from batches_mcp.store.job import JobState, PartBatch, PartState
from batches_mcp.store.kept import Copy, KeptRequests
from batches_mcp.work.deliver import OutgoingCreate
from batches_mcp.work.intake import Body, take
from batches_mcp.work.learn import learn
from batches_mcp.work.ownership import approve_over_usd
from batches_mcp.work.refusals import DENIED, QUEUE_FULL, unpriced, waits_for_approval
from batches_mcp.work.retry import retried
from batches_mcp.work.retryable import PASSING
from batches_mcp.work.send import CreateRules, submit

Write = Callable[[Path, Iterable[bytes], str], Copy]

# The list is looked at for batches that have ended without anybody asking for them.
_LIST_LIMIT = 100
_PIECE_BYTES = 1 << 18
# So long a body that was prepared here stays on this disk as well.
_UNUSED_S = 3_600.0


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
        await work.account.runtime.long_work(_keep, work, body.copy)
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
        return await withdraw(work)
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
        now_s = account.upstream.time_s()
        is_new = await anyio.to_thread.run_sync(work.records.is_new, latest.id, now_s)
        if error.report.status != HTTPStatus.NOT_FOUND or is_new:
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
        await cancel_batch(work, latest.id)
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
        try:
            batch = await _create(work, body, latest.id)
        except CallError as error:
            if error.report.type != DENIED:
                raise
            # What there is of them is paid, and is written.
            await work.advance(PartState.RETRYING, state=PartState.ENDED, settled=True, note=error.report.message)
            return 0.0
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
        job_id=job.id,
    )
    outgoing = OutgoingCreate(account.tool, {"requests": []}, body.copy.path, about)
    rules = CreateRules(
        attach=True,
        certain=True,
        cap_usd=work.cap_usd,
        queue_requests=job.settings.queue_requests,
        job=await _total(work),
    )
    try:
        with ExitStack() as stack:
            sent = await submit(account, outgoing, rules, silent, stack, math.inf)
    except CallError as error:
        if error.report.type == QUEUE_FULL:
            # Some of what is counted may have ended, of which nobody has asked.
            await learn(account, (await account.batches.page(_LIST_LIMIT)).batches)
        raise
    if sent.pending is not None:
        raise waits_for_approval(sent.pending, account.limits)
    assert sent.batch is not None  # noqa: S101 - it was waited for
    return sent.batch


async def _total(work: PartWork) -> JobTotal | None:
    """All that the job is to send, where that may need an approval."""
    if approve_over_usd(work.account.runtime.caller) is None:
        return None
    return await anyio.to_thread.run_sync(work.jobs.total, work.job)


async def _written(work: PartWork, path: Path, write: Write) -> Body:
    """The body of a part, written anew: the same bytes as were planned."""
    return await work.account.runtime.long_work(
        written, work.files, work.source, work.plan, work.job.settings.template, work.around, path, write
    )


def _keep(work: PartWork, copy: Copy) -> None:
    work.prepared.keep(copy).close()
    # Another worker may send it, who has it from the store.
    KeptRequests.tidy(work.prepared, (), work.account.upstream.clock.wall_s() - _UNUSED_S)


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
