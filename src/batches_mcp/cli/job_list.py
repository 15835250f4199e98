"""The list of jobs: one line each where there is room for it, else two."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from batches_mcp.api.batch import RESULTS_KEPT_S
from batches_mcp.cli.display import console, show_table, span, state_of, up_to, usd
from batches_mcp.core.redact import excerpt, printable
from batches_mcp.store.entry import Entry, State

_HEAD = ("batch", "status", "rows", "age", "cost", "results until", "retries", "account", "what")
_ACCOUNT_CHARS = 8
_MOST_WHAT_CHARS = 60
_LEAST_WHAT_CHARS = 16
_NARROW_WHAT_CHARS = 28
_STATES = {State.SENDING: "being sent", State.AMBIGUOUS: "not answered"}


def data_of(entry: Entry) -> dict[str, Any]:
    """What is said of a batch as JSON; times are RFC 3339, costs in USD."""
    batch = entry.last_seen.raw if entry.settled else {}
    return {
        "batch_id": entry.batch_id if entry.settled else None,
        "label": entry.label,
        "source": entry.source,
        "rows": entry.rows,
        "status": "deleted" if entry.deleted else batch.get("processing_status", str(entry.state)),
        "created_at": batch.get("created_at"),
        "results_expire_at": _expiry(batch.get("created_at")),
        "estimate_usd": entry.estimate_usd,
        "cost_usd": entry.cost_usd,
        "parent": entry.parent,
        "part": entry.part,
    }


def _expiry(created_at: object) -> str | None:
    """When the API removes the results of a batch; None for a time that cannot be read."""
    try:
        expires = datetime.fromisoformat(str(created_at)) + timedelta(seconds=RESULTS_KEPT_S)
    except (ValueError, OverflowError):
        return None
    return expires.isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class JobRow:
    """A batch in the ledger of an account."""

    account: str
    entry: Entry

    @property
    def status(self) -> str:
        """How it stands, in words."""
        entry = self.entry
        if entry.deleted:
            return "deleted"
        return state_of(entry.last_seen) if entry.settled else _STATES[entry.state]

    @property
    def color(self) -> str:
        batch = self.entry.last_seen
        if self.entry.deleted or not self.entry.settled:
            return "yellow" if not self.entry.deleted else "dim"
        if not batch.ended:
            return "cyan"
        ok = batch.counts.get("succeeded", 0)
        return "green" if ok == batch.total else "yellow" if ok else "red"


@dataclass(frozen=True, slots=True)
class Jobs:
    """Jobs, newest first; `own` is the account of the key that is set, if one is."""

    own: str | None
    rows: tuple[JobRow, ...]

    @property
    def accounts(self) -> set[str]:
        return {job.account for job in self.rows}

    @property
    def running(self) -> list[JobRow]:
        """Those of the own account that have not ended."""
        return [
            job for job in self.rows if job.account == self.own and not (job.entry.deleted or job.entry.last_seen.ended)
        ]


def account_words(job: JobRow, jobs: Jobs) -> str:
    """Whose batch it is: that of the key that is set, or of which other."""
    return "this key's" if job.account == jobs.own else f"other {job.account[:_ACCOUNT_CHARS]}"


def show(jobs: Jobs) -> None:
    """Print the list, in the width there is; in a pipe one line each."""
    where = console(error=False)
    if not where.is_terminal:
        show_table(where, *_table(jobs))
        return
    where.print(listed(jobs, where))


def listed(jobs: Jobs, where: Console) -> RenderableType:
    """The list as it fits a terminal; no line is folded."""
    head, lines = _table(jobs)
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    room = where.width - sum(widths[:-1]) - 2 * (len(widths) - 1)
    if room >= min(widths[-1], _LEAST_WHAT_CHARS):
        widths[-1] = min(room, widths[-1])
        rows = [_line(head, widths, bold=True)]
        rows += [_line(line, widths, job.color) for job, line in zip(jobs.rows, lines, strict=True)]
        return Group(*rows)
    rows = []
    for job, line in zip(jobs.rows, lines, strict=True):
        named = dict(zip(head, line, strict=True))
        rows += [_line(line[:2], (widths[0], max(8, where.width - widths[0] - 2)), job.color), _below(named)]
    return Group(*rows)


def _below(cells: Mapping[str, str]) -> Text:
    """The second line of a batch: the cells that have no room in the first, with their names where they need one."""
    facts = (
        f"{cells['rows']} {'row' if cells['rows'] == '1' else 'rows'}",
        f"{cells['age']} ago",
        f"cost {cells['cost']}",
        cells.get("account", ""),
        f"retries {cells['retries']}" if cells.get("retries") else "",
        f"results until {cells['results until']}" if cells["results until"] else "",
    )
    words = f"  {excerpt(cells['what'], _NARROW_WHAT_CHARS)}: {', '.join(filter(None, facts))}"
    return Text(words, style="dim", overflow="ellipsis", no_wrap=True)


def changes(before: Jobs, after: Jobs) -> Iterator[str]:
    """A line for each batch that is new, or stands otherwise than before."""
    known = {(job.account, job.entry.key): job.status for job in before.rows}
    for job in reversed(after.rows):
        if known.get((job.account, job.entry.key)) != job.status:
            yield printable(f"{job.entry.batch_id or 'unknown'}  {job.status}  {_what(job.entry)}")


def _line(cells: Sequence[str], widths: Sequence[int], color: str = "", *, bold: bool = False) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis", style="bold" if bold else "")
    for number, (cell, width) in enumerate(zip(cells, widths, strict=False)):
        shown = printable(cell)
        shown = shown if len(shown) <= width else f"{shown[: width - 1]}…"
        style = "" if bold else "bold" if number == 0 else color if number == 1 else ""
        text.append(shown.ljust(width), style)
        text.append("  ")
    text.rstrip()
    return text


def _table(jobs: Jobs) -> tuple[list[str], list[list[str]]]:
    """Head and lines, without the columns that would be empty or say the same of all."""
    retries = Counter(job.entry.parent for job in jobs.rows if job.entry.parent)
    lines = [_cells(job, jobs, retries[job.entry.batch_id or ""]) for job in jobs.rows]
    wanted = [
        (name != "retries" or any(retries.values())) and (name != "account" or len(jobs.accounts) > 1) for name in _HEAD
    ]
    return _only(_HEAD, wanted), [_only(line, wanted) for line in lines]


def _only(cells: Sequence[str], wanted: Sequence[bool]) -> list[str]:
    return [cell for cell, is_wanted in zip(cells, wanted, strict=True) if is_wanted]


def _cells(job: JobRow, jobs: Jobs, retries: int) -> list[str]:
    entry = job.entry
    cost = usd(entry.cost_usd) if entry.cost_usd is not None else up_to(entry.estimate_usd)
    return [
        (entry.batch_id if entry.settled else None) or "unknown",
        job.status,
        f"{entry.rows:,}",
        _age(entry),
        cost,
        (data_of(entry)["results_expire_at"] or "")[:10],
        str(retries or ""),
        account_words(job, jobs),
        excerpt(_what(entry), _MOST_WHAT_CHARS),
    ]


def _age(entry: Entry) -> str:
    """How long ago it was submitted, in one unit."""
    return " ".join(span(max(0.0, time.time() - entry.started_s)).split()[:2])


def _what(entry: Entry) -> str:
    part = f" part {entry.part}" if entry.part else ""
    again = ", a retry" if entry.parent else ""
    return f"{entry.label or entry.source or 'requests of a call'}{part}{again}"
