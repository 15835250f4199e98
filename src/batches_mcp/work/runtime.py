"""What a server and a job are made of: the upstream, the accounts and what is remembered of them, and their tasks."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial

import anyio
from pydantic import SecretStr

from batches_mcp.api.account import Desk
from batches_mcp.api.identity import Accounts
from batches_mcp.core.errors import StateUnusable
from batches_mcp.core.plan import RequestPlan
from batches_mcp.core.state import StateFolder
from batches_mcp.exchange.forward import Forward
from batches_mcp.exchange.upstream import Upstream
from batches_mcp.store.records import LEDGER, AllRecords

log = logging.getLogger(__name__)


@asynccontextmanager
async def runtime(
    variables: Mapping[str, SecretStr],
    state: StateFolder,
    upstream: Upstream | None = None,
    *,
    ledger: bool = True,
    account: str | None = None,
    drain_s: Callable[[], float],
) -> AsyncIterator[Desk]:
    """What calls share until the end of the block; creates that are under way then get `drain_s` to end.

    Without a `ledger` nothing is remembered of creates. `account` is whose batches these are, if the operator says so.
    """
    accounts = Accounts(state, variables, account)
    records = AllRecords(state) if ledger else None
    try:
        async with upstream or Upstream() as entered, anyio.create_task_group() as tasks:
            forward = Forward(variables, entered, learn=partial(_learn, accounts) if ledger else _learn_nothing)
            desk = Desk(forward, accounts, tasks, records)
            try:
                yield desk
            finally:
                await desk.underway.finish(drain_s())
                if records is not None:
                    records.stopping.set()
            tasks.cancel_scope.cancel()
    finally:
        if records is not None:
            records.close()


def _learn_nothing(_plan: RequestPlan, _headers: Mapping[str, str]) -> None:
    pass


def _learn(accounts: Accounts, plan: RequestPlan, headers: Mapping[str, str]) -> None:
    try:
        accounts.learn(plan, headers, LEDGER)
    except StateUnusable as error:
        log.warning("it is not remembered whose key this is: %s", error)
