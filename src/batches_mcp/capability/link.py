"""Names -> what they name: calls, references, path variables, binds. Every problem is found in one run.

`link` takes a document of good shape or not (see `load`) and never stops at a problem; `Linked` is complete only when
no problem is an error.
"""

from __future__ import annotations

from dataclasses import dataclass

from batches_mcp.capability import model
from batches_mcp.capability.diagnostics import Diagnostic, Mark, Problems
from batches_mcp.capability.expressions import Binds
from batches_mcp.capability.rest import LinkedRest, link_rest
from batches_mcp.capability.scope import Scope
from batches_mcp.capability.tools import LinkedTool, link_tools
from batches_mcp.capability.upstreams import operations


@dataclass(frozen=True, slots=True)
class Linked:
    """What a document means; `expose` is None when it exposes nothing over MCP."""

    document: model.Document
    expose: model.McpExpose | None
    tools: tuple[LinkedTool, ...]
    problems: tuple[Diagnostic, ...]
    rest: LinkedRest | None = None


def link(document: model.Document, file: str) -> Linked:
    """Resolve every name in the document; `file` names it in diagnostics."""
    problems = Problems(file)
    scope = Scope(problems, Binds({bind.namespace: bind.keys for bind in document.binds}))
    capability = document.capability
    scope.unique("namespace", [*document.binds, *capability.consumes, *capability.exposes], lambda each: each.namespace)
    targets = operations(capability.consumes, scope)
    exposes = [expose for expose in capability.exposes if isinstance(expose, model.McpExpose)]
    for extra in exposes[1:]:
        problems.error(
            extra.node.where,
            "several-mcp",
            "a second adapter of type `mcp`",
            "one server serves one: merge their tools",
        )
    rest = link_rest([each for each in capability.exposes if isinstance(each, model.RestExpose)], targets, scope)
    if not exposes:
        written = capability.node.entries().get("exposes")
        # An entry that `load` could not read, or no list at all, is an error already.
        if written and isinstance(written.value, list) and len(written.value) == len(capability.exposes):
            _no_tools(problems, written.mark, "add an entry with `type: mcp` and its tools")
        return Linked(document, None, (), tuple(problems.found))
    written = exposes[0].node.entries().get("tools")
    if written and written.value in ([], {}):
        _no_tools(problems, written.mark, "add a tool with its `name` and `call`")
    return Linked(document, exposes[0], tuple(link_tools(exposes[0], targets, scope)), tuple(problems.found), rest)


def _no_tools(problems: Problems, mark: Mark, hint: str) -> None:
    problems.error(mark, "no-tools", "nothing is exposed over MCP", hint)
