"""Who makes a call: what a door found out of it, and what the call is then made with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from starlette.requests import Request

from batches_mcp.access.allowance import Allowance
from batches_mcp.access.principal import Principal, Team
from batches_mcp.core.errors import CallError, ErrorReport, Retry
from batches_mcp.serve.requestids import request_id
from batches_mcp.store.entry import Origin
from batches_mcp.work import audited
from batches_mcp.work.runtime import Runtime

# Where a door leaves the principal of a request, and its own name, in its ASGI scope.
SCOPE_KEY = "batches_mcp.principal"
DOOR_KEY = "batches_mcp.door"
# Calls beyond an allowance may be many: of each principal one is in the audit in so long.
_TOO_MANY_LOGGED_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class Guard:
    """Every call must have passed a door. A team's own API key takes the place of the variable `key_variable`."""

    teams: Sequence[Team] = ()
    key_variable: str | None = None


@dataclass(frozen=True, slots=True)
class Callers:
    """Tells the callers of one server apart; without a `guard` all are one."""

    runtime: Runtime
    guard: Guard | None = None
    _allowances: dict[str, Allowance] = field(default_factory=dict)
    _logged_s: dict[str, float] = field(default_factory=dict)

    @property
    def accounts(self) -> list[Runtime]:
        """What each of the credentials that requests go upstream with is used by."""
        own = [self.runtime.of_team(team) for team in (self.guard.teams if self.guard else ()) if team.api_key]
        return [self.runtime, *own]

    async def of(self, request: Request | None, tool: str) -> Runtime:
        """What the call of a request is made with; counts it. `tool` is what the audit calls what is asked for.

        Raises:
            CallError: its team has made too many calls within a minute.
        """
        if self.guard is None:
            return self.runtime
        caller = None if request is None else request.scope.get(SCOPE_KEY)
        if not isinstance(caller, Principal):
            raise RuntimeError("a request came past the doors")
        runtime = self._runtime(caller, request)
        try:
            if caller.team is not None:
                self._count(caller.team)
        except CallError as error:
            now_s = self.runtime.forward.upstream.clock.now_s()
            if now_s - self._logged_s.get(caller.name, -math.inf) >= _TOO_MANY_LOGGED_EVERY_S:
                self._logged_s[caller.name] = now_s
                await audited.refused(runtime, tool, error.report.type)
            raise
        return runtime

    async def refused(self, request: Request, tools: Sequence[str]) -> None:
        """Write down that a door did not let a request pass, since its principal lacks a scope that it needs."""
        caller = request.scope.get(SCOPE_KEY)
        if isinstance(caller, Principal):
            runtime = self._runtime(caller, request)
            await audited.refused(runtime, ", ".join(tools) or request.url.path, "insufficient_scope")

    def _runtime(self, caller: Principal, request: Request | None) -> Runtime:
        door = "" if request is None else str(request.scope.get(DOOR_KEY, ""))
        return self.runtime.of(caller, Origin("", door, request_id()))

    def _count(self, team: Team) -> None:
        """Take one call of what is left of a team's allowance, which fills up again evenly."""
        if team.requests_per_minute is None:
            return
        most, now_s = team.requests_per_minute, self.runtime.forward.upstream.clock.now_s()
        allowance = self._allowances.setdefault(team.name, Allowance(most, now_s))
        if wait_s := allowance.take(now_s):
            raise _too_many(team, most, math.ceil(wait_s))


def _too_many(team: Team, most: int, wait_s: int) -> CallError:
    message = f"team {team.name} has made its {most:,} calls a minute; this one was not made."
    return CallError(
        ErrorReport("rate_limited", message, "Wait as long as it says, then call again.", Retry.HELPS, wait_s)
    )
