"""Operations exposed over REST: their paths, the call of each, and where its caller puts each argument."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from batches_mcp.core.diagnostics import Mark, did_you_mean, quote
from batches_mcp.core.plan import Argument, Feed, Place
from batches_mcp.language import model
from batches_mcp.language.bindings import Caller
from batches_mcp.language.calls import LinkedCall, link_call
from batches_mcp.language.expressions import ExpressionError, nearest, path_parts
from batches_mcp.language.forwards import forwarded
from batches_mcp.language.route import LinkedRoute, RestPath
from batches_mcp.language.scope import Scope
from batches_mcp.language.upstreams import Consumed


@dataclass(frozen=True, slots=True)
class LinkedRest:
    """The adapter that is served, and its operations."""

    expose: model.RestExpose
    routes: tuple[LinkedRoute, ...]


def link_rest(exposes: Sequence[model.RestExpose], consumed: Consumed, scope: Scope) -> LinkedRest | None:
    """Link the first adapter; the problems of all are reported."""
    for extra in exposes[1:]:
        scope.problems.warning(
            extra.node.where,
            "several-rest",
            "a second adapter of type `rest`",
            "the first is served: merge their resources",
        )
    linked = [LinkedRest(expose, tuple(_routes(expose, consumed, scope))) for expose in exposes]
    return linked[0] if linked else None


def _routes(rest: model.RestExpose, consumed: Consumed, scope: Scope) -> Iterator[LinkedRoute]:
    first: dict[tuple[str, RestPath], Mark] = {}
    for resource in rest.resources:
        path = _path(resource, scope)
        if resource.forward is not None:
            yield from forwarded(resource, path, consumed.upstreams, scope)
        elif not resource.operations and "operations" not in resource.node.entries():
            scope.problems.error(resource.node.where, "missing-key", "key `operations` is missing", "or `forward`")
        for operation in resource.operations:
            same = operation.method, tuple(part if isinstance(part, str) else Argument("") for part in path)
            linked = _route(rest, resource, operation, path, consumed, scope)
            if same in first:
                scope.problems.warning(
                    operation.place("method"),
                    "duplicate-name",
                    f"{operation.method} {quote(resource.path)} is defined twice",
                    f"the one in line {first[same].line} is served",
                )
            elif linked is not None:
                yield linked
            first.setdefault(same, operation.place("method"))


def _path(resource: model.RestResource, scope: Scope) -> RestPath:
    path, query = scope.path(resource.path, resource.place("path"))
    if query:
        message, hint = f"path {quote(resource.path)} holds a query", f"it is served at {quote(path)}"
        scope.problems.warning(resource.place("path"), "path", message, hint)
    try:
        parts = path_parts(path, None, ())
    except ExpressionError as problem:
        scope.problems.error(resource.place("path"), "template", str(problem), problem.hint)
        return ()
    return tuple(part if isinstance(part, Argument) else str(part) for part in parts)


def _route(
    rest: model.RestExpose,
    resource: model.RestResource,
    operation: model.RestOperation,
    path: RestPath,
    consumed: Consumed,
    scope: Scope,
) -> LinkedRoute | None:
    variables = list(dict.fromkeys(part.name for part in path if isinstance(part, Argument)))
    declared = {each.name: each for each in _declared(resource, operation, variables)}
    for each in declared.values():
        if each.place_in == "path" and each.name not in variables:
            scope.problems.error(
                each.place("name"),
                "path-variable",
                f"{quote(each.name)} is `in: path`, and the path {quote(resource.path)} has no such variable",
                did_you_mean(each.name, variables),
            )
        if each.from_body is None and isinstance(each.value, str) and ("{{" in each.value or each.value[:1] == "$"):
            scope.problems.error(
                each.place("value"),
                "unsupported",
                f"the value {quote(each.value)} of a REST input is not supported here",
                "a fixed value, a JSONPath with `in: body`, or none: `with` says where an input goes",
            )
    implied = [
        model.RestInput(node=resource.node, name=name, place_in="path", type="string")
        for name in variables
        if name not in declared
    ]
    call = link_call(
        Caller(operation, [*implied, *declared.values()], (rest.namespace, "rest")), consumed.operations, scope
    )
    if call is None:
        return None
    kept = {each.name for each in call.inputs}
    places = {each.name: _place(each) for each in (*implied, *declared.values()) if each.name in kept}
    for argument in call.inputs:
        places.setdefault(argument.name, _derived_place(argument.name, call))
    for name in places:
        if places[name] is Place.PATH and name not in variables and name not in declared:
            scope.problems.error(
                operation.node.where,
                "path-variable",
                f"path variable {quote(name)} of the operation called gets no value from {quote(resource.path)}",
                f"write {{{name}}} into the path, or declare it as an input",
            )
    within = {each.name: each.from_body for each in declared.values() if each.from_body and each.name in kept}
    fixed = {each.name: each.value for each in declared.values() if each.value is not None and not each.from_body}
    return LinkedRoute(operation, path, call, places, fixed, within)


def _declared(
    resource: model.RestResource, operation: model.RestOperation, variables: Sequence[str]
) -> Iterator[model.RestInput]:
    """The inputs that are declared, those `in: path` under the names of the path."""
    for each in (*resource.inputs, *operation.inputs):
        variable = nearest(each.name, variables) if each.place_in == "path" else None
        yield replace(each, name=variable) if variable is not None else each


def _place(declared: model.RestInput) -> Place:
    """An input `in: body` is a field of the JSON body, or somewhere within, but for the one called so, which is all."""
    if declared.from_body is not None:
        return Place.WITHIN
    if declared.place_in == "body":
        return Place.BODY if declared.name == "body" else Place.FIELD
    return Place(declared.place_in)


def _derived_place(name: str, call: LinkedCall) -> Place:
    """Where an argument that nobody declares is taken from: from the place that it goes to."""
    feeds = [*call.feeds, *(part for part in call.path if isinstance(part, Feed))]
    return next((feed.place for feed in feeds if name in feed.value.arguments), Place.FIELD)
