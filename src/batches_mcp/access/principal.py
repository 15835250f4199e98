"""Who makes a call, in whose name, and what for. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import SecretStr

READ, WRITE, APPROVE, ADMIN = "batches:read", "batches:write", "batches:approve", "batches:admin"
SCOPES = (READ, WRITE, APPROVE, ADMIN)


@dataclass(frozen=True, slots=True)
class Caps:
    """What a team's creates may cost, in USD: within 24 hours, and within a calendar month (UTC). None: any amount."""

    day_usd: float | None = None
    month_usd: float | None = None

    def __bool__(self) -> bool:
        return self.day_usd is not None or self.month_usd is not None


@dataclass(frozen=True, slots=True)
class Team:
    """A team; `api_key` is what its requests go upstream with, None for the server's own."""

    name: str
    api_key: SecretStr | None = None
    caps: Caps = Caps()
    approve_over_usd: float | None = None
    requests_per_minute: int | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a call: `name` is the subject of a token or the name of a key, `client` the program it was given to.

    `team` is None only where the service has no teams.
    """

    name: str
    client: str
    team: Team | None
    scopes: frozenset[str]

    @property
    def team_name(self) -> str | None:
        return None if self.team is None else self.team.name

    @property
    def is_admin(self) -> bool:
        return ADMIN in self.scopes

    def lacks(self, needed: Iterable[str]) -> frozenset[str]:
        """Those of the scopes that it has not."""
        return frozenset(needed) - self.scopes


def needed(method: str) -> frozenset[str]:
    """The scopes that an operation with this HTTP method needs."""
    return frozenset({READ}) if method in ("GET", "HEAD", "OPTIONS") else frozenset({READ, WRITE})
