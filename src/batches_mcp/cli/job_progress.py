"""How a job goes on, as a person sees it: a progress bar on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from batches_mcp.cli.display import REPEAT_EVERY_S, console, in_place, span
from batches_mcp.core.redact import excerpt, printable
from batches_mcp.core.text import count
from batches_mcp.job.asking import WAITING, Silence, Watch
from batches_mcp.job.steps import Job, PartState, began_s, deadline_s

_BAR_WIDTH = 20


@contextmanager
def watching(*, quiet: bool, sandbox: bool) -> Iterator[Watch]:
    """The display that fits where standard error goes; the batches of an embedded `sandbox` end with the command."""
    where = console(error=True)
    if quiet:
        yield Silence()
    elif in_place(where):
        yield from _bar(where, sandbox=sandbox)
    else:
        yield _Lines(sandbox=sandbox)


class _Lines:
    """Plain lines on standard error. The batches of an embedded `sandbox` end with the command."""

    def __init__(self, *, sandbox: bool) -> None:
        self._sandbox = sandbox
        self._explained = False
        self._last_s = time.monotonic()

    def note(self, text: str) -> None:
        self._last_s = time.monotonic()
        click.echo(printable(text), err=True)

    def show(self, job: Job, parts: list[PartState], doing: str, now_s: float) -> None:
        if not self._explained and doing == WAITING and any(part.open for part in parts):
            self._explained = True
            self.note(_what_to_expect(parts, sandbox=self._sandbox))
        began = began_s(parts)
        self._update(job, parts, doing, None if began is None else max(0.0, now_s - began))

    def _update(self, job: Job, parts: list[PartState], doing: str, elapsed_s: float | None) -> None:
        """Show how things stand, so long after the first batch was created."""
        if time.monotonic() - self._last_s >= REPEAT_EVERY_S:
            elapsed = "" if elapsed_s is None else f"; {span(elapsed_s)} since the first batch was created"
            self.note(f"{standing(job, parts)}; {doing}{elapsed}{_until(parts)}")


class _Bar(_Lines):
    """A bar of the rows that have an outcome, and above it what happened."""

    def __init__(self, progress: Progress, *, sandbox: bool) -> None:
        super().__init__(sandbox=sandbox)
        self._progress = progress
        self._task = progress.add_task("starting", total=None, standing="")

    def note(self, text: str) -> None:
        self._progress.console.print(Text(printable(text), style="dim"))

    def _update(self, job: Job, parts: list[PartState], doing: str, elapsed_s: float | None) -> None:
        if elapsed_s is not None:
            # The time of a job that was resumed goes on from where it was.
            self._progress.tasks[0].start_time = self._progress.get_time() - elapsed_s
        self._progress.update(
            self._task,
            total=job.rows,
            completed=sum(part.done_rows for part in parts),
            standing=standing(job, parts),
            description=excerpt(doing, 60),
        )


def _bar(where: Console, *, sandbox: bool) -> Iterator[Watch]:
    columns = (
        BarColumn(_BAR_WIDTH),
        TextColumn("{task.fields[standing]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False, style="cyan"),
    )
    with Progress(*columns, console=where, transient=True) as progress:
        yield _Bar(progress, sandbox=sandbox)


def standing(job: Job, parts: Sequence[PartState]) -> str:
    """How a job stands, in words."""
    done = sum(part.done_rows for part in parts)
    in_flight = sum(part.open for part in parts)
    ended = sum(bool(part.attempts) and not part.open for part in parts)
    of_parts = f", {ended:,} of {len(parts):,} parts have ended" if len(parts) > 1 else ""
    return f"{done:,} of {job.rows:,} rows done{of_parts}, {count(in_flight, 'batch', 'batches')} in progress"


def _what_to_expect(parts: Sequence[PartState], *, sandbox: bool) -> str:
    """What to know while batches are in progress."""
    if sandbox:
        return "Waiting. The sandbox and its batches end with this command; after Ctrl-C, it starts anew."
    return (
        f"Waiting: no progress is visible until a batch ends{_until(parts)}. Ctrl-C is safe: the same command goes on; "
        "`batches-mcp cancel ID` cancels."
    )


def _until(parts: Sequence[PartState]) -> str:
    """By when all batches in progress end, as the clock on the wall shows it."""
    at_s = deadline_s(parts)
    if at_s is None:
        return ""
    return f", at the latest at {datetime.fromtimestamp(at_s).astimezone():%H:%M on %d %B}"
