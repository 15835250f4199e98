"""`job`: a job that workers carry out, from tables in a store to tables of results."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from batches_mcp.cli.flags import account_flags, cap_usd, flag, log_level
from batches_mcp.cli.job_tasks import check_upstream, errors_at_shell, shared_state, tasks_of, teams_in
from batches_mcp.cli.job_template import read_template
from batches_mcp.cli.person import person
from batches_mcp.cli.startup import Ready, ready, say
from batches_mcp.core.errors import BatchesMcpError, UsageError
from batches_mcp.core.settings import BatchSettings, Environment, UpstreamSettings
from batches_mcp.store.entry import MOST_LABEL_CHARS
from batches_mcp.store.job import STANDING_STILL, Job, JobSettings, JobState

if TYPE_CHECKING:
    from batches_mcp.access.teams import Teams
    from batches_mcp.store.jobs import Jobs

# A whole batch, which every usage tier has room for.
_QUEUE_REQUESTS = 100_000


@click.group()
def job() -> None:
    """Jobs of any size: tables in a store become batches, and their results tables beside them.

    `submit` writes a job down, in a database that any number of workers share, who carry it out.
    """


@job.command()
@click.argument("url")
@flag(
    "--template",
    required=True,
    metavar="T.json",
    help="The params of each request, in a file or as JSON, with {{column}} in any text.",
)
@flag("--out", required=True, metavar="URL", help="Where the results go: a folder in a store, or on a shared disk.")
@flag("--model", metavar="M", help="The model, in place of the template's.")
@flag("--limit", type=click.IntRange(1), metavar="N", help="A trial: only the first N rows, as a job of its own.")
@flag("--max-cost-usd", callback=cap_usd, metavar="USD", help="Send nothing if the whole job may cost more than this.")
@flag("--failures", is_flag=True, help="Write the rows that failed to tables of their own as well.")
@flag("--skip-invalid", is_flag=True, help="Leave out the rows with errors, instead of sending none.")
@flag(
    "--queue-requests",
    type=click.IntRange(1),
    metavar="N",
    default=_QUEUE_REQUESTS,
    show_default=True,
    help="How many requests of the workspace may be in progress at a time; the API takes as many as your tier says.",
)
@flag("--label", metavar="L", help="Words to know the job's batches by.")
@flag("--teams", type=click.Path(path_type=Path), metavar="FILE", help="The file of --team.")
@flag("--team", metavar="T", help="The team that pays, by its own API key and under its caps.")
@flag("--json", "as_json", is_flag=True, help="Print the job's status as JSON in place of its id.")
@account_flags
@log_level
def submit(
    *,
    url: str,
    template: str,
    out: str,
    model: str | None,
    limit: int | None,
    max_cost_usd: float | None,
    failures: bool,
    skip_invalid: bool,
    queue_requests: int,
    label: str | None,
    teams: Path | None,
    team: str | None,
    as_json: bool,
    upstream: UpstreamSettings,
    batch: BatchSettings,
    log_level: str,
) -> int:
    """Plan a job, check every row, and have workers carry it out; print its id.

    URL names tables of rows (Parquet, CSV, JSONL), with wildcards: s3://BUCKET/in/*.parquet, gs://, az://, or a path
    that all workers see. Nothing is sent before all of it was checked, and its price is known to be within its bounds.

    The same command again is the same job, whose id it prints: one that was paused, canceled or failed goes on.
    """
    check_upstream(upstream)
    params = dict(read_template(template)) | ({} if model is None else {"model": model})
    if label is not None and not 1 <= len(label) <= MOST_LABEL_CHARS:
        raise UsageError(f"--label: expected 1 to {MOST_LABEL_CHARS} characters, found {len(label):,}")
    if (team is None) != (teams is None):
        raise UsageError("--team names a team of the file of --teams; give both, or neither")
    environment = Environment(warn=say)
    found = teams_in(teams, environment)
    if found is not None and team not in found.teams:
        raise UsageError(f"--team: there is no team {team} in {teams}; it has {', '.join(found.teams)}")
    settings = JobSettings(
        url=_absolute(url),
        out=_absolute(out.rstrip("/") or out),
        template=params,
        part_rows=queue_requests,
        queue_requests=queue_requests,
        limit=limit,
        failures=failures,
        skip_invalid=skip_invalid,
        max_cost_usd=max_cost_usd,
        label=label,
        principal=person(),
        team=team,
    )
    with ready(upstream, environment, log_level, batch, teams=found) as prepared, errors_at_shell(prepared):
        return anyio.run(partial(_submit, prepared, settings, found, as_json))


def _absolute(url: str) -> str:
    """A URL, or a path as workers in other folders know it."""
    return url if "://" in url else str(Path(url).expanduser().absolute())


async def _submit(prepared: Ready, settings: JobSettings, teams: Teams | None, as_json: bool) -> int:
    from batches_mcp.cli.job_submit import submitted

    async with tasks_of(prepared, teams, lambda: 0.0) as tasks:
        return await submitted(tasks, settings, as_json=as_json)


def _ids(command: Any) -> Any:
    return click.argument("job_id", metavar="ID")(account_flags(log_level(command)))


@job.command()
@click.argument("job_id", metavar="[ID]", required=False)
@flag("--json", "as_json", is_flag=True, help="Print JSON: an object, or without ID an array.")
@flag("--watch", is_flag=True, help="Look again until the jobs have ended, or Ctrl-C.")
@account_flags
@log_level
def status(
    *,
    job_id: str | None,
    as_json: bool,
    watch: bool,
    upstream: UpstreamSettings,
    batch: BatchSettings,
    log_level: str,
) -> int:
    """Show how the job ID stands, or all jobs, newest first. It asks the database alone; no API key is needed.

    Exit code 0: all is well; 1: the job was refused, failed, or has rows that failed.
    """
    if watch and as_json:
        raise UsageError("--watch shows jobs as they change; leave --json out")
    from batches_mcp.cli import job_status

    with ready(upstream, Environment(warn=say), log_level, batch) as prepared:
        jobs = _jobs(prepared)
        if job_id is None:
            return job_status.show_all(jobs, prepared.limits, as_json=as_json, watch=watch)
        _existing(jobs, job_id)
        return job_status.show_one(jobs, prepared.limits, job_id, as_json=as_json, watch=watch)


@job.command()
@_ids
def pause(*, job_id: str, upstream: UpstreamSettings, batch: BatchSettings, log_level: str) -> None:
    """Send nothing more of the job ID. The batches that are in progress end, and their results are written."""
    with ready(upstream, Environment(warn=say), log_level, batch) as prepared:
        _move(prepared, job_id, (JobState.RUNNING,), JobState.PAUSED, "is paused")


@job.command()
@_ids
def resume(*, job_id: str, upstream: UpstreamSettings, batch: BatchSettings, log_level: str) -> None:
    """Go on with the job ID, which was paused, canceled or failed. Nothing is sent twice."""
    with ready(upstream, Environment(warn=say), log_level, batch) as prepared:
        _move(prepared, job_id, STANDING_STILL, JobState.RUNNING, "goes on, as soon as a worker looks for it")


@job.command()
@_ids
def cancel(*, job_id: str, upstream: UpstreamSettings, batch: BatchSettings, log_level: str) -> None:
    """Cancel the job ID: nothing more is sent, and workers cancel its batches, of which what was processed is billed.

    The results there are by then are written.
    """
    with ready(upstream, Environment(warn=say), log_level, batch) as prepared:
        _move(prepared, job_id, (JobState.RUNNING, JobState.PAUSED), JobState.CANCELING, "is being canceled")


def _jobs(prepared: Ready) -> Jobs:
    state = shared_state(prepared)
    from batches_mcp.store.jobs import Jobs

    return Jobs(state.database)


def _existing(jobs: Jobs, job_id: str) -> Job:
    found = jobs.get(job_id)
    if found is None:
        raise UsageError(f"there is no job {job_id}; `batches-mcp job status` lists those there are")
    return found


def _move(prepared: Ready, job_id: str, before: tuple[JobState, ...], after: JobState, words: str) -> None:
    """Move a job to another state, if it is in one of those before.

    Raises:
        UsageError: there is no such job.
        BatchesMcpError: it is in another state.
    """
    jobs = _jobs(prepared)
    _existing(jobs, job_id)
    if not jobs.move(job_id, before, after):
        found = _existing(jobs, job_id)
        if found.state is after:
            say(f"job {job_id} {words} already")
            return
        raise BatchesMcpError(f"job {job_id} is {found.state}: only one that is {' or '.join(before)} can be moved so")
    say(f"job {job_id} {words}")
