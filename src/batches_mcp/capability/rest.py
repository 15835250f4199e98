"""Operations exposed over REST: their paths, the call of each, and where its caller puts each argument."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from batches_mcp.capability import model
from batches_mcp.capability.bindings import Caller
from batches_mcp.capability.calls import LinkedCall, link_call
from batches_mcp.capability.diagnostics import Mark, did_you_mean, quote
from batches_mcp.capability.expressions import ExpressionError, path_parts
from batches_mcp.capability.scope import Scope
from batches_mcp.capability.targets import Target
from batches_mcp.plan import Argument, Feed, Place

RestPath = tuple[str | Argument, ...]


@dataclass(frozen=True, slots=True)
class LinkedRoute:
    """An operation with everything it names; `places` says where each argument is taken from."""

    operation: model.RestOperation
    path: RestPath
    call: LinkedCall
    places: Mapping[str, Place]
    fixed: Mapping[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class LinkedRest:
    """The adapter that is served, and its operations."""

    expose: model.RestExpose
    routes: tuple[LinkedRoute, ...]


def link_rest(exposes: Sequence[model.RestExpose], operations: Mapping[str, Target], scope: Scope) -> LinkedRest | None:
    """Link the first adapter; the problems of all are reported."""
    for extra in exposes[1:]:
        scope.problems.warning(
            extra.node.where,
            "several-rest",
            "a second adapter of type `rest`",
            "the first is served: merge their resources",
        )
    linked = [LinkedRest(expose, tuple(_routes(expose, operations, scope))) for expose in exposes]
    return linked[0] if linked else None


def _routes(rest: model.RestExpose, operations: Mapping[str, Target], scope: Scope) -> Iterator[LinkedRoute]:
    first: dict[tuple[str, RestPath], Mark] = {}
    for resource in rest.resources:
        path = _path(resource, scope)
        for operation in resource.operations:
            same = operation.method, tuple(part if isinstance(part, str) else Argument("") for part in path)
            if same in first:
                scope.problems.error(
                    operation.place("method"),
                    "duplicate-name",
                    f"{operation.method} {quote(resource.path)} is defined twice",
                    f"first in line {first[same].line}; remove one of the two",
                )
            first.setdefault(same, operation.place("method"))
            linked = _route(rest, resource, operation, path, operations, scope)
            if linked is not None:
                yield linked


def _path(resource: model.RestResource, scope: Scope) -> RestPath:
    scope.path(resource.path, resource.place("path"))
    try:
        parts = path_parts(resource.path, None, ())
    except ExpressionError as problem:
        scope.problems.error(resource.place("path"), "template", str(problem), problem.hint)
        return ()
    return tuple(part if isinstance(part, Argument) else str(part) for part in parts)


def _route(
    rest: model.RestExpose,
    resource: model.RestResource,
    operation: model.RestOperation,
    path: RestPath,
    operations: Mapping[str, Target],
    scope: Scope,
) -> LinkedRoute | None:
    variables = list(dict.fromkeys(part.name for part in path if isinstance(part, Argument)))
    declared = {each.name: each for each in (*resource.inputs, *operation.inputs)}
    for each in declared.values():
        if each.place_in == "path" and each.name not in variables:
            scope.problems.error(
                each.place("name"),
                "path-variable",
                f"{quote(each.name)} is `in: path`, and the path {quote(resource.path)} has no such variable",
                did_you_mean(each.name, variables),
            )
        if isinstance(each.value, str) and ("{{" in each.value or each.value.startswith("$")):
            scope.problems.error(
                each.place("value"),
                "unsupported",
                f"the value {quote(each.value)} of a REST input is not supported here",
                "a fixed value, or none: `with` says where an input goes",
            )
    implied = [
        model.RestInput(node=resource.node, name=name, place_in="path", type="string")
        for name in variables
        if name not in declared
    ]
    call = link_call(Caller(operation, [*implied, *declared.values()], (rest.namespace, "rest")), operations, scope)
    if call is None:
        return None
    places = {each.name: _place(each) for each in (*implied, *declared.values())}
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
    fixed = {each.name: each.value for each in declared.values() if each.value is not None}
    return LinkedRoute(operation, path, call, places, fixed)


def _place(declared: model.RestInput) -> Place:
    """An input `in: body` is a field of the JSON body, but for the one called so, which is all of it."""
    if declared.place_in == "body":
        return Place.BODY if declared.name == "body" else Place.FIELD
    return Place(declared.place_in)


def _derived_place(name: str, call: LinkedCall) -> Place:
    """Where an argument that nobody declares is taken from: from the place that it goes to."""
    feeds = [*call.feeds, *(part for part in call.path if isinstance(part, Feed))]
    return next((feed.place for feed in feeds if name in feed.value.arguments), Place.FIELD)
