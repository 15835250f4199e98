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
        written = tool.node.entries().get("description")
        if tool.name and (written is None or not written.value):
            scope.problems.warning(
                tool.node.where,
                "no-description",
                f"tool {quote(tool.name)} has no description",
                "a model chooses a tool by what its description says",
            )
        call = link_call(Caller(tool, tool.inputs, (expose.namespace, "tools")), operations, scope)
        if call is not None:
            yield LinkedTool(tool, call)
