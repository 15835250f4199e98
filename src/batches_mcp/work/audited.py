"""Decisions about calls of a service, written into the audit; those about creates are written with their claim."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import anyio.to_thread

from batches_mcp.core.errors import CallError
from batches_mcp.store.entry import Origin
from batches_mcp.work.account import Account
from batches_mcp.work.runtime import Runtime

log = logging.getLogger(__name__)


def origin_of(account: Account) -> Origin | None:
    """The call that something is done for in an account; None where callers are not told apart."""
    origin = account.runtime.origin
    return None if origin is None else replace(origin, tool=account.tool.name)


async def write(runtime: Runtime, tool: str, event: str, outcome: str, **about: Any) -> None:
    """Write down what was decided about a call; nothing where callers are not told apart.

    Raises:
        StateUnusable: it cannot be written down.
    """
    caller, origin = runtime.caller, runtime.origin
    if caller is None or runtime.all_records is None:
        return
    who = {"principal": caller.name, "client": caller.client, "team": caller.team_name, "tool": tool}
    call = {} if origin is None else {"door": origin.door, "request_id": origin.request_id}
    row = partial(runtime.all_records.audit.write, event, outcome, **who, **call, **about)
    await anyio.to_thread.run_sync(row)


async def refused(runtime: Runtime, tool: str, reason: str, **about: Any) -> None:
    """Write down that a call was refused; it is refused also if that cannot be written down."""
    try:
        await write(runtime, tool, "call", "refused", reason=reason, **about)
    except CallError as error:
        log.warning("a call that was refused (%s) is not in the audit: %s", reason, error)


@asynccontextmanager
async def change(runtime: Runtime, tool: str, event: str, batch_id: str) -> AsyncIterator[list[str]]:
    """Around a change of a batch: its beginning and its end are written down; the list takes why it failed, if it did.

    Raises:
        StateUnusable: the beginning cannot be written down; nothing was changed.
    """
    await write(runtime, tool, event, "begun", batch_id=batch_id)
    failures: list[str] = []
    try:
        yield failures
    except CallError as error:
        failures.append(error.report.type)
        raise
    finally:
        outcome = "failed" if failures else "done"
        try:
            await write(runtime, tool, event, outcome, reason=next(iter(failures), None), batch_id=batch_id)
        except CallError as error:
            log.warning("the end of a %s of batch %s is not in the audit: %s", event, batch_id, error)
