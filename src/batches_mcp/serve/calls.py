"""A call's way from a name with arguments to a result, and what a server's handlers share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mcp.types as t
from mcp.shared.exceptions import MCPError

from batches_mcp.core.diagnostics import did_you_mean
from batches_mcp.core.errors import ErrorReport
from batches_mcp.core.plan import ToolPlan
from batches_mcp.core.redact import Redactor, excerpt
from batches_mcp.exchange import result
from batches_mcp.exchange.arguments import ArgumentCheck
from batches_mcp.serve.boundary import attempt
from batches_mcp.serve.draining import Draining
from batches_mcp.serve.progress import Report, increasing
from batches_mcp.tools.behaviors import Behavior
from batches_mcp.tools.call import Call
from batches_mcp.tools.confirm import Ask, nobody
from batches_mcp.work.runtime import Runtime

ERROR_META = "batches-mcp/error"


@dataclass(frozen=True, slots=True)
class Calls:
    """Answers tool calls: everything between a name with arguments and a result."""

    tools: Mapping[str, tuple[ToolPlan, ArgumentCheck]]
    runtime: Runtime
    behaviors: Mapping[str, Behavior]
    redactor: Redactor
    draining: Draining

    async def call(
        self,
        name: str,
        arguments: Mapping[str, Any],
        progress: Report,
        server_url: str | None = None,
        ask: Ask = nobody,
    ) -> t.CallToolResult:
        """Call a tool. What goes wrong is in the result, never raised, but for a name that is not a tool's.

        Raises:
            MCPError: there is no such tool (-32602), or what `ask` raises.
        """
        if name not in self.tools:
            hint = did_you_mean(name, list(self.tools))
            raise MCPError(t.INVALID_PARAMS, "; ".join(filter(None, [f"Unknown tool: {excerpt(name, 100)}", hint])))
        found = await attempt(f"tool {name}", self.content(*self.tools[name], arguments, progress, server_url, ask))
        return self._failure(found) if isinstance(found, ErrorReport) else self._success(found)

    async def content(
        self,
        tool: ToolPlan,
        check: ArgumentCheck,
        arguments: Mapping[str, Any],
        progress: Report,
        server_url: str | None,
        ask: Ask = nobody,
    ) -> dict[str, Any]:
        """The structured content that a call comes to.

        Raises:
            CallError: whatever went wrong.
        """
        arguments = check.meant(arguments)
        told = increasing(progress)

        async def answer() -> dict[str, Any]:
            if tool.behavior is None:
                return await self.runtime.forward.content(tool, arguments)
            call = Call(self.runtime, tool, arguments, told, server_url, ask)
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
