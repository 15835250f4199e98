"""What a person at a shell sees of jobs and batches: what changes in place on a terminal, plain lines in a pipe."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from batches_mcp.api.batch import Batch
from batches_mcp.cli.failure_words import failed, unfinished
from batches_mcp.core.redact import printable
from batches_mcp.core.text import count
from batches_mcp.requests.cost import dollars

# In a pipe the state is repeated this often, so that a log shows that the job goes on.
REPEAT_EVERY_S = 60.0
_PLAIN_WIDTH = 200
_MOST_NAMED = 10
_OUTCOMES = {
    "processing": "processing",
    "succeeded": "ok",
    "errored": "failed",
    "canceled": "canceled",
    "expired": "expired",
}


def console(*, error: bool) -> Console:
    """Standard output or standard error; no wider than the terminal, and unadorned where there is none."""
    found = Console(stderr=error, highlight=False, soft_wrap=False)
    return found if found.is_terminal else Console(stderr=error, highlight=False, width=_PLAIN_WIDTH, no_color=True)


def in_place(where: Console) -> bool:
    """Whether what is shown there can be replaced by what is shown next."""
    return where.is_terminal and not where.is_dumb_terminal


class Waiting:
    """Plain lines on standard error while something goes on: each time it has changed, and once a minute."""

    def __init__(self) -> None:
        self._last = ""
        self._last_s = -math.inf

    def note(self, text: str) -> None:
        """Something happened."""
        click.echo(printable(text), err=True)

    def show(self, text: str) -> None:
        """How it stands."""
        if text.partition(":")[0] != self._last.partition(":")[0] or time.monotonic() - self._last_s >= REPEAT_EVERY_S:
            self._last, self._last_s = text, time.monotonic()
            self.note(text)


class _Spinner(Waiting):
    """One line that stays in its place, with the time that has passed."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("")

    def note(self, text: str) -> None:
        self._progress.console.print(Text(printable(text), style="dim"))

    def show(self, text: str) -> None:
        self._progress.update(self._task, description=printable(text))


@contextmanager
def waiting() -> Iterator[Waiting]:
    """The display of one thing that is waited for, as it fits where standard error goes."""
    where = console(error=True)
    if not in_place(where):
        yield Waiting()
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=where, transient=True) as progress:
        yield _Spinner(progress)


def outcomes(batch: Batch) -> str:
    """The requests of a batch by what came of them, in words: `12 ok, 3 failed`."""
    return ", ".join(f"{number:,} {_OUTCOMES[name]}" for name, number in batch.counts.items() if number)


def state_of(batch: Batch) -> str:
    """How a batch stands, in words: `in progress`, or `ended: 12 ok, 3 failed`."""
    status = batch.status.replace("_", " ") or "unknown"
    return f"{status}: {outcomes(batch)}" if batch.ended else status


def usd(amount: float | None) -> str:
    """An amount of money, or that it is unknown."""
    return "unknown" if amount is None else f"${dollars(amount)}"


def up_to(amount: float | None) -> str:
    """The most that something may cost."""
    return f"up to {usd(amount)}" if amount else usd(amount)


def span(seconds: float) -> str:
    """A length of time, in its two largest units."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    units = [f"{days} d", f"{hours} h", f"{minutes} min", f"{rest} s"]
    first = next((at for at, number in enumerate((days, hours, minutes)) if number), 3)
    return " ".join(units[first : first + 2])


def show_table(where: Console, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table; on a terminal its cells are wrapped, elsewhere each row is one line."""
    lines = [[printable(cell) for cell in row] for row in ([header] if header else []) + list(rows)]
    if not where.is_terminal:
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            click.echo(text.rstrip(), where.file)
        return
    grid = Table.grid(padding=(0, 2))
    for number in range(len(lines[0])):
        # The first column of a list is what one copies.
        grid.add_column(style="" if header or number else "bold", overflow="fold", no_wrap=bool(header) and not number)
    for number, line in enumerate(lines):
        grid.add_row(*(Text(cell) for cell in line), style="bold" if header and not number else "")
    where.print(grid)


def outcome(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The report of a job in words: names with their values."""
    rows = report["rows"]
    named = [f"{number:,} {name}" for name, number in report["outcomes"].items() if number]
    lines = [("rows", f"{rows:,}: {', '.join(named) or 'none has a result'}")]
    if report["trial_of"] is not None:
        lines.append(("trial", f"of the first rows of {report['trial_of']:,}; without --limit, all are sent"))
    if report["known"]:
        lines.append(("known", f"{count(report['known'], 'row')} answered before, taken from there"))
    missing = report["missing"]
    if missing["rows"]:
        reasons = ", ".join(f"{number:,} {name}" for name, number in missing["reasons"].items())
        first = ", ".join(each["custom_id"] for each in missing["first"][:_MOST_NAMED])
        more = ", ..." if missing["rows"] > _MOST_NAMED else ""
        lines.append(("missing", f"{count(missing['rows'], 'row')}: {reasons} ({first}{more})"))
    if report["left_out"]:
        lines.append(("left out", f"{count(report['left_out'], 'row')} with errors"))
    if words := failed(report):
        lines.append(("failed", words))
    if fixing := report["needs_fixing"]["first"]:
        first = ", ".join(each["custom_id"] for each in fixing[:_MOST_NAMED])
        rows_to_fix = report["needs_fixing"]["rows"]
        more = ", ..." if rows_to_fix > _MOST_NAMED else ""
        lines.append(("to correct", f"{count(rows_to_fix, 'row')} ({first}{more})"))
    if words := unfinished(report):
        lines.append(("not finished", words))
    usage = report["usage"]
    cached = usage["cache_creation_input_tokens"] + usage["cache_read_input_tokens"]
    cache = f", {cached:,} of the cache" if cached else ""
    lines.append(("tokens", f"{usage['input_tokens']:,} in{cache}, {usage['output_tokens']:,} out"))
    most = report["estimate"]["cost_usd"]["high"]
    lines.append(("cost", f"{usd(usage['cost_usd'])} (estimated: {up_to(most)})"))
    again = f"; {count(report['sent_again'], 'row')} sent again" if report["sent_again"] else ""
    lines += [("batches", f"{len(report['batches']):,}, {report['submitted']:,} submitted now{again}")]
    lines.append(("time", span(report["seconds"])))
    if kept := report["out_kept"]:
        what = (
            f"{count(kept['rows'], 'row')} that this job wrote before"
            if kept["own"]
            else f"{count(kept['answers'], 'answer')} of an earlier run; -o FILE writes elsewhere"
        )
        lines.append(("not written", f"{report['out']} keeps the {what}"))
    elif report["out"] != "-":
        lines.append(("written to", report["out"]))
    return lines
