"""`jobs`: the batches that the ledgers of a state folder know, brought up to date as far as that is cheap."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

import anyio
import click

from batches_mcp.api.batches import Batches
from batches_mcp.api.identity import Accounts
from batches_mcp.api.operations import BATCH_ID, Operations
from batches_mcp.cli.display import console, count, show_table, span, up_to, usd
from batches_mcp.cli.flags import batch_flags, flag, log_level, upstream_flags
from batches_mcp.cli.startup import Ready, ready, say
from batches_mcp.core.errors import CallError, MissingVariable, UsageError
from batches_mcp.core.plan import BehaviorName
from batches_mcp.core.settings import BatchSettings, Environment, UpstreamSettings
from batches_mcp.exchange.forward import Forward
from batches_mcp.exchange.upstream import Upstream
from batches_mcp.store.entry import Entry, State
from batches_mcp.store.ledger import Ledger
from batches_mcp.store.records import all_ledgers

_LIST_LIMIT = 100


@click.command(short_help="Show the batches that this machine submitted.")
@click.argument("what", nargs=-1, metavar="[show ID]")
@flag("--json", "as_json", is_flag=True, help="Print a JSON array, or with `show` an object.")
@upstream_flags
@batch_flags
@log_level
def jobs(
    *, what: tuple[str, ...], as_json: bool, upstream: UpstreamSettings, batch: BatchSettings, log_level: str
) -> None:
    """Show the batches in the ledger, newest first, of all accounts; or, with `show ID`, one of them in full.

    Those in progress are looked up with the API key that is set, in one call; standard error says whether that was
    done. Nothing is changed at the API.
    """
    if what and (what[0] != "show" or len(what) != 2):
        raise UsageError(f"jobs: expected nothing or `show ID`, found {' '.join(what)!r}")
    with ready(upstream, Environment(warn=say), log_level, batch) as prepared, all_ledgers(prepared.state) as ledgers:
        say(anyio.run(_refresh, prepared, ledgers))
        entries = [entry for ledger in ledgers.values() for entry in ledger.entries() if _counts(entry)]
    entries.sort(key=lambda entry: entry.started_s, reverse=True)
    if what:
        _show(_one(entries, what[1]), entries, as_json=as_json)
    elif as_json:
        click.echo(json.dumps([entry.job() for entry in entries], indent=2, ensure_ascii=False))
    elif entries:
        show_table(console(error=False), *_table(entries))
    else:
        say("the ledger is empty")


def _counts(entry: Entry) -> bool:
    """Whether there is, or may be, a batch of it."""
    return entry.state not in (State.REFUSED, State.NONE_FOUND)


async def _refresh(prepared: Ready, ledgers: Mapping[str, Ledger]) -> str:
    """Ask once for the batches in progress of the account whose key is set; in words, what that came to."""
    tool = next((tool for tool in prepared.plan.tools if BehaviorName.LIST in tool.beside), None)
    if tool is None:
        return "as last seen: no tool to ask the API with is served"
    accounts = Accounts(prepared.state, prepared.variables, prepared.batch.account)
    try:
        ledger = ledgers.get(accounts.name_of(tool.request))
    except MissingVariable as error:
        return f"as last seen: {error.report.message}"
    running = [] if ledger is None else [entry for entry in ledger.entries() if _counts(entry) and _open(entry)]
    if ledger is None or not running:
        return "nothing of this account is in progress, so the API was not asked"
    try:
        async with Upstream() as upstream:
            batches = (await Batches(Forward(prepared.variables, upstream), Operations(tool)).page(_LIST_LIMIT)).batches
    except CallError as error:
        return prepared.redactor.text(f"as last seen, because the API could not be asked: {error.report.message}")
    ledger.saw(batches)
    missing = len({entry.batch_id for entry in running} - {batch.id for batch in batches})
    beyond = (
        f"; {count(missing, 'batch', 'batches')} not among its latest {_LIST_LIMIT} as last seen" if missing else ""
    )
    return f"as the API says now{beyond}"


def _open(entry: Entry) -> bool:
    return not (entry.deleted or entry.shown.ended)


def _table(entries: Sequence[Entry]) -> tuple[list[str], list[list[str]]]:
    retries = Counter(entry.parent for entry in entries if entry.parent)
    header = ["batch", "what", "rows", "age", "status", "cost", "retries", "results until"]
    return header, [
        [
            str(row["batch_id"] or "unknown"),
            _what(entry),
            f"{entry.rows:,}",
            span(max(0.0, time.time() - entry.started_s)),
            str(row["status"]),
            usd(entry.cost_usd) if entry.cost_usd is not None else up_to(entry.estimate_usd),
            str(retries[entry.batch_id or ""] or ""),
            (row["results_expire_at"] or "")[:10],
        ]
        for entry, row in ((entry, entry.job()) for entry in entries)
    ]


def _what(entry: Entry) -> str:
    part = f" part {entry.part}" if entry.part else ""
    again = ", a retry" if entry.parent else ""
    return f"{entry.label or entry.source or 'requests of a call'}{part}{again}"


def _one(entries: Sequence[Entry], batch_id: str) -> Entry:
    for entry in entries:
        if entry.batch_id == batch_id:
            return entry
    raise UsageError(f"the ledger knows no batch {batch_id}; `batches-mcp jobs` lists those it knows")


def _show(entry: Entry, entries: Sequence[Entry], *, as_json: bool) -> None:
    again = [each.batch_id for each in entries if each.parent == entry.batch_id]
    batch = entry.shown
    if as_json:
        click.echo(json.dumps({**entry.job(), "retries": again, "batch": batch.raw}, indent=2, ensure_ascii=False))
        return
    started = datetime.fromtimestamp(entry.started_s).astimezone().isoformat(" ", "seconds")
    facts = {
        BATCH_ID.replace("_", " "): entry.batch_id,
        "label": entry.label,
        "source": entry.source,
        "part": entry.part,
        "retry of": entry.parent,
        "retries": ", ".join(filter(None, again)),
        "rows": f"{entry.rows:,}",
        "size": f"{entry.body_bytes:,} bytes",
        "status": entry.job()["status"],
        "counts": ", ".join(f"{number:,} {name}" for name, number in batch.counts.items() if number),
        "submitted": started,
        "ended at": batch.raw.get("ended_at"),
        "results until": entry.job()["results_expire_at"],
        "estimate": up_to(entry.estimate_usd),
        "cost": None if entry.cost_usd is None else usd(entry.cost_usd),
    }
    show_table(console(error=False), (), [(name, str(value)) for name, value in facts.items() if value])
