"""Bringing up a service whose callers are told apart; what cannot be kept to is refused before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pydantic import SecretStr

from batches_mcp.core.errors import UsageError
from batches_mcp.core.plan import BehaviorName, ToolPlan
from batches_mcp.core.settings import TOKEN, BatchSettings, Environment

if TYPE_CHECKING:
    from batches_mcp.access.teams import Teams
    from batches_mcp.cli.access import AccessSettings
    from batches_mcp.cli.startup import Ready
    from batches_mcp.serve.callers import Guard
    from batches_mcp.serve.doors import Access


@dataclass(frozen=True, slots=True)
class Service:
    """What opens the doors, and what calls are held to that have passed them."""

    access: Access
    guard: Guard


def check_settings(access: AccessSettings, batch: BatchSettings, token: SecretStr | None, *, over_http: bool) -> None:
    """See to it that other settings leave callers apart.

    Raises:
        UsageError: they do not.
    """
    name = "--teams" if access.teams is not None else "--oidc-issuer"
    if not over_http:
        raise UsageError(f"{name} is for a service over HTTP; add --transport http")
    if not batch.ledger:
        raise UsageError(f"{name} needs the ledger, which knows whose a batch is; leave --no-ledger out")
    if token is not None:
        raise UsageError(
            f"{name} and {TOKEN} are both set: who shows that token would be in no team; unset it, and give each of "
            "its users a key (batches-mcp teams key)"
        )


def teams_of(access: AccessSettings, environment: Environment, *, sandbox: bool) -> Teams:
    """The teams of the file, if there is one; with a sandbox no real API key of theirs is kept.

    Raises:
        UnreadableFile, TeamsError: the file cannot be read, or has errors.
        UsageError: it has nobody whom it could let in.
    """
    from batches_mcp.access.file import load
    from batches_mcp.access.teams import Teams

    if access.teams is None:
        return Teams()
    found = load(access.teams, environment)
    if access.oidc is None and found.claims and not found.keys:
        raise UsageError(f"{access.teams} has claims but no keys, so that nobody could come in; add --oidc-issuer URL")
    if access.oidc is None and not found.keys:
        raise UsageError(f"{access.teams} has no keys, so that nobody could come in; see: batches-mcp teams key --help")
    return _in_sandbox(found) if sandbox else found


def _in_sandbox(teams: Teams) -> Teams:
    """The same with keys of the sandbox's: it takes any, and real ones have no business there."""
    for_sandbox = {
        name: team if team.api_key is None else replace(team, api_key=SecretStr(f"sandbox-key-{name}"))
        for name, team in teams.teams.items()
    }
    return replace(
        teams,
        teams=for_sandbox,
        keys=[replace(key, team=for_sandbox[key.team.name]) for key in teams.keys],
        claims={value: for_sandbox[team.name] for value, team in teams.claims.items()},
    )


def doors(access: AccessSettings, teams: Teams | None, prepared: Ready) -> Service:
    """What the service is guarded with.

    Raises:
        UsageError: it could not keep teams apart, or not send their requests with their own keys.
    """
    from batches_mcp.access.tokens import TokenRules
    from batches_mcp.serve.callers import Guard
    from batches_mcp.serve.doors import Access, Resource

    assert teams is not None  # noqa: S101 - with doors there are teams, if only none
    routes = prepared.rest.routes if prepared.rest else ()
    calls = [*prepared.plan.calls, *(route.tool for route in routes)]
    for call in calls:
        if call.behavior is None and not _is_apart(call, calls):
            raise UsageError(
                f"{call.name} is an operation without x-behavior that may reach batches: whose they are would not be "
                "looked at, so that it cannot be served to teams; leave it out of the capability"
            )
    rules = resource = None
    if (oidc := access.oidc) is not None:
        audiences = oidc.audiences or (oidc.resource_url,)
        claims = teams.claims if access.teams is not None else None
        rules = TokenRules(oidc.issuer, audiences, oidc.scope_claim, oidc.team_claim, claims)
        resource = Resource(oidc.resource_url, oidc.issuer, prepared.plan.title or prepared.plan.name)
    guard = Guard(tuple(teams.teams.values()), key_variable(teams, prepared))
    return Service(Access(teams.keys, rules, resource), guard)


def _is_apart(call: ToolPlan, calls: Sequence[ToolPlan]) -> bool:
    """Whether an operation leads elsewhere than to batches, by what its path begins with."""
    lists = [
        _beginning(each.request.base_uri, each.beside[BehaviorName.LIST])
        for each in calls
        if BehaviorName.LIST in each.beside
    ]
    own = _beginning(call.request.base_uri, call.request.path)
    return bool(lists) and not any(own.startswith(each) or each.startswith(own) for each in lists)


def _beginning(base_uri: str, path: tuple[object, ...]) -> str:
    """What a URL begins with, up to the first variable of its path."""
    return base_uri + (path[0].rstrip("/") if path and isinstance(path[0], str) else "")


def key_variable(teams: Teams, prepared: Ready) -> str | None:
    """The variable whose value a team's own API key takes the place of; None when no team has one."""
    if not teams.api_keys:
        return None
    if prepared.batch.account is not None:
        raise UsageError("--account names one workspace, but the teams file has API keys of others; leave it out")
    credentials = [value for call in prepared.plan.calls for value in call.request.credential_templates()]
    names = sorted({name for value in credentials for name in value.variables})
    if len(names) != 1:
        raise UsageError(
            "the teams file has API keys, which take the place of the one variable that holds the credential; the "
            f"capability takes it from {' and '.join(names) or 'none'}"
        )
    return names[0]
