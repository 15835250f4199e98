"""`job status`: how jobs stand, as JSON, in lines, or in place while they change."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict

import click
from rich.console import Group
from rich.live import Live
from rich.text import Text

from batches_mcp.cli.display import console, in_place, show_table, up_to, usd
from batches_mcp.core.limits import Limits
from batches_mcp.core.redact import printable
from batches_mcp.store.job import Job, JobState, JobStatus
from batches_mcp.store.jobs import Jobs

_HEAD = ("job", "state", "rows", "done", "failed", "batches", "cost", "what")


def show_one(jobs: Jobs, limits: Limits, job_id: str, *, as_json: bool, watch: bool) -> int:
    """Show a job; the exit code says whether all is well."""
    if as_json:
        click.echo(json.dumps(asdict(_status(jobs, job_id))))
    elif watch:
        _watch(limits, lambda: _lines(jobs, [_job(jobs, job_id)]))
    else:
        show_table(console(error=False), (), _facts(_job(jobs, job_id), _status(jobs, job_id), jobs))
    found = _status(jobs, job_id)
    return 1 if found.failed or found.state in (JobState.REFUSED, JobState.FAILED) else 0


def show_all(jobs: Jobs, limits: Limits, *, as_json: bool, watch: bool) -> int:
    """Show all jobs, newest first."""
    if as_json:
        click.echo(json.dumps([asdict(_status(jobs, job.id)) for job in jobs.all()]))
    elif watch:
        _watch(limits, lambda: _lines(jobs, jobs.all()))
    elif found := jobs.all():
        show_table(console(error=False), _HEAD, [_line(job, _status(jobs, job.id)) for job in found])
    else:
        click.echo("There are no jobs; `batches-mcp job submit` makes one.", err=True)
    return 0


def _watch(limits: Limits, look: Callable[[], tuple[list[list[str]], bool]]) -> None:
    """Show lines, in place where that can be done, until nothing changes any more."""
    where = console(error=False)
    live = Live(console=where, auto_refresh=False) if in_place(where) else None
    before: list[list[str]] | None = None
    with live or nullcontext():
        while True:
            lines, over = look()
            if live is not None:
                widths = [max(map(len, column)) for column in zip(_HEAD, *lines, strict=True)]
                rows = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in [_HEAD, *lines]]
                shown = [Text(printable(row), no_wrap=True, overflow="ellipsis") for row in rows]
                live.update(Group(*shown), refresh=True)
            else:
                changed = [line for line in lines if before is None or line not in before]
                if changed:
                    show_table(where, _HEAD if before is None else (), changed)
            before = lines
            if over:
                return
            time.sleep(limits.watch_s)


def _lines(jobs: Jobs, found: list[Job]) -> tuple[list[list[str]], bool]:
    """The lines of jobs, and whether all of them have ended."""
    return [_line(job, _status(jobs, job.id)) for job in found], all(job.state.final for job in found)


def _line(job: Job, status: JobStatus) -> list[str]:
    return [
        job.id,
        str(status.state),
        f"{status.rows:,}",
        f"{status.succeeded:,}",
        f"{status.failed:,}",
        f"{status.batches:,}",
        _cost(status),
        job.settings.label or job.settings.url,
    ]


def _facts(job: Job, status: JobStatus, jobs: Jobs) -> list[tuple[str, str]]:
    notes = [(part.number, part.note) for part in jobs.parts(job.id) if part.note]
    parts = ", ".join(f"{number:,} {state}" for state, number in status.parts.items())
    facts = {
        "job": job.id,
        "state": str(status.state),
        "error": job.error,
        "label": job.settings.label,
        "team": job.settings.team,
        "input": job.settings.url,
        "output": job.settings.out,
        "rows": f"{status.rows:,}: {status.succeeded:,} succeeded, {status.failed:,} failed",
        "parts": parts,
        "batches": f"{status.batches:,}",
        "estimate": up_to(status.estimate_usd),
        "cost": usd(status.cost_usd),
    }
    named = [(name, value) for name, value in facts.items() if value]
    return named + [(f"part {number + 1}", note or "") for number, note in notes[:_MOST_NOTES]]


_MOST_NOTES = 5


def _cost(status: JobStatus) -> str:
    return usd(status.cost_usd) if status.state.final else f"{usd(status.cost_usd)} of {up_to(status.estimate_usd)}"


def _job(jobs: Jobs, job_id: str) -> Job:
    found = jobs.get(job_id)
    assert found is not None  # noqa: S101 - nobody deletes jobs
    return found


def _status(jobs: Jobs, job_id: str) -> JobStatus:
    found = jobs.status(job_id)
    assert found is not None  # noqa: S101 - nobody deletes jobs
    return found
