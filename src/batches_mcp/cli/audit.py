"""`audit`: what a service has decided, for a person, a file or a SIEM."""

from __future__ import annotations

import heapq
import json
import re
import time
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

import click

from batches_mcp.cli.flags import flag
from batches_mcp.cli.ledgers import databases, state_flags
from batches_mcp.core.errors import UsageError
from batches_mcp.core.redact import printable
from batches_mcp.core.settings import BatchSettings

_AGO = re.compile(r"(\d{1,6})([smhd])")
_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


@click.command
@flag("--since", metavar="T", help="Only what was decided since then: a time as in 2026-11-20T08:00:00Z, or 24h, 7d.")
@flag(
    "--format",
    "form",
    type=click.Choice(["jsonl", "ocsf"]),
    default="jsonl",
    show_default=True,
    help="ocsf: events of OCSF 1.8, class API Activity.",
)
@state_flags
def audit(*, since: str | None, form: str, batch: BatchSettings) -> None:
    """Print what a service has decided about money and batches, oldest first: one JSON object in each line.

    A service is a server that tells its callers apart (`serve --teams`). Who created, canceled and deleted what, what
    was approved, and what was refused, with the reason; never requests, results or credentials.
    """
    since_s = 0.0 if since is None else _time_s(since)
    from batches_mcp.cli.ocsf import event
    from batches_mcp.store.audit import AuditLog

    with databases(batch) as found:
        logs = [
            [{**row, "account": name or None} for row in AuditLog(database).rows(since_s)]
            for name, database in found.items()
        ]
    for row in heapq.merge(*logs, key=itemgetter("time_s")):
        key = row.pop("key")
        shown = event(row, f"{row['account'] or 'service'}-{key}") if form == "ocsf" else _plain(row)
        click.echo(json.dumps(shown, ensure_ascii=False))


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row without the columns that are empty; its time is RFC 3339."""
    when = datetime.fromtimestamp(row["time_s"], UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    kept = {name: value for name, value in row.items() if value is not None and name not in ("time_s", "entry")}
    return {"time": when, **kept}


def _time_s(text: str) -> float:
    """A time as Unix time.

    Raises:
        UsageError: it is none.
    """
    if ago := _AGO.fullmatch(text):
        return time.time() - int(ago[1]) * _UNITS_S[ago[2]]
    try:
        when = datetime.fromisoformat(text)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise UsageError(
            f"--since: {printable(text)!r} is not a time; expected one as in 2026-11-20T08:00:00Z, or how long "
            "ago, as in 24h or 7d"
        ) from None
