"""One account: the batches of a workspace, and what is kept of them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import anyio.to_thread

from batches_mcp.api.batches import Batches
from batches_mcp.api.operations import Operations
from batches_mcp.core.errors import MissingVariable
from batches_mcp.core.limits import Limits
from batches_mcp.core.plan import ToolPlan
from batches_mcp.exchange.forward import Forward
from batches_mcp.exchange.upstream import Upstream
from batches_mcp.store.records import Records
from batches_mcp.store.state import AccountState
from batches_mcp.work.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Account:
    """The account that a tool works for; `tool` is any whose operation is one on its batches.

    What needs its name raises MissingVariable when the credential is not set; what needs what is kept of it
    raises StateUnusable when that cannot be used.
    """

    runtime: Runtime
    tool: ToolPlan

    @property
    def batches(self) -> Batches:
        """What the API has of it."""
        return Batches(self.runtime.forward, Operations(self.tool))

    @property
    def forward(self) -> Forward:
        return self.runtime.forward

    @property
    def upstream(self) -> Upstream:
        return self.runtime.forward.upstream

    @property
    def limits(self) -> Limits:
        return self.runtime.limits

    @property
    def is_known(self) -> bool:
        """Whether it is known which account the credential belongs to."""
        return self.runtime.accounts.is_known(self.tool.request)

    @property
    def name(self) -> str:
        return self.runtime.accounts.name_of(self.tool.request)

    async def look_up(self) -> None:
        """Have its name read in a worker thread, so that no other call waits for that.

        A credential that is not set, and a place that cannot be used, show when the name is needed.
        """
        with suppress(MissingVariable):
            if self.runtime.accounts.needs_look_up(self.tool.request):
                await anyio.to_thread.run_sync(self.runtime.accounts.look_up, self.tool.request)

    @property
    def state(self) -> AccountState:
        """What is kept of it."""
        return self.runtime.state.account(self.name)

    def records(self) -> Records | None:
        """What is remembered of it; None when nothing is."""
        return None if self.runtime.all_records is None else self.runtime.all_records.of(self.name)

    def begun_records(self) -> Records | None:
        """The same, if anything has been written there yet."""
        name, all_records = self.name, self.runtime.all_records
        return all_records.of(name) if all_records is not None and all_records.begun(name) else None
