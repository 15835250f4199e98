"""`run --dry-run`: what a job would be, without sending anything; no key is needed for it."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from batches_mcp.api.body import frame
from batches_mcp.cli.job_input import job_source
from batches_mcp.cli.run_words import CORRECT, HOW_LONG, plan, show_problems, tell, trial
from batches_mcp.cli.startup import Ready
from batches_mcp.cli.whole_job import RunOptions
from batches_mcp.core.diagnostics import Severity
from batches_mcp.core.errors import UsageError
from batches_mcp.core.plan import ToolPlan
from batches_mcp.core.redact import printable_json
from batches_mcp.requests.cost import estimate
from batches_mcp.requests.scan import Scan


def dry_run(options: RunOptions, prepared: Ready, tool: ToolPlan) -> int:
    """Check all requests, show the first one as it would be sent, and tell what they may cost; the exit code.

    Raises:
        UsageError, UnreadableFile, CallError: the input cannot be read, or holds no requests.
    """
    around = frame(tool.request, {"requests": []}, prepared.variables, prepared.limits)
    first = b""
    with (
        TemporaryDirectory(prefix="batches-mcp-", ignore_cleanup_errors=True) as folder,
        job_source(options.file, Path(folder), options.template, options.limit, prepared.limits) as given,
    ):
        found = Scan(around.rules, given.source.place, given.source.template)
        for number, row in given.source.rows():
            before = found.sendable
            found.add(number, row)
            if not first and isinstance(row, bytes) and found.sendable > before:
                first = row
        source_rows = given.source.total()
    if not found.requests:
        raise UsageError(f"{options.file}: holds no requests")
    if first:
        tell("The first request, as it would be sent:")
        click.echo(printable_json(json.dumps(json.loads(first), indent=2, ensure_ascii=False)))
    if found.problems:
        show_problems(found, options.template_flag)
    if source_rows is not None and source_rows > found.requests:
        tell(trial(found.requests, source_rows))
    wrong = bool(found.count(Severity.ERROR)) and not options.skip_invalid
    if found.parts and not wrong:
        for line in plan(found.sendable, len(found.parts), 0, found.models, estimate(found.demand)):
            tell(line)
        tell(HOW_LONG)
    tell(f"Nothing was sent. {CORRECT}" if wrong else "Nothing was sent.")
    return 1 if wrong or not found.parts else 0
