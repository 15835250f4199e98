"""Tools: their names and descriptions, and the call of each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from batches_mcp.core.diagnostics import quote
from batches_mcp.language import model
from batches_mcp.language.bindings import Caller
from batches_mcp.language.calls import LinkedCall, link_call
from batches_mcp.language.scope import Scope
from batches_mcp.language.targets import Target

# MCP 2025-11-25, server/tools: what a name should be; the second is what the Messages API takes, and so Claude's hosts.
_TOOL_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_HOSTS_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
# The Messages API refuses a tool whose input schema has any other name of a property.
_HOSTS_ARGUMENT = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_HOSTS_MOST = 64
_MOST_SHOWN = 5

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
        _name(tool, scope)
        scope.described("tool", tool)
        _hints(tool, scope, operations.get(tool.call))
        call = link_call(Caller(tool, tool.inputs, (expose.namespace, "tools")), operations, scope)
        if call is not None:
            _argument_names(tool, call, scope)
            yield LinkedTool(tool, call)


def _name(tool: model.Tool, scope: Scope) -> None:
    if tool.name and not _TOOL_NAME.fullmatch(tool.name):
        scope.problems.error(
            tool.place("name"),
            "tool-name",
            f"{quote(tool.name)} is not a name a client accepts",
            "1 to 128 of A-Z a-z 0-9 _ - .",
        )
    elif tool.name and not _HOSTS_TOOL_NAME.fullmatch(tool.name):
        found = f"has {len(tool.name)} characters" if len(tool.name) > _HOSTS_MOST else "has a dot"
        scope.problems.warning(
            tool.place("name"),
            "tool-name",
            f"{quote(tool.name)} {found}",
            "Claude, VS Code, Copilot and Cursor take up to 64 of A-Z a-z 0-9 _ -, their own prefix included",
        )


def _argument_names(tool: model.Tool, call: LinkedCall, scope: Scope) -> None:
    """Warn of arguments that MCP allows and hosts do not."""
    refused = [each.name for each in call.inputs if each.name and not _HOSTS_ARGUMENT.fullmatch(each.name)]
    if refused:
        scope.problems.warning(
            tool.place("name"),
            "argument-name",
            f"tool {quote(tool.name)} has arguments called {', '.join(map(quote, refused[:_MOST_SHOWN]))}",
            "hosts on the Claude API refuse names with other characters than A-Z a-z 0-9 _ - . or over 64 of them",
        )


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
