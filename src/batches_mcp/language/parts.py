"""Adapters do not keep each other from being served: what is wrong with one of them alone is a warning."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from batches_mcp.core.diagnostics import Diagnostic, Severity
from batches_mcp.language.link import Linked
from batches_mcp.language.model import McpExpose, RestExpose

_SERVED_OVER = {McpExpose.part: "MCP", RestExpose.part: "REST"}
# To be mended whatever is served.
_NEVER_LESS = {"secret-in-file"}


def settled(linked: Linked, problems: Iterable[Diagnostic]) -> tuple[Linked, list[Diagnostic]]:
    """The file without the adapter that all errors stand in, if another one is left, and with them as warnings."""
    found = list(problems)
    broken = {"" if each.code in _NEVER_LESS else each.part for each in found if each.severity is Severity.ERROR}
    if broken == {RestExpose.part} and linked.tools:
        return replace(linked, rest=None), _lessened(found, RestExpose.part)
    if broken == {McpExpose.part} and linked.rest is not None and linked.rest.routes:
        return replace(linked, tools=(), resources=(), prompts=()), _lessened(found, McpExpose.part)
    return linked, found


def _lessened(problems: Iterable[Diagnostic], part: str) -> list[Diagnostic]:
    consequence = f"nothing is served over {_SERVED_OVER[part]}"
    return [
        replace(each, severity=Severity.WARNING, hint="; ".join(filter(None, (each.hint, consequence))))
        if each.severity is Severity.ERROR and each.code != "no-tools"
        else replace(each, severity=Severity.WARNING)
        for each in problems
    ]
