"""Paths that are handed on: a route for each method, to wherever the rest of the path leads at the upstream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, get_args

from batches_mcp.core.diagnostics import Problems, did_you_mean, quote
from batches_mcp.core.plan import Argument, Feed, Place, Template
from batches_mcp.language import model
from batches_mcp.language.bindings import Bindings, Caller, Input
from batches_mcp.language.calls import LinkedCall
from batches_mcp.language.route import LinkedRoute, RestPath
from batches_mcp.language.scope import Scope
from batches_mcp.language.targets import Target, UpstreamApi, header_name

_Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
# No operation is called so: a name in a call has no asterisk.
_ANY = "*"
_BODY = "body"


def forwarded(
    resource: model.RestResource, path: RestPath, upstreams: Mapping[str, UpstreamApi], scope: Scope
) -> Iterator[LinkedRoute]:
    """The routes of a resource that hands on what it is asked for."""
    forward = resource.forward
    if forward is None:
        return
    upstream = upstreams.get(forward.target_namespace)
    if upstream is None:
        message = f"{quote(forward.target_namespace)} is not a namespace of `consumes`"
        hint = did_you_mean(forward.target_namespace, list(upstreams))
        scope.problems.error(forward.place("target_namespace"), "call-target", message, hint)
        return
    variables = [part.name for part in path if isinstance(part, Argument)]
    if len(variables) != 1 or not isinstance(path[-1], Argument):
        message = f"the path {quote(resource.path)} does not end with its only variable"
        hint = "it stands for what is handed on: /shop/{path}"
        scope.problems.error(resource.place("path"), "path-variable", message, hint)
        return
    if any(operation.behavior for each in upstream.consumes.resources for operation in each.operations):
        # A create that comes this way would pass neither the ledger nor the cap on costs.
        message = (
            f"{quote(forward.target_namespace)} has operations with `x-behavior`, and all would have a second door"
        )
        scope.problems.error(resource.place("forward"), "unsupported", message, "name each operation with `call`")
        return
    for method in get_args(_Method):
        yield _route(method, resource, forward, path, variables[0], upstream, scope)


def _route(
    method: _Method,
    resource: model.RestResource,
    forward: model.Forward,
    path: RestPath,
    tail: str,
    upstream: UpstreamApi,
    scope: Scope,
) -> LinkedRoute:
    operation = model.Operation(node=resource.node, name=_ANY, method=method)
    target = Target(
        upstream, model.Resource(node=resource.node, name=_ANY, path="/", operations=(operation,)), operation, "/"
    )
    nobody = Caller(model.Tool(node=resource.node, name="", call=""), (), ("", ""))
    feeds = [each for each in Bindings(scope, nobody, {}, frozenset()).feeds(target) if not each.value.arguments]
    trusted = list(_trusted(forward, target, feeds, scope, report=method == "GET"))
    headers = [Feed(Place.HEADER, name, Template((Argument(name),))) for name in trusted]
    body = [] if method == "GET" else [Feed(Place.BODY, _BODY, Template((Argument(_BODY),)))]
    inputs = [
        Input(tail, "array", "", required=True, schema={"items": {"type": "string"}}),
        *(Input(name, "string", "", required=False, schema=None) for name in trusted),
        *(Input(each.name, None, "", required=False, schema=None) for each in body),
    ]
    rest_of_path = Feed(Place.TAIL, tail, Template((Argument(tail),)))
    call = LinkedCall(target, ("/", rest_of_path), (*feeds, *headers, *body), None, tuple(inputs))
    places = {tail: Place.TAIL, **dict.fromkeys(trusted, Place.HEADER), **{each.name: each.place for each in body}}
    exposed = model.RestOperation(
        node=resource.node, method=method, call=f"{forward.target_namespace}.{_ANY}", description=resource.description
    )
    return LinkedRoute(exposed, path, call, places, {})


def _trusted(forward: model.Forward, target: Target, feeds: list[Feed], scope: Scope, *, report: bool) -> Iterator[str]:
    """The headers of its caller that are handed on: none that the file sets itself, nor the HTTP client."""
    ours = {each.name.lower() for each in feeds if each.place is Place.HEADER}
    place, name = target.upstream.credential_place or (None, "")
    if place is Place.HEADER:
        ours.add(name)
    mark = forward.place("trusted_headers")
    for header in forward.trusted_headers:
        if header.lower() in ours:
            if report:
                message = f"the header {quote(header)} is set by this file"
                scope.problems.warning(mark, "duplicate-name", message, "its caller's is not handed on")
        elif header_name(header, mark, scope.problems if report else Problems("")):
            yield header
