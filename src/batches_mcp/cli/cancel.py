"""`cancel`: one batch, after a question that says what is billed."""

from __future__ import annotations

import sys
from functools import partial

import anyio
import anyio.to_thread
import click

from batches_mcp.api.batch import Batch
from batches_mcp.cli.account import with_account
from batches_mcp.cli.display import outcomes, state_of, usd
from batches_mcp.cli.flags import account_flags, flag, log_level
from batches_mcp.cli.results import check_id
from batches_mcp.cli.startup import ready, say
from batches_mcp.core.errors import UsageError
from batches_mcp.core.plan import BehaviorName, Feed
from batches_mcp.core.settings import BatchSettings, Environment, UpstreamSettings
from batches_mcp.core.text import count
from batches_mcp.store.entry import Entry
from batches_mcp.tools import ending
from batches_mcp.tools.call import Call
from batches_mcp.work.account import Account
from batches_mcp.work.runtime import no_progress

# https://platform.claude.com/docs/en/build-with-claude/batch-processing: canceled and expired requests are not billed.
_BILLED = "Requests that are answered before it stops are billed; the others are not"


@click.command
@click.argument("batch_id", metavar="ID")
@flag("--yes", is_flag=True, help="Do not ask.")
@account_flags
@log_level
def cancel(*, batch_id: str, yes: bool, upstream: UpstreamSettings, batch: BatchSettings, log_level: str) -> int:
    """Cancel the batch ID, which takes up to some minutes.

    Requests that are answered before it stops are billed, and their results can be had; the others are not billed.
    """
    check_id(batch_id)
    with ready(upstream, Environment(warn=say), log_level, batch) as prepared:
        tool = next((tool for tool in prepared.plan.tools if tool.behavior is BehaviorName.CANCEL), None)
        if tool is None or BehaviorName.STATUS not in tool.beside:
            raise UsageError("there is no tool that cancels batches among those served (--read-only, --capability)")
        return with_account(prepared, tool, partial(_cancel, batch_id, yes), batch_id) or 0


async def _cancel(batch_id: str, yes: bool, account: Account) -> int:
    found, _ = await account.batches.get(batch_id)
    if found.ended:
        say(f"batch {batch_id} has ended ({outcomes(found)}), so there is nothing to cancel")
        return 0
    if found.status == "canceling":
        say(f"batch {batch_id} is being canceled already. {_BILLED}.")
        return 0
    records = account.begun_records()
    entry = None if records is None else await anyio.to_thread.run_sync(records.ledger.find, batch_id)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("nobody can be asked here, so nothing was canceled; --yes cancels without asking")
        most = "" if entry is None or entry.estimate_usd is None else f", at most {usd(entry.estimate_usd)} in all"
        click.echo(
            f"Batch {batch_id} is {state_of(found)}: {_named(entry)}{count(found.total, 'request')}{most}.", err=True
        )
        click.echo(f"{_BILLED}.", err=True)
        ask = partial(click.confirm, "Cancel it?", err=True)
        if not await anyio.to_thread.run_sync(ask, abandon_on_cancel=True):
            say("not canceled")
            return 1
    call = Call(account.runtime, account.tool, {_argument(account): batch_id}, no_progress)
    after = Batch.of(await ending.cancel(call))
    say(_outcome(batch_id, after))
    return 0


def _named(entry: Entry | None) -> str:
    name = entry and (entry.label or entry.source)
    return f"{name}, " if name else ""


def _outcome(batch_id: str, after: Batch) -> str:
    if after.ended:
        return f"batch {batch_id} has ended: {outcomes(after)}. Only requests that were answered are billed."
    return (
        f"batch {batch_id} is being canceled, which takes up to some minutes. {_BILLED}. "
        f"To get the results there are: batches-mcp results {batch_id} --wait -o OUT"
    )


def _argument(account: Account) -> str:
    """What the tool calls the batch."""
    feeds = (part for part in account.tool.request.path if isinstance(part, Feed))
    return next(name for feed in feeds for name in feed.value.arguments)
