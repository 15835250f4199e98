"""One caller (a tool, a resource or a REST operation) against the operation it calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from batches_mcp.core.diagnostics import did_you_mean, quote
from batches_mcp.core.plan import Argument, BodyTemplate, Feed
from batches_mcp.language import bodies, model, variables
from batches_mcp.language.bindings import Bindings, Caller, Input
from batches_mcp.language.expressions import ExpressionError, path_parts
from batches_mcp.language.scope import Scope
from batches_mcp.language.targets import Target

# Behaviours that work on the one thing that a path names.
_ON_ONE = {"cancel", "delete", "results", "status"}


@dataclass(frozen=True, slots=True)
class LinkedCall:
    """A call with the operation it names, and what feeds each value of its request."""

    target: Target
    path: tuple[str | Feed, ...]
    feeds: tuple[Feed, ...]
    body: BodyTemplate | None
    inputs: tuple[Input, ...]


def link_call(caller: Caller, operations: Mapping[str, Target], scope: Scope) -> LinkedCall | None:
    """Link one caller to its operation; None when it has none, which is reported."""
    call = caller.entry.call or ""
    if call not in operations:
        if call:
            scope.problems.error(
                caller.entry.place("call"),
                "call-target",
                f"{quote(call)} is no operation of this file",
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
    feeds = bindings.feeds(target)
    body = bodies.body(bindings, target.operation)
    for each in target.left_out():
        bindings.leave_out(each)
    bindings.leftovers()
    return LinkedCall(target, path, feeds, body, tuple(bindings.inputs.values()))


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


def _same_input(one: model.ToolInput | model.RestInput, other: model.ToolInput | model.RestInput) -> bool:
    return (one.type, one.required, one.schema) == (other.type, other.required, other.schema)


def _names(target: Target) -> frozenset[str]:
    """What an operation itself calls its inputs and path variables; an input `in: path` is about one of the latter."""
    names = {each.name for each in target.declared().values() if each.place_in != "path"}
    with suppress(ExpressionError):
        parts = path_parts(target.path, None, ())
        names |= {part.name for part in parts if isinstance(part, Argument)}
    return frozenset(names)
