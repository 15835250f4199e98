"""`job submit`: what is planned and what it may cost is shown, what is wrong refuses the job, and it is begun."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import anyio.to_thread
import click
import msgspec

from batches_mcp.cli.display import usd, waiting
from batches_mcp.cli.run_words import tell
from batches_mcp.cli.startup import say
from batches_mcp.core.text import count
from batches_mcp.store.entry import rfc3339
from batches_mcp.store.job import JobSettings, JobShard, JobState

if TYPE_CHECKING:
    from batches_mcp.cluster.tasks import Tasks


async def submitted(tasks: Tasks, settings: JobSettings, *, as_json: bool) -> int:
    """Submit a job, and print its id; the exit code.

    Raises:
        UsageError: its input or output cannot be used.
        CallError: it may cost too much, or something cannot be used.
    """
    from batches_mcp.cluster import shards as inputs
    from batches_mcp.cluster import submission

    part_rows = min(settings.part_rows, tasks.runtime.limits.batch_requests)
    settings = replace(settings, part_rows=part_rows)
    found = await anyio.to_thread.run_sync(inputs.find, settings.url)
    job = await submission.begin(tasks, settings, found, time.time())
    if job.state is JobState.PLANNING:
        with waiting() as display:
            shards = await submission.plan(
                tasks, job, lambda done, of: display.show(f"checking: {done:,} of {count(of, 'table')}")
            )
        parts = submission.parts_of(job, shards)
        problems = submission.findings(job, shards)
        for line in problems.lines:
            tell(line)
        if problems.refused:
            await anyio.to_thread.run_sync(
                tasks.jobs.move, job.id, [JobState.PLANNING], JobState.REFUSED, problems.refused
            )
            tell(f"Nothing was sent: {problems.refused}")
            return 1
        _tell_plan(settings, shards)
        await submission.check_caps(tasks, job, parts)
        await submission.claim_output(tasks, job)
    elif job.state is JobState.DONE:
        say(f"job {job.id} was done before; nothing is sent")
    else:
        say(f"job {job.id} was submitted before, and goes on")
    await submission.start(tasks, job, parts if job.state is JobState.PLANNING else ())
    if job.state is not JobState.DONE and (approval := await submission.ask(tasks, job)) is not None:
        tell(
            f"It waits until {rfc3339(approval.expires_s)} for somebody else's approval ({approval.id}), since team "
            f"{approval.team} spends up to {usd(approval.over_usd)} without one; its workers then go on."
        )
    if as_json:
        status = await anyio.to_thread.run_sync(tasks.jobs.status, job.id)
        assert status is not None  # noqa: S101 - it was just begun
        click.echo(json.dumps(asdict(status)))
    else:
        click.echo(job.id)
    return 0


def _tell_plan(settings: JobSettings, shards: Sequence[JobShard]) -> None:
    from batches_mcp.cluster.forecast import forecast
    from batches_mcp.cluster.plan import ShardPlan

    found = forecast([msgspec.convert(shard.plan, ShardPlan) for shard in shards], settings.queue_requests)
    tables, batches = count(len(shards), "table"), count(found.batches, "batch", "batches")
    tell(f"{count(found.requests, 'row')} of {tables} in {batches}.")
    if found.high_usd is None:
        models = [f"the price of {', '.join(found.unknown_models)} is not known"] if found.unknown_models else []
        reasons = [f"requests ask for {', '.join(found.unbounded)}"] if found.unbounded else []
        tell(f"It may cost an amount that cannot be estimated: {'; '.join(models + reasons)}.")
    else:
        tell(f"It may cost {usd(found.low_usd)} to {usd(found.high_usd)}, depending on the length of the answers.")
    tell(
        f"With {settings.queue_requests:,} requests in progress at a time it takes about "
        f"{count(found.usual_hours, 'hour')}, and at most {count(found.most_hours, 'hour')}."
    )
