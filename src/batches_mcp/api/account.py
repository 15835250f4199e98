"""One call of a tool whose operation has a behaviour, and what the calls of a server share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from batches_mcp.api.identity import Accounts
from batches_mcp.api.newest import NewestIds
from batches_mcp.api.underway import Underway
from batches_mcp.core.plan import Feed, ToolPlan
from batches_mcp.core.state import StateFolder
from batches_mcp.exchange.forward import Forward
from batches_mcp.store.records import AllRecords, Records

if TYPE_CHECKING:
    from batches_mcp.work.download import Download

# As many as use the processors while some of them wait for the disk.
_MOST_LONG_WORK = 8
# Longer than a page takes, and shorter than anybody notices.
_MOST_TURN_S = 0.25

Found = TypeVar("Found")

Progress = Callable[[float, float, str], Awaitable[None]]
"""Tells the caller how far a call is: done, of all, in words. Silent for callers that did not ask."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What the calls of one server share for as long as it lives; `tasks` is for work that outlasts its call.

    `downloads` are those under way, by the folder of their spool and the id of their batch; `underway` are the creates;
    `pages` is for `turn`, and `newest` are ids to offer. `all_records` is None for a server that keeps no ledger.
    """

    forward: Forward
    accounts: Accounts
    tasks: TaskGroup
    all_records: AllRecords | None = None
    underway: Underway = field(default_factory=Underway)
    downloads: dict[tuple[Path, str], Download] = field(default_factory=dict)
    newest: NewestIds = field(default_factory=NewestIds)
    pages: anyio.Lock = field(default_factory=anyio.Lock)
    _long_work: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(_MOST_LONG_WORK))

    def account(self, tool: ToolPlan, *names: str) -> Path:
        """A folder in the state folder for the account that a tool works for.

        Raises:
            MissingVariable: the credential is not set.
            StateUnusable: the folder cannot be used.
        """
        return self.state.folder(self.accounts.name_of(tool.request), *names)

    @property
    def state(self) -> StateFolder:
        return self.accounts.state

    def records(self, tool: ToolPlan) -> Records | None:
        """What is remembered of the account that a tool works for; None when nothing is.

        Raises:
            CallError: the credential is not set, or the folder cannot be used.
        """
        return None if self.all_records is None else self.all_records.of(self.accounts.name_of(tool.request))

    def begun_records(self, tool: ToolPlan) -> Records | None:
        """The same, if anything has been written there yet."""
        name = self.accounts.name_of(tool.request)
        return self.all_records.of(name) if self.all_records is not None and self.all_records.begun(name) else None

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


@dataclass(frozen=True, slots=True)
class Call:
    """What a behaviour answers: arguments that fit the tool's schema, and the means to answer with.

    `server_url`, which ends in a slash, is where the caller reaches this server by HTTP, if that is how it does.
    """

    desk: Desk
    tool: ToolPlan
    arguments: Mapping[str, Any]
    progress: Progress
    server_url: str | None = None

    @property
    def forward(self) -> Forward:
        return self.desk.forward

    @property
    def batch_id(self) -> str:
        """The batch that the call is about: the argument that fills the variable of the operation's path."""
        feeds = (part for part in self.tool.request.path if isinstance(part, Feed))
        return str(next(self.arguments[name] for feed in feeds for name in feed.value.arguments))
