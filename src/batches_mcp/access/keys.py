"""Named keys: how one is made, what is kept of it, and how it is found again. Pure, but for the chance in `fresh`."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from batches_mcp.access.principal import Principal, Team

# So that it can be recognized where it does not belong, in a log or a repository.
PREFIX = "bmk-"
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class NamedKey:
    """A key as the teams file has it: its hash, never itself."""

    name: str
    sha256: str
    team: Team
    scopes: frozenset[str]

    @property
    def principal(self) -> Principal:
        return Principal(self.name, "key", self.team, self.scopes)


def fresh() -> str:
    """A new key, of 256 bits of chance."""
    return PREFIX + secrets.token_urlsafe(_KEY_BYTES)


def hash_of(key: str) -> str:
    """What the teams file holds of a key. A key is chance, not a password, so that a plain hash cannot be reversed."""
    return hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()


def holder(keys: Iterable[NamedKey], given: str) -> Principal | None:
    """Whose key that is. Every hash is compared, each in constant time, so that time tells nothing of which is near."""
    found = None
    hashed = hash_of(given)
    for key in keys:
        if hmac.compare_digest(key.sha256, hashed):
            found = key.principal
    return found
