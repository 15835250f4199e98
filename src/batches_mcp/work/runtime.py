"""What a server and a job are made of alike: the upstream, the accounts and what is remembered of them, their tasks."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup
from pydantic import SecretStr

from batches_mcp.api.identity import Accounts
from batches_mcp.api.newest import NewestIds
from batches_mcp.core.errors import StateUnusable
from batches_mcp.core.limits import Limits
from batches_mcp.core.plan import RequestPlan
from batches_mcp.core.variables import Variables
from batches_mcp.exchange.forward import Forward
from batches_mcp.exchange.upstream import Upstream
from batches_mcp.store.entry import Origin
from batches_mcp.store.records import AllRecords
from batches_mcp.store.state import State
from batches_mcp.work.in_progress import Deliveries, Download

if TYPE_CHECKING:
    from batches_mcp.access.principal import Principal, Team
    from batches_mcp.store.spools import Spools

log = logging.getLogger(__name__)

# As many as use the processors while some of them wait for the disk.
_MOST_LONG_WORK = 8
# Longer than a page takes, and shorter than anybody notices.
_MOST_TURN_S = 0.25

Found = TypeVar("Found")

Progress = Callable[[float, float, str], Awaitable[None]]
"""Tells the caller how far a call is: done, of all, in words. Silent for callers that did not ask."""


async def no_progress(_done: float, _total: float, _words: str) -> None:
    """Progress that is shown to nobody."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """What all calls share; `tasks` is for work that outlasts its call.

    `downloads` are those under way, by their account's spools and their batch's id; `deliveries` are the creates;
    `pages` is for `turn`, and `newest` are ids to offer. `all_records` is None where no ledger is kept.

    `caller` is who a call is made by, where a server tells that, and `origin` how it came, whatever its tool; see `of`.
    A team's API key takes the place of the variable `key_variable`.
    """

    forward: Forward
    state: State
    accounts: Accounts
    tasks: TaskGroup
    all_records: AllRecords | None = None
    deliveries: Deliveries = field(default_factory=Deliveries)
    downloads: dict[tuple[Spools, str], Download] = field(default_factory=dict)
    newest: NewestIds = field(default_factory=NewestIds)
    caller: Principal | None = None
    origin: Origin | None = None
    key_variable: str | None = None
    pages: anyio.Lock = field(default_factory=anyio.Lock)
    _long_work: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(_MOST_LONG_WORK))

    _of_teams: dict[str, Runtime] = field(default_factory=dict)

    def of(self, caller: Principal | None, origin: Origin | None = None) -> Runtime:
        """The same for a call of one caller, which goes upstream with its team's API key if it has one."""
        own = self if caller is None or caller.team is None else self.of_team(caller.team)
        return replace(own, caller=caller, origin=origin)

    def of_team(self, team: Team) -> Runtime:
        """The same with a team's API key, without a caller."""
        if team.api_key is None or self.key_variable is None:
            return self
        if team.name not in self._of_teams:
            known = self.forward.variables
            placeholders = known.placeholders if isinstance(known, Variables) else {}
            variables = Variables({**known, self.key_variable: team.api_key}, placeholders)
            accounts = Accounts(self.state.names, variables, self.accounts.named)
            forward = Forward(variables, self.forward.upstream, learn=_learning(accounts, self.all_records))
            own = replace(self, forward=forward, accounts=accounts, newest=NewestIds())
            self._of_teams[team.name] = own
        return self._of_teams[team.name]

    @property
    def limits(self) -> Limits:
        return self.forward.upstream.limits

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
    key_variable: str | None = None,
    drain_s: Callable[[], float],
) -> AsyncIterator[Runtime]:
    """What calls share until the end of the block; creates that are under way then get `drain_s` to end.

    Without a `ledger` nothing is remembered of creates. `account` is whose batches these are, if the operator says so;
    see `Runtime` for `key_variable`.
    """
    accounts = Accounts(state.names, variables, account)
    upstream = upstream or Upstream()
    records = AllRecords(state, upstream.limits) if ledger else None
    try:
        async with upstream as entered, anyio.create_task_group() as tasks:
            forward = Forward(variables, entered, learn=_learning(accounts, records))
            runtime = Runtime(forward, state, accounts, tasks, records, key_variable=key_variable)
            try:
                yield runtime
            finally:
                await runtime.deliveries.finish(drain_s())
                if records is not None:
                    records.stopping.set()
            tasks.cancel_scope.cancel()
    finally:
        if records is not None:
            records.close()
        state.close()


def _learning(accounts: Accounts, records: AllRecords | None) -> Callable[[RequestPlan, Mapping[str, str]], None]:
    return _learn_nothing if records is None else partial(_learn, accounts, records)


def _learn_nothing(_plan: RequestPlan, _headers: Mapping[str, str]) -> None:
    pass


def _learn(accounts: Accounts, records: AllRecords, plan: RequestPlan, headers: Mapping[str, str]) -> None:
    try:
        accounts.learn(plan, headers, lambda name: records.state.account(name).has_creates)
    except StateUnusable as error:
        log.warning("it is not remembered whose key this is: %s", error)
