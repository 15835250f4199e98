"""Operations exposed over REST: their paths, and the call of each."""

from __future__ import annotations

from collections.abc import Mapping

from batches_mcp.capability import model
from batches_mcp.capability.bindings import Caller
from batches_mcp.capability.calls import link_call
from batches_mcp.capability.expressions import ExpressionError, path_parts
from batches_mcp.capability.scope import Scope
from batches_mcp.capability.targets import Target
from batches_mcp.plan import Argument


def link_rest(rest: model.RestExpose, operations: Mapping[str, Target], scope: Scope) -> None:
    """Report the problems of an adapter's paths and calls."""
    for resource in rest.resources:
        scope.path(resource.path, resource.place("path"))
        try:
            variables = [part.name for part in path_parts(resource.path, None, ()) if isinstance(part, Argument)]
        except ExpressionError as problem:
            scope.problems.error(resource.place("path"), "template", str(problem), problem.hint)
            variables = []
        for operation in resource.operations:
            declared = {each.name: each for each in (*resource.inputs, *operation.inputs)}
            implied = [
                model.RestInput(node=resource.node, name=name, place_in="path", type="string")
                for name in variables
                if name not in declared
            ]
            # A REST adapter hands on the body and the query whether they are declared or not.
            link_call(Caller(operation, [*implied, *declared.values()], (rest.namespace, "rest")), operations, scope)
