"""Who makes a call: what a door found out of it, and what the call is then made with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from starlette.requests import Request

from batches_mcp.access.allowance import Allowance
from batches_mcp.access.principal import Principal, Team
from batches_mcp.core.errors import CallError, ErrorReport, Retry
from batches_mcp.work.runtime import Runtime

# Where a door leaves the principal of a request, in its ASGI scope.
SCOPE_KEY = "batches_mcp.principal"


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

    @property
    def accounts(self) -> list[Runtime]:
        """What each of the credentials that requests go upstream with is used by."""
        own = [self.runtime.of_team(team) for team in (self.guard.teams if self.guard else ()) if team.api_key]
        return [self.runtime, *own]

    def of(self, request: Request | None) -> Runtime:
        """What the call of a request is made with; counts it.

        Raises:
            CallError: its team has made too many calls within a minute.
        """
        if self.guard is None:
            return self.runtime
        caller = None if request is None else request.scope.get(SCOPE_KEY)
        if not isinstance(caller, Principal):
            raise RuntimeError("a request came past the doors")
        if caller.team is not None:
            self._count(caller.team)
        return self.runtime.of(caller)

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
