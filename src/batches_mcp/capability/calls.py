"""One caller (a tool, a resource or a REST operation) against the operation it calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from batches_mcp.capability import bodies, variables
from batches_mcp.capability.bindings import Bindings, Caller, Input
from batches_mcp.capability.diagnostics import did_you_mean, quote
from batches_mcp.capability.scope import Scope
from batches_mcp.capability.targets import Target
from batches_mcp.plan import BodyTemplate, Feed


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
    scope.unique("input", caller.inputs, lambda each: each.name)
    bindings = Bindings(scope, caller, {each.name: each for each in caller.inputs})
    path = variables.path(bindings, target)
    feeds = bindings.feeds(target)
    body = bodies.body(bindings, target.operation)
    bindings.leftovers()
    return LinkedCall(target, path, feeds, body, tuple(bindings.inputs.values()))
