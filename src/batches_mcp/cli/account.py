"""What commands do with the batches of the account whose key is set, and what is said when they cannot."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import anyio

from batches_mcp.cli.startup import Ready
from batches_mcp.core.errors import BatchesMcpError, CallError, MissingVariable, UsageError
from batches_mcp.core.plan import BehaviorName, ToolPlan
from batches_mcp.core.signals import watch_signals
from batches_mcp.core.variables import API_KEY
from batches_mcp.store.records import all_ledgers
from batches_mcp.work.account import Account
from batches_mcp.work.runtime import running

Found = TypeVar("Found")


def tool_that(prepared: Ready, *needed: BehaviorName) -> ToolPlan:
    """A tool beside which all the operations that are needed are declared.

    Raises:
        UsageError: there is none.
    """
    for tool in prepared.plan.tools:
        if all(name in tool.beside for name in needed):
            return tool
    names = " and ".join(f"`x-behavior: {name}`" for name in needed)
    raise UsageError(f"this needs an operation with {names}, and no tool that is served has one")


def with_account(
    prepared: Ready,
    tool: ToolPlan,
    work: Callable[[Account], Awaitable[Found]],
    batch_id: str,
    stopped: list[int] | None = None,
) -> Found | None:
    """What `work` on a batch of the tool's account comes to; None when a signal ended it, which is in `stopped` then.

    Without such a list, signals do what they do to any process.

    Raises:
        BatchesMcpError: what went wrong, in words for the person who gave the command.
    """
    try:
        return anyio.run(partial(_working, prepared, tool, work, stopped))
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise (_in_words(prepared, error, batch_id) if isinstance(error, CallError) else error) from group
    except CallError as error:
        raise _in_words(prepared, error, batch_id) from error


async def _working(
    prepared: Ready, tool: ToolPlan, work: Callable[[Account], Awaitable[Found]], stopped: list[int] | None
) -> Found | None:
    batch = prepared.batch
    found: Found | None = None
    async with running(
        prepared.variables,
        prepared.state,
        prepared.upstream(),
        ledger=batch.ledger,
        account=batch.account,
        drain_s=lambda: 0.0,
    ) as runtime:
        if stopped is None:
            return await work(Account(runtime, tool))
        async with anyio.create_task_group() as tasks:

            def stop() -> None:
                if runtime.all_records is not None:
                    runtime.all_records.stopping.set()
                tasks.cancel_scope.cancel()

            tasks.start_soon(watch_signals, stopped, stop)
            found = await work(Account(runtime, tool))
            tasks.cancel_scope.cancel()
    return found


def _in_words(prepared: Ready, error: CallError, batch_id: str) -> BatchesMcpError:
    if isinstance(error, MissingVariable):
        return missing_key(error)
    if error.report.type == "not_found_error":
        return BatchesMcpError(_unknown(prepared, batch_id))
    return BatchesMcpError(prepared.redactor.text(str(error)))


def missing_key(error: MissingVariable) -> UsageError:
    """The error for a credential that is not set."""
    report = error.report
    what = "there is no API key" if API_KEY in report.message else report.message.rstrip(".")
    return UsageError(f"{what}. {report.at_shell}")


def _unknown(prepared: Ready, batch_id: str) -> str:
    """Why the API may not know a batch, by what is remembered here."""
    with all_ledgers(prepared.state) as ledgers:
        entries = [entry for ledger in ledgers.values() if (entry := ledger.find(batch_id))]
    if any(entry.deleted for entry in entries):
        return f"batch {batch_id} was deleted, and its results with it"
    if entries:
        return (
            f"the key that is set cannot see batch {batch_id}, which was submitted from here: it belongs to another "
            "account, or was deleted elsewhere; `batches-mcp key show` tells which key is set"
        )
    return f"the API knows no batch {batch_id} for this key; `batches-mcp jobs` lists those submitted from this machine"
