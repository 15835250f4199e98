"""One caller (a tool, a resource or a REST operation) against the operation it calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from batches_mcp.core.diagnostics import did_you_mean, quote
from batches_mcp.core.plan import Argument, BehaviorName, BodyTemplate, Feed, Place, Template, Variable
from batches_mcp.language import bodies, model, variables
from batches_mcp.language.bindings import Bindings, Caller, Input
from batches_mcp.language.expressions import ExpressionError, path_parts
from batches_mcp.language.scope import Scope
from batches_mcp.language.targets import Target

# Behaviours that work on the one batch that a path names.
_ON_ONE = {BehaviorName.CANCEL, BehaviorName.DELETE, BehaviorName.RESULTS, BehaviorName.STATUS}
# What a behaviour asks of the upstream beside its own operation: a create looks for its batch, and at its results.
_NEEDS = {
    BehaviorName.SUBMIT: (BehaviorName.LIST, BehaviorName.STATUS, BehaviorName.RESULTS),
    BehaviorName.RESULTS: (BehaviorName.STATUS,),
}


@dataclass(frozen=True, slots=True)
class LinkedCall:
    """A call with the operation it names, and what feeds each value of its request."""

    target: Target
    path: tuple[str | Feed, ...]
    feeds: tuple[Feed, ...]
    body: BodyTemplate | None
    inputs: tuple[Input, ...]
    beside: Mapping[BehaviorName, tuple[str | Feed, ...]] = field(default_factory=dict)


def link_call(caller: Caller, operations: Mapping[str, Target], scope: Scope) -> LinkedCall | None:
    """Link one caller to its operation; None when it has none, which is reported."""
    call = caller.entry.call or ""
    if call not in operations:
        if call:
            scope.problems.error(
                caller.entry.place("call"),
                "call-target",
                f"{quote(call)} is not an operation of this file",
                did_you_mean(call, list(operations)),
            )
        return None
    target = operations[call]
    if target.other is not None:
        lines = f"{target.operation.place('name').line} and {target.other.line}"
        scope.problems.error(
            caller.entry.place("call"),
            "duplicate-name",
            f"{quote(call)} names two operations",
            f"those of lines {lines}: rename one",
        )
    scope.unique("input", caller.inputs, lambda each: each.name, same=_same_input)
    bindings = Bindings(scope, caller, {each.name: each for each in caller.inputs}, _names(target))
    path = variables.path(bindings, target)
    _one_variable(caller, target, path, scope)
    beside = _beside(caller, target, path, operations.values(), scope)
    feeds = bindings.feeds(target)
    body = bodies.body(bindings, target.operation)
    for each in target.left_out():
        bindings.leave_out(each)
    bindings.leftovers()
    return LinkedCall(target, path, feeds, body, tuple(bindings.inputs.values()), beside)


def _one_variable(caller: Caller, target: Target, path: Sequence[str | Feed], scope: Scope) -> None:
    """Report a behaviour on one thing whose path does not tell, by one argument alone, which thing that is."""
    behavior = target.operation.behavior
    feeds = [part for part in path if isinstance(part, Feed) and part.value.arguments]
    if behavior in _ON_ONE and path and [len(feed.value.parts) for feed in feeds] != [1]:
        scope.problems.error(
            caller.entry.place("call"),
            "behavior",
            f"`x-behavior: {behavior}` needs a path with one variable that an argument fills, "
            f"and {quote(target.resource.path)} has {len(feeds) or 'none'}",
            "it says which batch is meant: write it as /batches/{id}, and let an argument of that name fill it",
        )


def _beside(
    caller: Caller, target: Target, own: tuple[str | Feed, ...], targets: Iterable[Target], scope: Scope
) -> dict[BehaviorName, tuple[str | Feed, ...]]:
    """The paths of the operations on batches of the same upstream, its own included; what is needed must be there."""
    behavior = target.operation.behavior
    if behavior is None:
        return {}
    found = {BehaviorName(behavior): own}
    for other in targets:
        name = other.operation.behavior
        if name is not None and BehaviorName(name) not in found and other.upstream == target.upstream:
            with suppress(ExpressionError):  # which is reported where the operation is called
                found[BehaviorName(name)] = tuple(map(_fed, path_parts(other.path, scope.binds, ())))
    for needed in _NEEDS.get(BehaviorName(behavior), ()):
        arguments = [part for part in found.get(needed, ()) if isinstance(part, Feed) and part.value.arguments]
        if needed in found and len(arguments) == (1 if needed in _ON_ONE else 0):
            continue
        scope.problems.error(
            caller.entry.place("call"),
            "behavior",
            f"`x-behavior: {behavior}` needs an operation with `x-behavior: {needed}` of the same upstream, and "
            + ("its path has another number of variables" if needed in found else "there is none"),
            f"add the operation of the API with `x-behavior: {needed}` under `consumes`; no tool need call it",
        )
    return found


def _fed(part: str | Argument | Variable) -> str | Feed:
    return part if isinstance(part, str) else Feed(Place.PATH, part.name, Template((part,)))


def _same_input(one: model.ToolInput | model.RestInput, other: model.ToolInput | model.RestInput) -> bool:
    return (one.type, one.required, one.schema) == (other.type, other.required, other.schema)


def _names(target: Target) -> frozenset[str]:
    """What an operation itself calls its inputs and path variables; an input `in: path` is about one of the latter."""
    names = {each.name for each in target.declared().values() if each.place_in != "path"}
    with suppress(ExpressionError):
        parts = path_parts(target.path, None, ())
        names |= {part.name for part in parts if isinstance(part, Argument)}
    return frozenset(names)
