"""The last steps of a part and of a job: results become a table beside the input's columns, and a manifest."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from batches_mcp.cluster.collect import PartResult, collect
from batches_mcp.cluster.manifest import Facts, WrittenPart, failures_key, part_key
from batches_mcp.cluster.manifest import finish as write_manifest
from batches_mcp.cluster.part_work import PartWork, silent, source_of
from batches_mcp.cluster.plan import ShardPlan
from batches_mcp.cluster.shards import put
from batches_mcp.cluster.steps import RETRIES
from batches_mcp.core.errors import CallError, ErrorReport, Retry
from batches_mcp.core.state import unusable
from batches_mcp.store.job import Job, JobPart, JobShard, JobState, PartBatch, PartState
from batches_mcp.store.spool import Spool
from batches_mcp.work.download import is_whole, spooled, whole_copy
from batches_mcp.work.in_progress import Download
from batches_mcp.work.retry import sift
from batches_mcp.work.retryable import PASSING

_INCOMPLETE, _GONE = "results_incomplete", "results_gone"
# Folders below that of the shards.
_UNFINISHED, _ABANDONED_S = "part-", 86_400.0
# Each of them reads the stream several times.
_MOST_INCOMPLETE = 4


async def collect_part(work: PartWork) -> float:
    """Get the results of a part; have rows sent again that may be, or write all there is beside the input's columns.

    Raises:
        CallError: the results, or a store, cannot be had now.
    """
    part = work.part
    spools: list[Spool] = []
    for batch in part.batches:
        if batch.lost:
            continue
        try:
            spools.append(await _spool(work, batch))
        except CallError as error:
            if not _never_comes(error, part.failures):
                raise
            lost = tuple(replace(each, lost=error.report.type) if each == batch else each for each in part.batches)
            await work.advance(PartState.ENDED, PartState.RETRYING, batches=lost, settled=True)
            return 0.0
    running = work.job.state is not JobState.CANCELING
    if spools and running and not part.settled and part.retries < RETRIES:
        try:
            again = await work.account.runtime.long_work(sift, spools[-1], frozenset(PASSING))
        except OSError as error:
            raise unusable(spools[-1].path, error) from error
        if again.again:
            await work.advance(PartState.ENDED, state=PartState.RETRYING)
            return 0.0
    await work.account.runtime.long_work(_write, work, spools)
    return 0.0


async def _spool(work: PartWork, batch: PartBatch) -> Spool:
    """The whole of a batch's results."""
    account = work.account
    kept = await whole_copy(account, batch.id, batch.rows)
    if kept is not None:
        return kept
    ended = await account.batches.ended(batch.id)
    found = await spooled(account, ended, silent, math.inf)
    if isinstance(found, Download) or not is_whole(found, ended):
        rows = 0 if isinstance(found, Download) else found.head.rows
        message = f"the results of {batch.id} have {rows:,} of {ended.total:,} rows."
        raise CallError(ErrorReport(_INCOMPLETE, message, "Ask again.", Retry.HELPS))
    return found


def _never_comes(error: CallError, failures: int) -> bool:
    """Whether the results of a batch will never be had."""
    if error.report.type in (_INCOMPLETE, _GONE) and error.report.retry is Retry.HELPS:
        return failures >= _MOST_INCOMPLETE
    return error.report.type == _GONE or error.report.status == HTTPStatus.NOT_FOUND


def _write(work: PartWork, spools: Sequence[Spool]) -> None:
    """Write the table of a part, whole or not at all, and note what is in it."""
    part, settings = work.part, work.job.settings
    lost = next((each.lost for each in part.batches if each.lost), None)
    missing = [] if lost is None else [f"{lost}: the results of its batch will not come"]
    try:
        _remove_abandoned(work)
        with TemporaryDirectory(dir=work.files.folder, prefix=_UNFINISHED) as folder:
            path, failures = Path(folder, "part.parquet"), Path(folder, "failures.parquet")
            wanted = failures if settings.failures else None
            about = (work.files, work.source, work.plan, settings.template, work.around)
            found = collect(*about, spools, path, wanted, *missing)
            if failures.exists():
                put(settings.out, failures_key(part.number), failures)
            put(settings.out, part_key(part.number), path)
    except OSError as error:
        raise unusable(work.files.folder, error) from error
    costs_usd = [each.cost_usd for each in found.batches]
    moved = work.jobs.advance(
        part,
        (PartState.ENDED, PartState.RETRYING),
        state=PartState.DONE,
        output=msgspec.to_builtins(found),
        succeeded=found.succeeded,
        failed=found.failed,
        cost_usd=None if None in costs_usd else sum(filter(None, costs_usd)),
    )
    for observer in work.account.upstream.observers if moved else ():
        observer.parts_ended(settings.team, PartState.DONE, 1, succeeded=found.succeeded, failed=found.failed)


def _remove_abandoned(work: PartWork) -> None:
    """Remove what workers that were killed had not written to its end."""
    before_s = work.account.upstream.clock.wall_s() - _ABANDONED_S
    for path in work.files.folder.glob(f"{_UNFINISHED}*"):
        with suppress(FileNotFoundError):  # its worker has ended meanwhile
            if path.stat().st_mtime < before_s:
                shutil.rmtree(path, ignore_errors=True)


def finish(job: Job, shards: Sequence[JobShard], parts: Sequence[JobPart]) -> None:
    """Write what tells what is in the output of a job that has ended.

    Raises:
        StateUnusable: the store cannot be used.
    """
    settings = job.settings
    plans = [msgspec.convert(shard.plan, ShardPlan) for shard in shards if shard.plan is not None]
    facts = Facts(job.id, settings.url, settings.template, plans[0].duckdb, settings.limit)
    found = [source_of(shard) for shard in shards]
    written = [
        WrittenPart(part.number, part.shard, int(part.plan["first_row"]), msgspec.convert(part.output, PartResult))
        for part in parts
        if part.output is not None
    ]
    write_manifest(settings.out, facts, found, plans, written)
