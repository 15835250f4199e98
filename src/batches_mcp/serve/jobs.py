"""Jobs that workers carry out, as resources: those of the caller's accounts and team, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Any

import anyio.to_thread
import mcp.types as t
from starlette.requests import Request

from batches_mcp.access.principal import READ
from batches_mcp.core.errors import CallError, ErrorReport
from batches_mcp.core.plan import Argument, ToolPlan
from batches_mcp.core.redact import excerpt
from batches_mcp.language import uri
from batches_mcp.serve.calls import Calls
from batches_mcp.store.job import Job, JobStatus
from batches_mcp.store.job_reading import JobDetails
from batches_mcp.store.jobs import Jobs
from batches_mcp.tools.admit import lacks
from batches_mcp.work import audited
from batches_mcp.work.account import Account
from batches_mcp.work.ownership import sees_all
from batches_mcp.work.reconcile import identify
from batches_mcp.work.retryable import PASSING
from batches_mcp.work.runtime import Runtime

URI = "batches://jobs"
_ONE = (f"{URI}/", Argument("job_id"))
_JSON = "application/json"
# What the audit calls them.
_NAME = "jobs"
# So many are well within one answer.
_MOST_JOBS, _MOST_BATCHES, _MOST_CAUSES, _MOST_NOTES = 50, 100, 10, 10
_MOST_CHARS = 500

LISTED = t.Resource(
    uri=URI,
    name="jobs",
    title="Jobs",
    description=f"The newest {_MOST_JOBS} jobs that were submitted with `batches-mcp job submit`, and how they stand.",
    mime_type=_JSON,
)
TEMPLATE = t.ResourceTemplate(
    uri_template=f"{URI}/{{job_id}}",
    name="job",
    title="One job",
    description="How a job stands: its rows, parts, cost, batches, and why rows failed.",
    mime_type=_JSON,
)


@dataclass(frozen=True, slots=True)
class SharedJobs:
    """Reads jobs for whoever calls; `tools` are those whose credentials tell the accounts."""

    jobs: Jobs
    tools: Sequence[ToolPlan]

    @property
    def listed(self) -> t.Resource:
        return LISTED

    @property
    def template(self) -> t.ResourceTemplate:
        return TEMPLATE

    def reads(self, read: str) -> bool:
        """Whether a URI is one of jobs."""
        return read == URI or uri.match(_ONE, read) is not None

    async def content(self, calls: Calls, read: str, request: Request | None) -> dict[str, Any]:
        """All jobs that the caller is shown, or the one that a URI names.

        Raises:
            CallError: there is no such job of the caller's, or it cannot be known.
        """
        runtime = await calls.callers.of(request, _NAME)

        async def answer() -> dict[str, Any]:
            if runtime.caller is not None and (lacking := runtime.caller.lacks({READ})):
                await audited.refused(runtime, _NAME, "insufficient_scope")
                raise lacks(lacking)
            values = uri.match(_ONE, read)
            return await (self._all(runtime) if values is None else self._one(runtime, values["job_id"]))

        return await calls.draining.call(answer, changes=False)

    async def ids(self, calls: Calls, request: Request | None) -> list[str]:
        """The ids of the newest jobs that the caller is shown; raises as `content` does."""
        return [job["id"] for job in (await self.content(calls, URI, request))["jobs"]]

    async def _all(self, runtime: Runtime) -> dict[str, Any]:
        caller = runtime.caller
        team = None if caller is None else caller.team_name
        newest = partial(self.jobs.newest, all_teams=sees_all(caller))
        found = await anyio.to_thread.run_sync(newest, await self._accounts(runtime), _MOST_JOBS + 1, team)
        shown = [_summary(job, status) for job, status in found[:_MOST_JOBS]]
        return {"jobs": shown, "has_more": len(found) > _MOST_JOBS}

    async def _one(self, runtime: Runtime, job_id: str) -> dict[str, Any]:
        accounts, caller = await self._accounts(runtime), runtime.caller
        job = await anyio.to_thread.run_sync(self.jobs.get, job_id)
        if job is None or job.account not in accounts or not _owns(runtime, job):
            if caller is not None and not caller.is_admin:
                await audited.refused(runtime, _NAME, "not_own_job")
            raise _absent(job_id)
        return _detailed(job, await anyio.to_thread.run_sync(self.jobs.details, job, _MOST_BATCHES, _MOST_NOTES))

    async def _accounts(self, runtime: Runtime) -> list[str]:
        """The names of the caller's accounts.

        Raises:
            CallError: a credential is not set, or whose it is cannot be known.
        """
        found = dict[str, None]()
        for tool in self.tools:
            account = Account(runtime, tool)
            await account.look_up()
            await identify(account)
            found[account.name] = None
        return list(found)


def _owns(runtime: Runtime, job: Job) -> bool:
    caller = runtime.caller
    return caller is None or sees_all(caller) or job.settings.team == caller.team_name


def _absent(job_id: str) -> CallError:
    """The error for a job that is none of the caller's, whether it exists or not."""
    message = f"there is no job {excerpt(job_id, 100)}."
    next_step = f"Check the id; {URI} lists the jobs there are."
    return CallError(ErrorReport("not_found_error", message, next_step, status=HTTPStatus.NOT_FOUND))


def _summary(job: Job, status: JobStatus) -> dict[str, Any]:
    return {
        **asdict(status),
        "label": job.settings.label,
        "team": job.settings.team,
        "created_at": _time(job.created_s),
        "finished_at": None if job.finished_s is None else _time(job.finished_s),
    }


def _detailed(job: Job, details: JobDetails) -> dict[str, Any]:
    return {
        **_summary(job, details.status),
        "input": excerpt(job.settings.url, _MOST_CHARS),
        "output": excerpt(job.settings.out, _MOST_CHARS),
        "error": None if job.error is None else excerpt(job.error, _MOST_CHARS),
        "message_batches": [
            {"id": each.id, "part": each.part + 1, "rows": each.rows, "part_state": each.state}
            for each in details.batches
        ],
        "causes": [
            {
                "type": each.type,
                "message": each.message,
                "count": each.count,
                "custom_id": each.custom_id,
                "retryable": each.type in PASSING,
            }
            for each in details.causes[:_MOST_CAUSES]
        ],
        "notes": [{"part": part + 1, "note": excerpt(note, _MOST_CHARS)} for part, note in details.notes],
    }


def _time(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
