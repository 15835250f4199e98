"""The batches in the ledger, looked up at the API and shown: all of them, one of them, or as they change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import datetime

import anyio
import click
from rich.console import Group
from rich.live import Live
from rich.text import Text

from batches_mcp.api.batches import Batches
from batches_mcp.api.identity import Accounts
from batches_mcp.api.operations import BATCH_ID, Operations
from batches_mcp.cli.account import missing_key
from batches_mcp.cli.display import console, in_place, outcomes, show_table, up_to, usd
from batches_mcp.cli.job_list import JobRow, Jobs, account_words, changes, data_of, listed, show
from batches_mcp.cli.startup import Ready, say
from batches_mcp.core.errors import BatchesMcpError, CallError, MissingVariable, Retry, UsageError
from batches_mcp.core.plan import BehaviorName
from batches_mcp.core.redact import printable
from batches_mcp.core.text import count
from batches_mcp.exchange.forward import Forward
from batches_mcp.store.entry import State
from batches_mcp.store.ledger import Ledger
from batches_mcp.store.records import all_ledgers

_LIST_LIMIT = 100


def watch(prepared: Ready) -> None:
    """Show the list until nothing of the account is in progress.

    Raises:
        BatchesMcpError: the API can never be asked.
    """
    with all_ledgers(prepared.state) as ledgers:
        anyio.run(_watched, prepared, ledgers)


def show_all(prepared: Ready, *, as_json: bool) -> None:
    """Show the list as it is now."""
    found = _looked_up(prepared)
    if as_json:
        click.echo(json.dumps([data_of(job.entry) for job in found.rows], indent=2, ensure_ascii=False))
    elif found.rows:
        show(found)
    else:
        say("no batch was submitted from here yet: the ledger is empty")


def show_one(prepared: Ready, batch_id: str, *, as_json: bool) -> None:
    """Show one batch in full.

    Raises:
        UsageError: the ledger does not know it.
    """
    found = _looked_up(prepared)
    _show(_one(found, batch_id), found, as_json=as_json)


def _looked_up(prepared: Ready) -> Jobs:
    with all_ledgers(prepared.state) as ledgers:
        if _jobs(prepared, ledgers).rows:
            say(anyio.run(_refresh, prepared, ledgers))
        return _jobs(prepared, ledgers)


def _jobs(prepared: Ready, ledgers: Mapping[str, Ledger]) -> Jobs:
    """All batches there are, or may be, newest first."""
    rows = [
        JobRow(account, entry)
        for account, ledger in ledgers.items()
        for entry in ledger.entries()
        if entry.state not in (State.REFUSED, State.NONE_FOUND)
    ]
    rows.sort(key=lambda job: (job.entry.started_s, job.entry.key), reverse=True)
    try:
        own = _account(prepared)
    except CallError:
        own = None
    return Jobs(own, tuple(rows))


def _account(prepared: Ready) -> str | None:
    """The account of the key that is set; None when no tool could ask for its batches.

    Raises:
        MissingVariable: no key is set.
    """
    tool = next((tool for tool in prepared.plan.tools if BehaviorName.LIST in tool.beside), None)
    if tool is None:
        return None
    return Accounts(prepared.state.names, prepared.variables, prepared.batch.account).name_of(tool.request)


async def _refresh(prepared: Ready, ledgers: Mapping[str, Ledger]) -> str:
    """Ask once for the batches in progress of the account whose key is set; in words, what that came to."""
    try:
        return await _asked(prepared, ledgers)
    except MissingVariable as error:
        return f"as last seen: {missing_key(error)}"
    except CallError as error:
        return prepared.redactor.text(f"as last seen, because the API could not be asked: {error.report.message}")


async def _asked(prepared: Ready, ledgers: Mapping[str, Ledger]) -> str:
    tool = next((tool for tool in prepared.plan.tools if BehaviorName.LIST in tool.beside), None)
    account = _account(prepared)
    if tool is None or account is None:
        return "as last seen: no tool to ask the API with is served"
    ledger = ledgers.get(account)
    running = [job.entry for job in _jobs(prepared, ledgers).running]
    if ledger is None or not running:
        return "nothing of this account is in progress, so the API was not asked"
    async with prepared.upstream() as upstream:
        batches = (await Batches(Forward(prepared.variables, upstream), Operations(tool)).page(_LIST_LIMIT)).batches
    ledger.saw(batches)
    missing = len({entry.batch_id for entry in running} - {batch.id for batch in batches})
    beyond = (
        f"; {count(missing, 'batch', 'batches')} not among its latest {_LIST_LIMIT} as last seen" if missing else ""
    )
    return f"as the API says now{beyond}"


async def _watched(prepared: Ready, ledgers: Mapping[str, Ledger]) -> None:
    """Show the list, in place where that can be done, until nothing of the account is in progress.

    Raises:
        BatchesMcpError: the API can never be asked.
    """
    where = console(error=False)
    live = Live(console=where, auto_refresh=False) if in_place(where) else None
    before: Jobs | None = None
    with live or nullcontext():
        while True:
            try:
                freshness = await _asked(prepared, ledgers)
            except MissingVariable as error:
                raise missing_key(error) from error
            except CallError as error:
                if error.report.retry is not Retry.HELPS:
                    raise BatchesMcpError(prepared.redactor.text(str(error))) from error
                freshness = prepared.redactor.text(f"as last seen: {error.report.message}")
            found = _jobs(prepared, ledgers)
            if live is not None:
                at = datetime.now().astimezone().strftime("%H:%M:%S")
                foot = Text(
                    printable(f"{at}: {freshness}; Ctrl-C ends"), style="dim", no_wrap=True, overflow="ellipsis"
                )
                live.update(Group(listed(found, where), foot), refresh=True)
            elif before is None:
                show(found)
            else:
                click.echo("".join(f"{line}\n" for line in changes(before, found)), nl=False)
            before = found
            if not found.running:
                break
            await anyio.sleep(prepared.limits.watch_s)


def _one(found: Jobs, batch_id: str) -> JobRow:
    for job in found.rows:
        if job.entry.batch_id == batch_id:
            return job
    raise UsageError(f"the ledger knows no batch {batch_id}; `batches-mcp jobs` lists those it knows")


def _show(job: JobRow, found: Jobs, *, as_json: bool) -> None:
    entry = job.entry
    again = [each.entry.batch_id for each in found.rows if each.entry.parent == entry.batch_id]
    batch, data = entry.last_seen, data_of(entry)
    if as_json:
        click.echo(json.dumps({**data, "retries": again, "batch": batch.raw}, indent=2, ensure_ascii=False))
        return
    started = datetime.fromtimestamp(entry.started_s).astimezone().isoformat(" ", "seconds")
    facts = {
        BATCH_ID.replace("_", " "): entry.batch_id,
        "account": account_words(job, found) if len(found.accounts) > 1 else None,
        "label": entry.label,
        "source": entry.source,
        "part": entry.part,
        "retry of": entry.parent,
        "retries": ", ".join(filter(None, again)),
        "rows": f"{entry.rows:,}",
        "size": f"{entry.body_bytes:,} bytes",
        "status": data["status"],
        "counts": outcomes(batch),
        "submitted": started,
        "ended at": batch.raw.get("ended_at"),
        "results until": data["results_expire_at"],
        "estimate": up_to(entry.estimate_usd),
        "cost": None if entry.cost_usd is None else usd(entry.cost_usd),
    }
    show_table(console(error=False), (), [(name, str(value)) for name, value in facts.items() if value])
