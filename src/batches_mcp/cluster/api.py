"""Jobs from Python: `submit`, `wait` and `collect`, each of which may be called again at any time.

For orchestrators, whose tasks are retried: the same submission is the same job, and is paid once. All three take the
settings of the command line from the environment: BATCHES_MCP_DATABASE_URL, BATCHES_MCP_OBJECT_STORE, and for `submit`
the API key. Workers (`batches-mcp worker`) carry the job out, wherever they are.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from batches_mcp.core.errors import BatchesMcpError, UsageError
from batches_mcp.core.settings import DATABASE_URL, Environment
from batches_mcp.store.job import Job, JobState, JobStatus, PartState
from batches_mcp.store.jobs import Jobs
from batches_mcp.store.postgres import Postgres

__all__ = ["JobError", "Results", "cancel", "collect", "status", "submit", "wait"]

_POLL_S = 10.0


class JobError(BatchesMcpError):
    """A job was refused, or did not come to its end; the text says why."""


@dataclass(frozen=True, slots=True)
class Results:
    """What a job came to. `files` are the URLs of its tables, in the order of the input; costs are in USD."""

    job_id: str
    files: tuple[str, ...]
    rows: int
    succeeded: int
    failed: int
    cost_usd: float | None


def submit(
    url: str,
    *,
    template: Mapping[str, Any],
    out: str,
    model: str | None = None,
    limit: int | None = None,
    max_cost_usd: float | None = None,
    queue_requests: int | None = None,
    label: str | None = None,
    failures: bool = False,
    skip_invalid: bool = False,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Submit a job, as `batches-mcp job submit` does; its id. The same again is the same job, and sends nothing twice.

    It takes as long as reading all rows once. `environment` adds to that of this process, such as the API key.

    Raises:
        JobError: nothing was sent; the text names everything that is wrong.
    """
    flags = {
        "--template": json.dumps(template),
        "--out": out,
        "--model": model,
        "--limit": limit,
        "--max-cost-usd": max_cost_usd,
        "--queue-requests": queue_requests,
        "--label": label,
    }
    given = [word for name, value in flags.items() if value is not None for word in (name, str(value))]
    given += [name for name, wanted in (("--failures", failures), ("--skip-invalid", skip_invalid)) if wanted]
    command = [sys.executable, "-m", "batches_mcp", "job", "submit", *given, "--", url]
    values = {**Environment().values, **(environment or {})}
    done = subprocess.run(command, env=values, capture_output=True, text=True, check=False)  # noqa: S603 - ourselves
    if done.returncode:
        raise JobError(done.stderr.strip())
    return done.stdout.strip()


def status(job_id: str) -> JobStatus:
    """How a job stands, in one question to the database.

    Raises:
        JobError: there is no such job.
        StateUnusable: the database cannot be used.
    """
    with _jobs() as jobs:
        found = jobs.status(job_id)
    if found is None:
        raise JobError(f"there is no job {job_id}")
    return found


def wait(job_id: str, *, timeout_s: float | None = None, poll_s: float = _POLL_S) -> JobStatus:
    """Wait until a job has ended, or for `timeout_s` at the longest; how it stands then.

    Raises:
        JobError: there is no such job.
        StateUnusable: the database cannot be used.
    """
    deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        found = status(job_id)
        if found.state.final or (deadline_s is not None and time.monotonic() >= deadline_s):
            return found
        time.sleep(poll_s)


def collect(job_id: str) -> Results:
    """Where the results of a job are that is done. Rows that failed are in them, with their errors.

    Raises:
        JobError: it is not done, with how it stands and what went wrong.
        StateUnusable: the database cannot be used.
    """
    found = status(job_id)
    with _jobs() as jobs:
        job = _found(jobs, job_id)
        parts = jobs.parts(job_id)
    if found.state is not JobState.DONE:
        raise JobError(f"job {job_id} is {found.state}{f': {job.error}' if job.error else ''}")
    place = job.settings.out.rstrip("/")
    files = tuple(f"{place}/part-{part.number:05}.parquet" for part in parts if part.state is PartState.DONE)
    return Results(job_id, files, found.rows, found.succeeded, found.failed, found.cost_usd)


def cancel(job_id: str) -> bool:
    """Have a job canceled; false when it has ended.

    Raises:
        JobError: there is no such job.
        StateUnusable: the database cannot be used.
    """
    with _jobs() as jobs:
        _found(jobs, job_id)
        return jobs.move(job_id, (JobState.RUNNING, JobState.PAUSED), JobState.CANCELING)


def _found(jobs: Jobs, job_id: str) -> Job:
    found = jobs.get(job_id)
    if found is None:
        raise JobError(f"there is no job {job_id}")
    return found


@contextmanager
def _jobs() -> Iterator[Jobs]:
    url = Environment().secret(DATABASE_URL)
    if url is None:
        raise UsageError(f"jobs are in a database that workers share: set {DATABASE_URL}")
    with closing(Postgres(url.get_secret_value())) as database:
        yield Jobs(database)
