"""A call's way from a name with arguments to a result, and what a server's handlers share."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mcp.types as t
from mcp.shared.exceptions import MCPError
from starlette.requests import Request

from batches_mcp.core.diagnostics import did_you_mean
from batches_mcp.core.errors import ErrorReport
from batches_mcp.core.logs import FIELDS
from batches_mcp.core.plan import ToolPlan
from batches_mcp.core.redact import Redactor, excerpt
from batches_mcp.exchange import result
from batches_mcp.exchange.arguments import ArgumentCheck
from batches_mcp.serve.boundary import attempt
from batches_mcp.serve.callers import Callers
from batches_mcp.serve.draining import Draining
from batches_mcp.serve.progress import Report, increasing
from batches_mcp.tools.admit import admit
from batches_mcp.tools.behaviors import Behavior
from batches_mcp.tools.call import Call
from batches_mcp.tools.confirm import Ask, nobody

log = logging.getLogger(__name__)

ERROR_META = "batches-mcp/error"


def server_url(request: Request | None) -> str | None:
    """Where the caller reaches this server, if it does so over HTTP; its host is one that the gate has let through."""
    return str(request.base_url) if request is not None else None


@dataclass(frozen=True, slots=True)
class Calls:
    """Answers tool calls: everything between a name with arguments and a result."""

    tools: Mapping[str, tuple[ToolPlan, ArgumentCheck]]
    callers: Callers
    behaviors: Mapping[str, Behavior]
    redactor: Redactor
    draining: Draining

    async def call(
        self,
        name: str,
        arguments: Mapping[str, Any],
        progress: Report,
        request: Request | None = None,
        ask: Ask = nobody,
    ) -> t.CallToolResult:
        """Call a tool. What goes wrong is in the result, never raised, but for a name that is not a tool's.

        `request` is the one of HTTP that the call came with, if it came so.

        Raises:
            MCPError: there is no such tool (-32602), or what `ask` raises.
        """
        if name not in self.tools:
            hint = did_you_mean(name, list(self.tools))
            raise MCPError(t.INVALID_PARAMS, "; ".join(filter(None, [f"Unknown tool: {excerpt(name, 100)}", hint])))
        clock = self.callers.runtime.forward.upstream.clock
        began_s = clock.now_s()
        found = await attempt(f"tool {name}", self.content(*self.tools[name], arguments, progress, request, ask))
        if log.isEnabledFor(logging.INFO):
            _log_call(name, found.type if isinstance(found, ErrorReport) else None, clock.now_s() - began_s)
        return self._failure(found) if isinstance(found, ErrorReport) else self._success(found)

    async def content(
        self,
        tool: ToolPlan,
        check: ArgumentCheck,
        arguments: Mapping[str, Any],
        progress: Report,
        request: Request | None,
        ask: Ask = nobody,
    ) -> dict[str, Any]:
        """The structured content that a call comes to.

        Raises:
            CallError: whatever went wrong.
        """
        arguments = check.meant(arguments)
        rising = increasing(progress)
        runtime = await self.callers.of(request, tool.name)

        async def answer() -> dict[str, Any]:
            call = Call(runtime, tool, arguments, rising, server_url(request), ask)
            await admit(call)
            if tool.behavior is None:
                return await runtime.forward.content(tool, arguments)
            return await self.behaviors[tool.behavior].answer(call)

        return await self.draining.call(answer, changes=tool.request.method != "GET")

    def masked(self, content: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """Content with secrets masked, and its JSON text."""
        text = result.encode(content)
        if self.redactor.found_in(text):
            content = self.redactor.json(content)
            text = result.encode(content)
        return content, text

    def error(self, code: int, message: str, data: Mapping[str, Any] | None = None) -> MCPError:
        """An error of the protocol, with secrets masked."""
        return MCPError(code, self.redactor.text(message), self.redactor.json(dict(data)) if data else None)

    def _success(self, content: dict[str, Any]) -> t.CallToolResult:
        content, text = self.masked(content)
        return t.CallToolResult(content=[t.TextContent(type="text", text=text)], structured_content=content)

    def _failure(self, report: ErrorReport) -> t.CallToolResult:
        return t.CallToolResult(
            content=[t.TextContent(type="text", text=self.redactor.text(report.text()))],
            is_error=True,
            _meta={ERROR_META: self.redactor.json(report.data())},
        )


def _log_call(tool: str, error_type: str | None, duration_s: float) -> None:
    fields: dict[str, Any] = {"tool": tool, "duration_s": round(duration_s, 6)}
    if error_type is not None:
        fields["error_type"] = error_type
    log.info("tool %s: %s", tool, error_type or "answered", extra={FIELDS: fields})
