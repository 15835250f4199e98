"""Credentials as the file writes them -> templates: those that requests carry, and those that callers have to show."""

from __future__ import annotations

from batches_mcp.core.plan import BasicCredential, Feed, Place, Template
from batches_mcp.language import model
from batches_mcp.language.scope import Scope
from batches_mcp.language.targets import header_name


def credential(authentication: model.Authentication | None, scope: Scope) -> Feed | BasicCredential | None:
    """What a request carries to be let in; None when nothing is asked."""
    match authentication:
        case None:
            return None
        case model.ApiKey():
            place = Place(authentication.placement)
            if place is Place.HEADER:
                header_name(authentication.name, authentication.place("name"), scope.problems)
            return Feed(place, authentication.name, _secret(authentication, "value", authentication.value, scope))
        case model.Bearer():
            token = _secret(authentication, "token", authentication.token, scope)
            return Feed(Place.HEADER, "Authorization", Template(("Bearer ", *token.parts)))
        case model.Basic():
            return BasicCredential(
                _secret(authentication, "username", authentication.username, scope),
                _secret(authentication, "password", authentication.password, scope),
            )


def inbound(expose: model.McpExpose | model.RestExpose, scope: Scope) -> Feed | BasicCredential | None:
    """What callers of an adapter have to show; None when the file asks nothing of them."""
    asked = expose.authentication
    if isinstance(asked, model.ApiKey) and asked.placement == "query":
        scope.problems.error(
            asked.place("placement"),
            "unsupported",
            "callers cannot show a key in the query, where logs would keep it",
            "write `placement: header`",
        )
    if isinstance(asked, model.Basic) and not asked.password:
        scope.problems.error(asked.node.where, "missing-key", "key `password` is missing", "callers have to show one")
    if asked is not None and isinstance(expose, model.McpExpose) and expose.transport == "stdio":
        scope.problems.warning(
            expose.place("authentication"),
            "authentication",
            "over stdio there is nobody to ask",
            "it is checked over HTTP only: leave it out, or write `transport: http`",
        )
    return credential(asked, scope)


def _secret(authentication: model.Authentication, name: str, text: str, scope: Scope) -> Template:
    value = scope.template(text, authentication.place(name), None)
    if text and "{{" not in text and name != "username":
        scope.problems.error(
            authentication.place(name),
            "secret-in-file",
            "a secret is written into the file",
            "bind a variable of the environment and write {{namespace.VARIABLE}}",
        )
    return value
