"""`worker`: does what is to be done for jobs, beside any number of others, until it is asked to stop."""

from __future__ import annotations

import gc
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import click

from batches_mcp.cli.flags import account_flags, cap_usd, flag, log_format, log_level, metrics_address
from batches_mcp.cli.job_tasks import check_upstream, errors_at_shell, tasks_of, teams_in
from batches_mcp.cli.startup import Ready, installed, ready, say
from batches_mcp.core.errors import CallError, Retry
from batches_mcp.core.logs import LogFormat
from batches_mcp.core.settings import BatchSettings, Environment, UpstreamSettings
from batches_mcp.core.signals import leave, watch_signals
from batches_mcp.work.account import Account
from batches_mcp.work.reconcile import recover

if TYPE_CHECKING:
    from batches_mcp.access.principal import Team
    from batches_mcp.access.teams import Teams
    from batches_mcp.cluster.tasks import Tasks

# A create may take 600 s to be answered.
_DRAIN_S = 600.0


@click.command
@flag(
    "--concurrency",
    type=click.IntRange(1, 64),
    metavar="N",
    default=4,
    show_default=True,
    help="How many tasks are carried out at a time.",
)
@flag(
    "--max-cost-usd",
    callback=cap_usd,
    metavar="USD",
    help="Send nothing that could bring the cost of the last 24 hours over this.",
)
@flag(
    "--teams",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Work for the teams that this file names as well, each with its own API key and caps.",
)
@flag(
    "--drain",
    type=click.FloatRange(0, 86_400),
    metavar="SECONDS",
    default=_DRAIN_S,
    show_default=True,
    help="How long tasks under way may take to end when the worker is asked to stop.",
)
@metrics_address
@account_flags
@log_level
@log_format
def worker(
    *,
    concurrency: int,
    max_cost_usd: float | None,
    teams: Path | None,
    drain: float,
    metrics_address: str | None,
    upstream: UpstreamSettings,
    batch: BatchSettings,
    log_level: str,
    log_format: LogFormat,
) -> None:
    """Carry out the tasks of jobs of the account whose API key is set: any number of workers, on any machines.

    They share --database-url and --object-store. A worker may be stopped or killed at any moment: what it had under
    way, others take over, and nothing is sent twice. At SIGTERM it begins nothing more, and ends when what is under
    way has ended.
    """
    check_upstream(upstream)
    gc.enable()
    environment = Environment(warn=say)
    found = teams_in(teams, environment)
    stopped: list[int] = []
    running: list[Tasks] = []
    batch = replace(batch, max_cost_usd=max_cost_usd)
    starting = ready(upstream, environment, log_level, batch, teams=found, log_format=log_format)
    with starting as prepared, errors_at_shell(prepared):
        if metrics_address is not None:
            from batches_mcp.cli.observed import with_metrics

            prepared = with_metrics(prepared, metrics_address, running)
        anyio.run(partial(_work, prepared, found, concurrency, drain, stopped, running))
    leave(128 + stopped[0] if stopped else 0)


async def _work(
    prepared: Ready,
    teams: Teams | None,
    concurrency: int,
    drain_s: float,
    stopped: list[int],
    running: list[Tasks],
) -> None:
    with installed("a worker", "cluster"):
        from batches_mcp.cluster.submission import plan_queue_of, queue_of
    async with tasks_of(prepared, teams, lambda: drain_s) as tasks, anyio.create_task_group() as group:
        running.append(tasks)
        stop = anyio.Event()
        group.start_soon(watch_signals, stopped, stop.set)
        queues = []
        for team in (None, *tasks.teams.values()):
            account = await _identified(tasks, team)
            group.start_soon(recover, account)
            queue = queue_of(account.name, None if team is None else team.name)
            queues += [queue, plan_queue_of(queue)]
        group.start_soon(tasks.look_after, queues)
        say(f"working on the jobs in {tasks.state.database.name}, {concurrency} tasks at a time; Ctrl-C ends")
        await tasks.engine.run(queues, concurrency, tasks.perform, stop, drain_s)
        group.cancel_scope.cancel()


async def _identified(tasks: Tasks, team: Team | None) -> Account:
    """The account of the key that is set, or of a team's, once the API has named it.

    Raises:
        CallError: it will not, such as for a key that is wrong.
    """
    account = tasks.account_of(team)
    while True:
        try:
            await account.batches.page(1)
        except CallError as error:
            if error.report.retry is not Retry.HELPS:
                raise
            say(tasks.redactor.text(str(error)))
            await anyio.sleep(account.limits.job_pause_s / 10)
        else:
            return account
