"""The files with the results of a run: OUT, and the rows that failed."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from batches_mcp.cli.out import Out, Size, replacing
from batches_mcp.core.errors import ServeError, UsageError
from batches_mcp.job.drive import Drive
from batches_mcp.job.input_rows import InputRows
from batches_mcp.job.outcome import Tally
from batches_mcp.job.output import write_results
from batches_mcp.job.sinks import FailedRows, ResultLines, ResultTable, Sink, is_table

FAILURES = "--failures"


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: the account of all rows, and how many of them failed."""

    tally: Tally
    failed: int


def check_failures(path: Path, *, has_rows: bool) -> None:
    """That the rows that failed can be written in a form that is an input again.

    Raises:
        UsageError: they cannot.
    """
    if path.suffix.lower() == ".gz":
        raise UsageError(f"{FAILURES}: {path} would not be compressed; leave .gz out of its name")
    if is_table(path.name) and not has_rows:
        better = path.with_suffix(".jsonl")
        raise UsageError(f"{FAILURES}: {path}: FILE holds requests, which do not go into a table; name it {better}")


def needs_input(out: str, failures: Path | None, *, has_rows: bool) -> bool:
    """Whether the rows of FILE are needed when the results are written."""
    return failures is not None or (has_rows and out.lower().endswith(".csv"))


async def write_outputs(drive: Drive, out: Out, failures: Path | None, inputs: InputRows | None) -> Written:
    """Write OUT, and beside it the rows that failed.

    Raises:
        CallError: a file cannot be read.
        ServeError: one cannot be written.
    """
    tally = Tally()
    failed: FailedRows | None = None
    with ExitStack() as stack:
        if inputs is not None:
            stack.callback(inputs.close)
        file = stack.enter_context(out.writing(lambda: Size(tally.rows, tally.outcomes["succeeded"])))
        has_columns = inputs is not None and inputs.has_columns
        sinks: list[Sink] = [
            ResultTable(file, inputs if has_columns else None) if out.kind == "csv" else ResultLines(file)
        ]
        if failures is not None and inputs is not None:
            failures_file = stack.enter_context(replacing(FAILURES, failures))
            failed = FailedRows(failures_file, failures.name, inputs, drive.folder.left_out())
            # The rows of the input are asked for in their order, and those that were left out are not in OUT.
            sinks.insert(0, failed)
        await write_results(drive, sinks, tally)
        if failed is not None:
            await anyio.to_thread.run_sync(failed.add_left_out, math.inf)
    rows = drive.job.rows + drive.job.known_rows
    if tally.rows + tally.missing.total() != rows:
        raise ServeError(
            f"{out.name} holds {tally.rows:,} rows, and {tally.missing.total():,} are missing, but the job has "
            f"{rows:,}; run it again"
        )
    return Written(tally, failed.count if failed else 0)
