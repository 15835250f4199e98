"""What becomes of a part whose job is canceled: its batch is canceled, or none is made of it."""

from __future__ import annotations

import anyio.to_thread

from batches_mcp.api.batch import Batch
from batches_mcp.cluster.part_work import PartWork
from batches_mcp.core.plan import Feed
from batches_mcp.store.entry import DOUBT_S
from batches_mcp.store.job import PartBatch, PartState
from batches_mcp.work.evidence import Adopt, InDoubt, NoneFound
from batches_mcp.work.learn import learn
from batches_mcp.work.reconcile import look
from batches_mcp.work.refusals import unsettled


async def withdraw(work: PartWork) -> float:
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


async def cancel_batch(work: PartWork, batch_id: str) -> None:
    """Cancel a batch; what has been processed is billed, and its results are collected."""
    if work.cancel is None:
        return
    feeds = (each for each in work.cancel.request.path if isinstance(each, Feed))
    argument = next(name for feed in feeds for name in feed.value.arguments)
    await learn(work.account, [Batch.of(await work.account.forward.content(work.cancel, {argument: batch_id}))])
