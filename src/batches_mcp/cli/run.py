"""`run`: a whole job from a shell, from a file of requests to a file of results."""

from __future__ import annotations

import gc
import math
import os
from pathlib import Path

import anyio
import anyio.to_thread
import click

from batches_mcp.cli.flags import batch_flags, flag, log_level, upstream_flags
from batches_mcp.cli.job_input import check_file, template_of
from batches_mcp.cli.out import check_place
from batches_mcp.cli.startup import Ready, ready, say
from batches_mcp.cli.whole_job import RunOptions, until_stopped
from batches_mcp.core.errors import BatchesMcpError, CallError, InvalidArguments, UsageError
from batches_mcp.core.plan import BehaviorName
from batches_mcp.core.settings import BatchSettings, Environment, UpstreamSettings
from batches_mcp.core.signals import leave
from batches_mcp.job.drive import Bounds

# The largest queue of a usage tier holds five whole batches; in a smaller one, creates wait for room.
_MAX_OPEN = 5
_CONFIRM_OVER_USD = 20.0


@click.command(short_help="Do a whole job: from a file of requests to a file of results.")
@click.argument("file", type=click.Path())
@flag(
    "--out", "-o", "out", required=True, metavar="OUT", type=click.Path(), help="Where the results go; - prints them."
)
@flag("--template", type=click.Path(path_type=Path), metavar="T.json", help="The params made of each row of FILE.")
@flag("--retries", type=click.IntRange(0, 10), default=2, show_default=True, help="How often a row is sent again.")
@flag(
    "--max-open",
    type=click.IntRange(1, 1000),
    metavar="N",
    default=_MAX_OPEN,
    show_default=True,
    help="How many batches may be in progress at a time.",
)
@flag(
    "--confirm-over",
    type=click.FloatRange(0),
    metavar="USD",
    default=_CONFIRM_OVER_USD,
    show_default=True,
    help="Ask first when it may cost more than this.",
)
@flag("--yes", is_flag=True, help="Do not ask.")
@flag("--skip-invalid", is_flag=True, help="Leave out the rows with errors, instead of sending none.")
@flag("--overwrite", is_flag=True, help="Replace OUT also when this job did not write it.")
@flag("--fresh", is_flag=True, help="Send all rows again, also those that were answered before, and pay again.")
@flag(
    "--give-up",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="After so long write what there is, and end.  [default: wait as long as it takes]",
)
@flag("--report", type=click.Path(path_type=Path), metavar="FILE", help="Write the account of the job there, as JSON.")
@flag("--quiet", is_flag=True, help="Show no progress and no account, only errors.")
@upstream_flags
@batch_flags
@log_level
def run(
    *,
    file: str,
    out: str,
    template: Path | None,
    retries: int,
    max_open: int,
    confirm_over: float,
    yes: bool,
    skip_invalid: bool,
    overwrite: bool,
    fresh: bool,
    give_up: float | None,
    report: Path | None,
    quiet: bool,
    upstream: UpstreamSettings,
    batch: BatchSettings,
    log_level: str,
) -> int:
    """Send the requests in FILE, wait for them, and write their results to OUT in the same order.

    FILE holds {custom_id, params} in each line (JSONL, a JSON array, also gzipped), or rows (CSV, TSV, JSONL) of which
    --template makes requests; - reads it from standard input. OUT is JSONL, or CSV when its name ends in .csv.

    As many batches are made as are needed. What failed through no fault of the request is sent again. Stopped at any
    moment, the same command goes on from there: nothing is submitted twice, nothing is lost, nothing is canceled.

    Exit code 0: every row succeeded; 1: some failed for good or are missing, or it could not be done; 2: wrong usage.
    """
    gc.enable()
    if not batch.ledger:
        raise UsageError(
            "run needs the ledger, without which it could submit the same rows twice; leave --no-ledger out"
        )
    bounds = Bounds(max_open, retries, batch.max_cost_usd, math.inf if give_up is None else give_up)
    confirm_usd = None if yes or upstream.sandbox else confirm_over
    check_file(file)
    params = template_of(file, template)
    options = RunOptions(file, out, params, bounds, confirm_usd, skip_invalid, overwrite, fresh, quiet, report)
    check_place("-o", out, file)
    if report is not None:
        check_place("--report", str(report), file)
        if os.path.realpath(report) == os.path.realpath(out):
            raise UsageError(f"--report: {report} is OUT itself")
    stopped: list[int] = []
    with ready(upstream, Environment(warn=say), log_level, batch) as prepared:
        tool = next((tool for tool in prepared.plan.tools if tool.behavior is BehaviorName.SUBMIT), None)
        if tool is None:
            raise UsageError(
                "the tool that creates batches is not among those to be used (--read-only, --tools, --exclude)"
            )
        try:
            code = anyio.run(until_stopped, options, prepared, tool, stopped)
        except BaseExceptionGroup as group:
            raise _first(group, prepared) from group
    if stopped:
        leave(128 + stopped[0])
    return code


def _first(group: BaseExceptionGroup, prepared: Ready) -> BaseException:
    """The error that counts: task groups wrap what is raised within them."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, InvalidArguments):
        return UsageError(prepared.redactor.text(error.report.message))
    return BatchesMcpError(prepared.redactor.text(str(error))) if isinstance(error, CallError) else error
