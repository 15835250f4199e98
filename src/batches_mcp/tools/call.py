"""One call of a tool whose operation has a behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batches_mcp.core.limits import Limits
from batches_mcp.core.plan import Feed, ToolPlan
from batches_mcp.exchange.forward import Forward
from batches_mcp.store.claim_rules import Cap
from batches_mcp.tools.confirm import Ask, nobody
from batches_mcp.work.account import Account
from batches_mcp.work.ownership import caps_of
from batches_mcp.work.runtime import Progress, Runtime


@dataclass(frozen=True, slots=True)
class Call:
    """What a behaviour answers: arguments that fit the tool's schema, and the means to answer with.

    `server_url`, which ends in a slash, is where the caller reaches this server by HTTP, if that is how it does; `ask`
    is the way to the user.
    """

    runtime: Runtime
    tool: ToolPlan
    arguments: Mapping[str, Any]
    progress: Progress
    server_url: str | None = None
    ask: Ask = nobody

    @property
    def account(self) -> Account:
        return Account(self.runtime, self.tool)

    @property
    def forward(self) -> Forward:
        return self.runtime.forward

    def caps(self, max_cost_usd: float | None) -> tuple[Cap, ...]:
        """What its creates must leave room under; `max_cost_usd` is the operator's own cap."""
        return caps_of(self.runtime.caller, max_cost_usd)

    @property
    def limits(self) -> Limits:
        return self.runtime.limits

    @property
    def batch_id(self) -> str:
        """The batch that the call is about: the argument that fills the variable of the operation's path."""
        feeds = (part for part in self.tool.request.path if isinstance(part, Feed))
        return str(next(self.arguments[name] for feed in feeds for name in feed.value.arguments))
