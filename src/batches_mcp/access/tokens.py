"""Access tokens of an identity provider: whether one was made by it, for this service, for now; and for whom.

RFC 9068 and the MCP specification (basic/authorization, 2026-07-28) say what a resource server has to check. Signatures
are PyJWT's work.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from batches_mcp.access.principal import SCOPES, Principal, Team

# No symmetric ones: who can check such a token can make it.
ALGORITHMS = ("RS256", "ES256", "EdDSA")
_LEEWAY_S = 30
_REQUIRED = ("exp", "iss", "aud", "sub")
_MOST_TOKEN_CHARS = 16_000

Key = jwt.PyJWK


class Rejected(Exception):
    """A token that opens nothing; the text says why, for the log."""


class NoTeam(Exception):
    """A token of somebody who is in no team of this service."""


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What a token must say. `claims` are values of the team claim, each with its team; None: there are no teams."""

    issuer: str
    audiences: Sequence[str]
    scope_claim: str = "scope"
    team_claim: str = "groups"
    claims: Mapping[str, Team] | None = None


def key_id(token: str) -> str | None:
    """The id of the key that a token says it was signed with, if it says so.

    Raises:
        Rejected: it is no token, or signed in a way that counts for nothing.
    """
    if len(token) > _MOST_TOKEN_CHARS:
        raise Rejected(f"it has over {_MOST_TOKEN_CHARS:,} characters")
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError as error:
        raise Rejected(f"it is not a JWT: {error}") from error
    if header.get("alg") not in ALGORITHMS:
        raise Rejected(f"it is signed with {header.get('alg')!s:.20}, which is not accepted")
    found = header.get("kid")
    return found if isinstance(found, str) else None


def keys_in(document: bytes) -> dict[str | None, Key]:
    """The usable keys of a JWK set by their ids; the only one also by None, for tokens that name none.

    Raises:
        ValueError: it is no JWK set.
    """
    found = json.loads(document)
    rows = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(rows, list):
        raise ValueError("expected a JWK set: {keys: [...]}")
    keys: dict[str | None, Key] = {}
    for row in rows:
        if not isinstance(row, dict) or row.get("use", "sig") != "sig":
            continue
        try:
            key = jwt.PyJWK(row)
        except (jwt.PyJWTError, ValueError, TypeError, KeyError):
            continue  # of a kind that is not known here
        if key.algorithm_name in ALGORITHMS:
            keys[row["kid"] if isinstance(row.get("kid"), str) else f"#{len(keys)}"] = key
    if len(keys) == 1:
        keys[None] = next(iter(keys.values()))
    return keys


def principal_of(token: str, key: Key, rules: TokenRules) -> Principal:
    """Who a token was made for.

    Raises:
        Rejected: it was not made by the issuer, not for this service, or not for now.
        NoTeam: nothing that it says stands for a team.
    """
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=list(ALGORITHMS),
            audience=list(rules.audiences),
            issuer=rules.issuer,
            leeway=_LEEWAY_S,
            options={"require": list(_REQUIRED)},
        )
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise Rejected(f"{type(error).__name__}: {error}") from error
    subject = claims["sub"]
    if not isinstance(subject, str) or not subject:
        raise Rejected("its subject is empty")
    client = next((claims[name] for name in ("client_id", "azp") if isinstance(claims.get(name), str)), "")
    scopes = frozenset(_words(claims.get(rules.scope_claim))) & frozenset(SCOPES)
    return Principal(subject, client, _team(claims, rules), scopes)


def _team(claims: Mapping[str, Any], rules: TokenRules) -> Team | None:
    if rules.claims is None:
        return None
    said = claims.get(rules.team_claim)
    values = said if isinstance(said, list) else [said]
    for value, team in rules.claims.items():
        if value in values:
            return team
    raise NoTeam


def _words(value: Any) -> list[str]:
    """Scopes, as one text (RFC 9068) or as a list, which some providers make."""
    if isinstance(value, str):
        return value.split()
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
