"""Tools: their names and descriptions, and the call of each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from batches_mcp.capability import model
from batches_mcp.capability.bindings import Caller
from batches_mcp.capability.calls import LinkedCall, link_call
from batches_mcp.capability.diagnostics import quote
from batches_mcp.capability.scope import Scope
from batches_mcp.capability.targets import Target

# What clients accept: the API's own pattern for tool names, and SEP-986's length.
_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

# A hint, a value of it, the methods which that value contradicts (RFC 9110 9.2), and what to do.
_CONTRADICTIONS = (
    (
        "readOnly",
        True,
        {"POST", "PUT", "PATCH", "DELETE"},
        "`--read-only` would keep the tool: write false, unless the call changes nothing",
    ),
    ("readOnly", False, {"GET"}, "write true, so that `--read-only` keeps the tool"),
    ("destructive", False, {"DELETE"}, "clients ask their user before a destructive call: write true"),
    (
        "idempotent",
        True,
        {"POST", "PATCH"},
        "a call whose answer is lost would be sent again: write false, unless that does no harm",
    ),
)


@dataclass(frozen=True, slots=True)
class LinkedTool:
    """A tool with everything it names."""

    tool: model.Tool
    call: LinkedCall


def link_tools(expose: model.McpExpose, operations: Mapping[str, Target], scope: Scope) -> Iterator[LinkedTool]:
    """Every tool that calls an operation of the file, with the problems of all reported."""
    scope.unique("tool", expose.tools, lambda each: each.name)
    for tool in expose.tools:
        if tool.name and not _TOOL_NAME.fullmatch(tool.name):
            scope.problems.error(
                tool.place("name"),
                "tool-name",
                f"{quote(tool.name)} is no name a client accepts",
                "1 to 64 of A-Z a-z 0-9 _ -",
            )
        scope.described("tool", tool)
        _hints(tool, scope, operations.get(tool.call))
        call = link_call(Caller(tool, tool.inputs, (expose.namespace, "tools")), operations, scope)
        if call is not None:
            yield LinkedTool(tool, call)


def _hints(tool: model.Tool, scope: Scope, target: Target | None) -> None:
    """Warn of hints that say something else than the method does, or than each other."""
    if tool.hints is None or target is None:
        return
    method, written = target.operation.method, tool.hints.node.entries()
    for name, value, methods, hint in _CONTRADICTIONS:
        if name in written and written[name].value is value and method in methods:
            message = f"{name} is {str(value).lower()} of a {method}"
            scope.problems.warning(written[name].where, "hints", message, hint)
    if all(name in written and written[name].value is True for name in ("readOnly", "destructive")):
        message = "readOnly and destructive cannot both be true"
        scope.problems.warning(
            written["destructive"].where, "hints", message, "a tool that only reads destroys nothing"
        )
