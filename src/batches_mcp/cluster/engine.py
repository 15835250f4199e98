"""The engine of jobs: tasks in the shared database that any number of workers take. The only door to Procrastinate.

A task may run twice, also at the same time: a worker that does not show for a while that it lives loses its tasks to
others, though it may only have been slow. A task that is lost is begun again by `Work.look_after`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine
from contextlib import asynccontextmanager
from importlib import metadata, resources
from typing import Any

import anyio
from procrastinate import App, PsycopgConnector, exceptions
from procrastinate.jobs import Job, Status

from batches_mcp.cluster.steps import PRIORITY, Action, Task
from batches_mcp.core.errors import ErrorReport, Retry, StateUnusable
from batches_mcp.core.limits import Limits
from batches_mcp.store.postgres import Postgres

log = logging.getLogger(__name__)

_PACKAGE = "procrastinate"
_MOST_CONNECTIONS = 4
_POOL_TIMEOUT_S = 10.0
_DAY_S = 86_400.0
# After trouble with the database.
_LONGEST_PAUSE_S = 10.0

Perform = Callable[[Task], Awaitable[None]]


class Engine:
    """Defers tasks, and takes them; made by `engine`."""

    def __init__(self, app: App, name: str, limits: Limits) -> None:
        self._app, self._name, self._limits = app, name, limits
        self._perform: Perform | None = None
        for action in Action:
            self._app.task(name=action.value)(self._performing(action))

    def _performing(self, action: Action) -> Callable[..., Awaitable[None]]:
        async def perform(job: str, number: int) -> None:
            assert self._perform is not None  # noqa: S101 - only `run` takes tasks
            await self._perform(Task(action, job, number))

        return perform

    async def defer(self, queue: str, task: Task, after_s: float = 0.0) -> None:
        """Have a task carried out, after a while; once, if it is deferred twice before.

        Raises:
            StateUnusable: the database cannot be used.
        """
        later: dict[str, Any] = {"schedule_in": {"seconds": after_s}} if after_s > 0 else {}
        deferrer = self._app.configure_task(
            task.action.value, queue=queue, queueing_lock=_lock(task), priority=PRIORITY[task.action], **later
        )
        try:
            await deferrer.defer_async(job=task.job, number=task.number)
        except exceptions.AlreadyEnqueued:
            pass
        except exceptions.ProcrastinateException as error:
            raise self._unusable(error) from error

    async def pending(self, queue: str) -> set[Task]:
        """The tasks of a queue that wait for their turn or are being carried out.

        Raises:
            StateUnusable: the database cannot be used.
        """
        try:
            found = [
                job
                for status in (Status.TODO, Status.DOING)
                for job in await self._app.job_manager.list_jobs_async(queue=queue, status=status.value)
            ]
        except exceptions.ProcrastinateException as error:
            raise self._unusable(error) from error
        return {_task(job) for job in found}

    async def take_over(self, queues: Collection[str]) -> list[Task]:
        """Give the tasks of workers that no longer show that they live to others.

        Raises:
            StateUnusable: the database cannot be used.
        """
        manager = self._app.job_manager
        taken = []
        try:
            for job in await manager.get_stalled_jobs(seconds_since_heartbeat=self._limits.worker_lost_s):
                if job.queue not in queues:
                    continue
                try:
                    try:
                        await manager.retry_job(job)
                    except (exceptions.AlreadyEnqueued, exceptions.UniqueViolation):
                        await manager.finish_job(job, Status.FAILED, delete_job=True)
                except exceptions.ConnectorException:
                    continue  # another worker was faster; or nothing can be done now, which the next look finds
                taken.append(_task(job))
        except exceptions.ProcrastinateException as error:
            raise self._unusable(error) from error
        return taken

    async def run(
        self, queues: Collection[str], concurrency: int, perform: Perform, stop: anyio.Event, drain_s: float
    ) -> None:
        """Carry out tasks, so many at a time, until `stop` is set: then no more are begun, and those under way end.

        They have `drain_s` for that. A database that is lost is waited for.
        """
        asyncio.get_running_loop().set_exception_handler(_unexpected)
        failures = 0
        while not stop.is_set():
            try:
                await self._until(stop, self._worker(queues, concurrency, perform, wait=True, drain_s=drain_s))
            except exceptions.ProcrastinateException as error:
                log.warning("%s", self._unusable(error).report.message)
            # Without an error, one of its own tasks failed, such as the one that shows that it lives.
            failures += 1
            with anyio.move_on_after(min(2.0 ** min(failures, 10) / 10, _LONGEST_PAUSE_S)):
                await stop.wait()

    async def run_now(self, queues: Collection[str], concurrency: int, perform: Perform) -> None:
        """Carry out the tasks that can be begun now.

        Raises:
            StateUnusable: the database cannot be used.
        """
        try:
            await self._until(anyio.Event(), self._worker(queues, concurrency, perform, wait=False, drain_s=_DAY_S))
        except exceptions.ProcrastinateException as error:
            raise self._unusable(error) from error

    def _worker(
        self, queues: Collection[str], concurrency: int, perform: Perform, *, wait: bool, drain_s: float
    ) -> Coroutine[Any, Any, None]:
        self._perform = perform
        return self._app.run_worker_async(
            queues=list(queues),
            concurrency=concurrency,
            wait=wait,
            fetch_job_polling_interval=self._limits.task_poll_s,
            update_heartbeat_interval=self._limits.worker_lost_s / 3,
            stalled_worker_timeout=self._limits.worker_lost_s,
            delete_jobs="always",
            install_signal_handlers=False,
            shutdown_graceful_timeout=drain_s,
        )

    async def _until(self, stop: anyio.Event, work: Coroutine[Any, Any, None]) -> None:
        """Let a worker run to its end, or until it is to stop.

        It is notified by one cancellation, to which it answers by letting its tasks end; those of a scope of anyio's
        come again and again. So it is a task of its own.
        """
        worker = asyncio.create_task(work)
        waiting = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({worker, waiting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            if not worker.done():
                worker.cancel()
                with anyio.CancelScope(shield=True):
                    await asyncio.wait({worker})
        if not worker.cancelled():
            worker.result()

    def _unusable(self, error: BaseException) -> StateUnusable:
        cause = error.__cause__ or error
        lines = str(cause).strip().splitlines() or [type(cause).__name__]
        message = f"the tasks in {self._name} cannot be used: {lines[0].rstrip('.')}."
        advice = "If it stays so, look at that database; `batches-mcp migrate` makes its tables."
        return StateUnusable(ErrorReport("state_unusable", message, advice, Retry.HELPS, at_shell=advice))


@asynccontextmanager
async def engine(database_url: str, name: str, limits: Limits) -> AsyncIterator[Engine]:
    """The engine on a database, that messages call by `name`, until the end of the block.

    Raises:
        StateUnusable: the database cannot be used.
    """
    # What it logs has tracebacks in it; what goes wrong is logged by us.
    logging.getLogger(_PACKAGE).setLevel(logging.DEBUG if log.isEnabledFor(logging.DEBUG) else logging.CRITICAL)
    app = App(
        connector=PsycopgConnector(
            conninfo=database_url,
            kwargs={"prepare_threshold": None},
            min_size=1,
            max_size=_MOST_CONNECTIONS,
            timeout=_POOL_TIMEOUT_S,
        )
    )
    found = Engine(app, name, limits)
    try:
        await app.open_async()
    except exceptions.ProcrastinateException as error:
        raise found._unusable(error) from error  # noqa: SLF001 - as its methods do
    try:
        yield found
    finally:
        await app.close_async()


def migrate(database: Postgres) -> str | None:
    """Make the engine's tables, or bring them to the installed version of Procrastinate; None: they are up to date.

    Raises:
        StateUnusable: the database cannot be used.
    """
    version = metadata.version(_PACKAGE)
    with database.transaction("migrate") as db:
        db.execute("CREATE TABLE IF NOT EXISTS job_engine (version TEXT NOT NULL)")
        found = [str(row[0]) for row in db.execute("SELECT version FROM job_engine")]
        if found == [version]:
            return None
        sql = resources.files(_PACKAGE) / "sql"
        if found:
            folder = sql / "migrations"
            names = sorted(each.name for each in folder.iterdir() if each.name.endswith(".sql"))
            wanted = [name for name in names if _numbers(found[0]) < _numbers(name.partition("_")[0])]
            for name in wanted:
                db.run((folder / name).read_text("utf-8"))
        else:
            db.run((sql / "schema.sql").read_text("utf-8"))
        db.execute("DELETE FROM job_engine")
        db.execute("INSERT INTO job_engine VALUES (?)", (version,))
    return version


def _unexpected(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What became of a task that nobody waited for: its end could not be written down, since it is another's now."""
    if isinstance(context.get("exception"), exceptions.ProcrastinateException):
        log.info("a task that was carried out is another worker's by now: %s", context["exception"].__cause__)
    else:
        loop.default_exception_handler(context)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())


def _lock(task: Task) -> str:
    """A part has one task at a time, whatever it is."""
    kind = "shard" if task.action is Action.PLAN else "job" if task.action is Action.FINISH else "part"
    return f"{task.job}/{kind}/{task.number}"


def _task(job: Job) -> Task:
    return Task(Action(job.task_name), str(job.task_kwargs["job"]), int(str(job.task_kwargs["number"])))
