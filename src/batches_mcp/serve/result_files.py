"""Which file with results a request may have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import anyio.to_thread
from starlette.requests import Request

from batches_mcp.core.errors import CallError, UpstreamError
from batches_mcp.core.plan import BehaviorName, ToolPlan
from batches_mcp.serve.callers import Callers
from batches_mcp.store.files import ResultFiles, batch_of, file_of
from batches_mcp.work import audited
from batches_mcp.work.account import Account
from batches_mcp.work.ownership import require_own
from batches_mcp.work.runtime import Runtime

# What the audit calls a request for one.
_FILES = "results_file"


async def find(callers: Callers, tools: Sequence[ToolPlan], request: Request, account: str, name: str) -> Path | None:
    """The file of `as_file` with a name, of an account that a tool works for, if the caller may have it.

    Raises:
        CallError: its team has made too many calls, or the ledger cannot be read.
    """
    runtime = await callers.of(request, _FILES)
    accounts = list(_accounts(runtime, tools))
    for each in accounts:
        path = await anyio.to_thread.run_sync(file_of, [_files(each)], account, name)
        if path is not None:
            try:
                await require_own(each, batch_of(name))
            except UpstreamError:
                await audited.refused(runtime, _FILES, "not_own_batch", batch_id=batch_of(name))
                return None
            return path
    return None


def _files(account: Account) -> ResultFiles:
    return account.state.result_files()


def _accounts(runtime: Runtime, tools: Sequence[ToolPlan]) -> Iterator[Account]:
    for tool in tools:
        if tool.behavior is BehaviorName.RESULTS:
            account = Account(runtime, tool)
            with suppress(CallError):  # without a credential there is no account
                if account.name:
                    yield account
