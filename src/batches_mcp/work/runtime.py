"""What a server and a job are made of alike: the upstream, the accounts and what is remembered of them, their tasks."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup
from pydantic import SecretStr

from batches_mcp.api.identity import Accounts
from batches_mcp.api.newest import NewestIds
from batches_mcp.core.errors import StateUnusable
from batches_mcp.core.plan import RequestPlan
from batches_mcp.exchange.forward import Forward
from batches_mcp.exchange.upstream import Upstream
from batches_mcp.store.records import AllRecords
from batches_mcp.store.state import State
from batches_mcp.work.underway import Download, Underway

if TYPE_CHECKING:
    from batches_mcp.store.spools import Spools

log = logging.getLogger(__name__)

# As many as use the processors while some of them wait for the disk.
_MOST_LONG_WORK = 8
# Longer than a page takes, and shorter than anybody notices.
_MOST_TURN_S = 0.25

Found = TypeVar("Found")

Progress = Callable[[float, float, str], Awaitable[None]]
"""Tells the caller how far a call is: done, of all, in words. Silent for callers that did not ask."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """What all calls share; `tasks` is for work that outlasts its call.

    `downloads` are those under way, by their account's spools and their batch's id; `underway` are the creates;
    `pages` is for `turn`, and `newest` are ids to offer. `all_records` is None where no ledger is kept.
    """

    forward: Forward
    state: State
    accounts: Accounts
    tasks: TaskGroup
    all_records: AllRecords | None = None
    underway: Underway = field(default_factory=Underway)
    downloads: dict[tuple[Spools, str], Download] = field(default_factory=dict)
    newest: NewestIds = field(default_factory=NewestIds)
    pages: anyio.Lock = field(default_factory=anyio.Lock)
    _long_work: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(_MOST_LONG_WORK))

    async def long_work(self, work: Callable[..., Found], *arguments: Any) -> Found:
        """Do what reads or writes whole files in a worker thread, so that what takes a moment need not wait for it."""
        return await anyio.to_thread.run_sync(work, *arguments, limiter=self._long_work)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Pages are made one after another, so that many readers do not keep all other calls waiting.

        Who has waited for long goes ahead: the one before it may be waiting for the upstream.
        """
        with anyio.move_on_after(_MOST_TURN_S) as waiting:
            await self.pages.acquire()
        try:
            yield
        finally:
            if not waiting.cancelled_caught:
                self.pages.release()


@asynccontextmanager
async def running(
    variables: Mapping[str, SecretStr],
    state: State,
    upstream: Upstream | None = None,
    *,
    ledger: bool = True,
    account: str | None = None,
    drain_s: Callable[[], float],
) -> AsyncIterator[Runtime]:
    """What calls share until the end of the block; creates that are under way then get `drain_s` to end.

    Without a `ledger` nothing is remembered of creates. `account` is whose batches these are, if the operator says so.
    """
    accounts = Accounts(state.names, variables, account)
    records = AllRecords(state) if ledger else None
    try:
        async with upstream or Upstream() as entered, anyio.create_task_group() as tasks:
            learn = _learn_nothing if records is None else partial(_learn, accounts, records)
            forward = Forward(variables, entered, learn=learn)
            runtime = Runtime(forward, state, accounts, tasks, records)
            try:
                yield runtime
            finally:
                await runtime.underway.finish(drain_s())
                if records is not None:
                    records.stopping.set()
            tasks.cancel_scope.cancel()
    finally:
        if records is not None:
            records.close()


def _learn_nothing(_plan: RequestPlan, _headers: Mapping[str, str]) -> None:
    pass


def _learn(accounts: Accounts, records: AllRecords, plan: RequestPlan, headers: Mapping[str, str]) -> None:
    try:
        accounts.learn(plan, headers, lambda name: records.state.account(name).has_creates)
    except StateUnusable as error:
        log.warning("it is not remembered whose key this is: %s", error)
