"""The flags of `serve` that say who may use a service."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from batches_mcp.cli.flags import flag, gathered
from batches_mcp.core.errors import UsageError
from batches_mcp.core.settings import is_safe


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """The identity provider whose tokens let callers in, and what is expected of these.

    `resource_url` is where callers reach the MCP endpoint, and one of its `audiences` each token must be for; see
    `access.tokens.TokenRules` for the claims.

    Raises:
        UsageError: a URL is not valid, or anybody between here and there could change what it answers.
    """

    issuer: str
    resource_url: str
    audiences: tuple[str, ...] = ()
    scope_claim: str = "scope"
    team_claim: str = "groups"

    def __post_init__(self) -> None:
        for name, url in (("--oidc-issuer", self.issuer), ("--resource-url", self.resource_url)):
            if not is_safe(url):
                raise UsageError(
                    f"{name}: {url} is not a URL that can be trusted; expected https://..., or http:// on this machine"
                )
            if urlsplit(url).query or urlsplit(url).fragment:
                raise UsageError(f"{name}: {url} has a query or a fragment; leave it out")
        if not urlsplit(self.resource_url).path.strip("/"):
            raise UsageError(f"--resource-url: {self.resource_url} names no path; expected https://HOST/mcp")


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """Who may use a service: the teams file, and the identity provider."""

    teams: Path | None = None
    oidc: OidcSettings | None = None

    @property
    def given(self) -> bool:
        """Whether callers are told apart at all."""
        return self.teams is not None or self.oidc is not None

    @property
    def host_names(self) -> list[str]:
        """The name by which clients reach the service."""
        name = urlsplit(self.oidc.resource_url).hostname if self.oidc is not None else None
        return [name] if name else []


def _settings(
    teams: Path | None,
    oidc_issuer: str | None,
    resource_url: str | None,
    audience: tuple[str, ...],
    scope_claim: str | None,
    team_claim: str | None,
) -> AccessSettings:
    if oidc_issuer is not None:
        if resource_url is None:
            raise UsageError("--oidc-issuer needs --resource-url, where clients reach /mcp: https://HOST/mcp")
        oidc = OidcSettings(oidc_issuer, resource_url, audience, scope_claim or "scope", team_claim or "groups")
        return AccessSettings(teams, oidc)
    named = {
        "--resource-url": resource_url,
        "--audience": audience,
        "--scope-claim": scope_claim,
        "--team-claim": team_claim,
    }
    for name, value in named.items():
        if value:
            raise UsageError(f"{name} is about an identity provider's tokens; add --oidc-issuer URL")
    return AccessSettings(teams)


_FLAGS = {
    "teams": flag(
        "--teams",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Serve the teams that this file names, each its own batches (http).",
    ),
    "oidc_issuer": flag(
        "--oidc-issuer", metavar="URL", help="Let in who has a token of this identity provider (http)."
    ),
    "resource_url": flag(
        "--resource-url", metavar="URL", help="Where clients reach /mcp, as the identity provider knows it."
    ),
    "audience": flag(
        "--audience", multiple=True, metavar="A", help="What tokens must be for.  [default: the resource URL]"
    ),
    "scope_claim": flag(
        "--scope-claim", metavar="NAME", help="The claim of a token with its scopes.  [default: scope]"
    ),
    "team_claim": flag(
        "--team-claim", metavar="NAME", help="The claim of a token that stands for teams.  [default: groups]"
    ),
}


def access_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds these flags; the command gets them as `access`."""
    return gathered("access", _settings, _FLAGS)(command)
