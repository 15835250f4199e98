"""`run`: a whole job from a shell, from a file of requests to a file of results."""

from __future__ import annotations

import gc
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batches_mcp.cli.flags import batch_flags, flag, log_level, names, upstream_flags
from batches_mcp.cli.grouped import GroupedCommand
from batches_mcp.cli.retry_types import ON_REQUEST_IN_RUN, retry_types_of
from batches_mcp.cli.startup import Ready, ready, say
from batches_mcp.core.errors import BatchesMcpError, CallError, InvalidArguments, MissingVariable, UsageError
from batches_mcp.core.plan import BehaviorName
from batches_mcp.core.settings import BatchSettings, Environment, UpstreamSettings
from batches_mcp.work.retryable import PASSING

if TYPE_CHECKING:
    from batches_mcp.cli.whole_job import RunOptions
    from batches_mcp.sandbox.config import SandboxOptions

# The largest queue of a usage tier holds five whole batches; in a smaller one, creates wait for room.
_MAX_OPEN = 5
_CONFIRM_OVER_USD = 20.0
# Somebody is waiting for the batches of an embedded sandbox.
_SANDBOX: SandboxOptions = {"process_seconds": 2, "retry_after_seconds": 1}


_GROUPS = {
    "Input": (
        "--prompt", "--model", "--max-tokens", "--system", "--template", "--id-column", "--limit", "--skip-invalid",
    ),
    "Output": ("--out", "--overwrite", "--failures", "--report", "--label", "--quiet", "--log-level"),
    "Money": ("--dry-run", "--confirm-over", "--yes", "--max-cost-usd", "--sandbox"),
    "Resume and retry": (
        "--retries", "--retry-types", "--max-open", "--give-up", "--fresh", "--state-dir", "--account",
    ),
    "API": ("--base-url", "--capability"),
}  # fmt: skip
_TEMPLATE = re.compile(r"^template\b", re.MULTILINE)


@click.command(
    cls=GroupedCommand,
    groups=_GROUPS,
)
@click.argument("file", type=click.Path())
@flag("--prompt", metavar="TEXT", help="What is asked of each row; {{column}} stands for the row's value.")
@flag("--model", metavar="M", help="The model, with --prompt.")
@flag("--max-tokens", type=click.IntRange(1), metavar="N", help="The most tokens of an answer, with --prompt.")
@flag("--system", metavar="TEXT", help="The system prompt, with --prompt; it may hold {{column}} as well.")
@flag(
    "--template",
    metavar="T.json",
    help="In place of --prompt: the params of each request, in a file or as JSON, with {{column}} in any text.",
)
@flag("--id-column", metavar="C", help="The column that custom_ids are taken from.  [default: custom_id, or made up]")
@flag("--limit", type=click.IntRange(1), metavar="N", help="A trial: only the first N rows, as a job of its own.")
@flag("--out", "-o", "out", metavar="OUT", type=click.Path(), help="Where the results go; - prints them.")
@flag("--label", metavar="L", help="Words to know the job's batches by, in `batches-mcp jobs`.")
@flag("--dry-run", is_flag=True, help="Check all, show the first request and the price, and send nothing.")
@flag("--retries", type=click.IntRange(0, 10), default=2, show_default=True, help="How often a row is sent again.")
@flag(
    "--retry-types",
    metavar="T,T",
    callback=names,
    help=f"What is sent again, in place of {', '.join(PASSING)}; also {', '.join(ON_REQUEST_IN_RUN)}.",
)
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
@flag("--overwrite", is_flag=True, help="Replace OUT, whatever wrote it.")
@flag("--fresh", is_flag=True, help="Send all rows again, also those that were answered before, and pay again.")
@flag(
    "--give-up",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="After so long write what there is, and end.  [default: wait as long as it takes]",
)
@flag(
    "--failures",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the rows that failed there, ready to be corrected and run again.",
)
@flag("--report", type=click.Path(path_type=Path), metavar="FILE", help="Write the account of the job there, as JSON.")
@flag("--quiet", is_flag=True, help="Show no progress and no account, only errors.")
@upstream_flags
@batch_flags
@log_level
def run(
    *,
    file: str,
    template: str | None,
    prompt: str | None,
    model: str | None,
    max_tokens: int | None,
    system: str | None,
    id_column: str | None,
    limit: int | None,
    out: str | None,
    label: str | None,
    dry_run: bool,
    retries: int,
    retry_types: tuple[str, ...],
    max_open: int,
    confirm_over: float,
    yes: bool,
    skip_invalid: bool,
    overwrite: bool,
    fresh: bool,
    give_up: float | None,
    failures: Path | None,
    report: Path | None,
    quiet: bool,
    upstream: UpstreamSettings,
    batch: BatchSettings,
    log_level: str,
) -> int:
    """Send the requests in FILE, wait for them, and write their results to OUT in the same order.

    FILE holds rows (CSV, TSV, JSONL), of each of which --prompt or --template makes a request; or requests
    {custom_id, params} (JSONL or a JSON array). It may be gzipped; - reads it from standard input. OUT is JSONL, or CSV
    when its name ends in .csv.

    As many batches are made as are needed. What failed through no fault of the request is sent again. Stopped at any
    moment, the same command goes on from there: nothing is submitted twice, nothing is lost, nothing is canceled.

    Exit code 0: every row succeeded; 1: some failed for good or are missing, or it could not be done; 2: wrong usage.
    Every flag can be set in the environment: --max-open is BATCHES_MCP_MAX_OPEN.
    """
    # What only shows its help pays for none of these.
    import anyio

    from batches_mcp.cli.dry_run import dry_run as show
    from batches_mcp.cli.job_input import check_file
    from batches_mcp.cli.job_template import RowFlags, template_of
    from batches_mcp.cli.out import check_place
    from batches_mcp.cli.outputs import FAILURES, check_failures
    from batches_mcp.cli.whole_job import RunOptions, until_stopped
    from batches_mcp.core.signals import leave
    from batches_mcp.job.state import Bounds
    from batches_mcp.store.entry import MOST_LABEL_CHARS

    gc.enable()
    if not batch.ledger and not dry_run:
        raise UsageError(
            "run needs the ledger, without which it could submit the same rows twice; leave --no-ledger out"
        )
    if label is not None and not 1 <= len(label) <= MOST_LABEL_CHARS:
        size = f"has {len(label):,} characters; at most {MOST_LABEL_CHARS} are kept" if label else "is empty"
        raise UsageError(f"--label: {size}")
    check_file(file)
    params = template_of(file, RowFlags(template, prompt, model, max_tokens, system, id_column))
    if out is None and not dry_run:
        raise UsageError("-o says where the results go, such as -o answers.csv, or -o - to print them; it is missing")
    options = RunOptions(
        file=file,
        out=out or "-",
        template=params,
        template_flag="--template" if prompt is None else "--prompt",
        limit=limit,
        label=label,
        sandbox=upstream.sandbox,
        bounds=Bounds(
            max_open,
            retries,
            batch.max_cost_usd,
            math.inf if give_up is None else give_up,
            retry_types_of(retry_types),
        ),
        confirm_over_usd=None if yes or upstream.sandbox else confirm_over,
        skip_invalid=skip_invalid,
        overwrite=overwrite,
        fresh=fresh,
        quiet=quiet,
        report=report,
        failures=failures,
    )
    check_place("-o", options.out, file)
    for name, path in ((FAILURES, failures), ("--report", report)):
        if path is not None:
            check_place(name, str(path), file)
            if os.path.realpath(path) == os.path.realpath(options.out):
                raise UsageError(f"{name}: {path} is OUT itself")
    if failures is not None:
        check_failures(failures, has_rows=params is not None)
    stopped: list[int] = []
    with ready(upstream, Environment(warn=say), log_level, batch, sandbox=_SANDBOX) as prepared:
        tool = next((tool for tool in prepared.plan.tools if tool.behavior is BehaviorName.SUBMIT), None)
        if tool is None:
            raise UsageError(
                "the tool that creates batches is not among those to be used (--read-only, --tools, --exclude)"
            )
        try:
            if dry_run:
                return show(options, prepared, tool)
            code = anyio.run(until_stopped, options, prepared, tool, stopped)
        except (CallError, BaseExceptionGroup) as error:
            raise _first(error, prepared, options) from error
    if stopped:
        leave(128 + stopped[0])
    return code


def _first(error: BaseException, prepared: Ready, options: RunOptions) -> BaseException:
    """The error that counts: task groups wrap what is raised within them."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    from batches_mcp.cli.account import missing_key

    if isinstance(error, InvalidArguments):
        # What makes requests of rows is a template, whichever flag it came from.
        said = _TEMPLATE.sub(options.template_flag, error.report.message)
        return UsageError(prepared.redactor.text(said))
    if isinstance(error, MissingVariable):
        return missing_key(error)
    return BatchesMcpError(prepared.redactor.text(str(error))) if isinstance(error, CallError) else error
