"""Plans -> an MCP server: one list handler, one call handler, and the one boundary that turns errors into results."""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import mcp.types as t
from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from pydantic import SecretStr

from batches_mcp import __version__, result
from batches_mcp.arguments import ArgumentCheck
from batches_mcp.batch.behaviors import Behavior
from batches_mcp.batch.call import Call, Desk, Progress
from batches_mcp.batch.records import AllRecords
from batches_mcp.errors import CallError, ErrorReport
from batches_mcp.forward import Forward
from batches_mcp.plan import ServerPlan, ToolPlan
from batches_mcp.redact import Redactor, excerpt
from batches_mcp.state import StateFolder
from batches_mcp.upstream import Upstream

log = logging.getLogger(__name__)

ERROR_META = "batches-mcp/error"

# Creates under way get this long to be answered when the server ends; hosts wait about as long before they kill it.
_GRACE_S = 2.0

# The list is the same for every caller and changes only with the server, so clients may keep it for a while.
_LIST_TTL_MS = 300_000


@dataclass(frozen=True, slots=True)
class Calls:
    """Answers tool calls: everything between a name with arguments and a result."""

    tools: Mapping[str, tuple[ToolPlan, ArgumentCheck]]
    desk: Desk
    behaviors: Mapping[str, Behavior]
    redactor: Redactor

    async def call(
        self, name: str, arguments: Mapping[str, Any], progress: Progress, server_url: str | None = None
    ) -> t.CallToolResult:
        """Call a tool. What goes wrong is in the result, never raised, but for a name that is no tool's.

        Raises:
            MCPError: there is no such tool (-32602).
        """
        if name not in self.tools:
            raise MCPError(t.INVALID_PARAMS, f"Unknown tool: {excerpt(name, 100)}")
        try:
            return self._success(await self._content(*self.tools[name], arguments, progress, server_url))
        except CallError as error:
            return self._failure(error.report)
        except Exception:
            # The one boundary: the SDK would hand the exception's text to clients of the 2025 revisions.
            reference = secrets.token_hex(4)
            log.exception("tool %s failed unexpectedly (reference %s)", name, reference)
            return self._failure(
                ErrorReport(
                    "internal_error",
                    f"the server failed in a way it should not (reference {reference}).",
                    f"Tell the user; the server's log (stderr) has the details under {reference}.",
                )
            )

    async def _content(
        self,
        tool: ToolPlan,
        check: ArgumentCheck,
        arguments: Mapping[str, Any],
        progress: Progress,
        server_url: str | None,
    ) -> dict[str, Any]:
        check(arguments)
        if tool.behavior is None:
            return await self.desk.forward.content(tool, arguments)
        return await self.behaviors[tool.behavior].answer(Call(self.desk, tool, arguments, progress, server_url))

    def _success(self, content: dict[str, Any]) -> t.CallToolResult:
        text = result.encode(content)
        if self.redactor.found_in(text):
            content = self.redactor.json(content)
            text = result.encode(content)
        return t.CallToolResult(content=[t.TextContent(type="text", text=text)], structured_content=content)

    def _failure(self, report: ErrorReport) -> t.CallToolResult:
        return t.CallToolResult(
            content=[t.TextContent(type="text", text=self.redactor.text(report.text()))],
            is_error=True,
            _meta={ERROR_META: self.redactor.json(report.data())},
        )


def build_server(
    plan: ServerPlan,
    behaviors: Mapping[str, Behavior],
    variables: Mapping[str, SecretStr],
    redactor: Redactor,
    state: StateFolder,
    upstream: Upstream | None = None,
    *,
    ledger: bool = True,
    opened: Callable[[Desk], object] = lambda _: None,
) -> Server[Calls]:
    """An MCP server for a compiled capability; `upstream` is entered and left with the server's own life.

    Without a `ledger` nothing is remembered of creates. `opened` is told what its calls share, once there is such a
    thing.
    """
    tools = {tool.name: (tool, ArgumentCheck(tool)) for tool in plan.tools}
    listing = t.ListToolsResult(tools=[tool_of(tool) for tool in plan.tools])
    schemas = {tool.name: tool.input_schema for tool in listing.tools}

    @asynccontextmanager
    async def lifespan(_: Server[Calls]) -> AsyncIterator[Calls]:
        records = AllRecords(state) if ledger else None
        try:
            async with upstream or Upstream() as entered, anyio.create_task_group() as tasks:
                desk = Desk(Forward(variables, entered), state, tasks, records)
                opened(desk)
                for tool in plan.tools:
                    begin = behaviors[tool.behavior].begin if tool.behavior else None
                    if begin is not None:
                        tasks.start_soon(begin, desk, tool)
                try:
                    yield Calls(tools, desk, behaviors, redactor)
                finally:
                    await desk.underway.finish(_GRACE_S)
                    if records is not None:
                        records.stopping.set()
                tasks.cancel_scope.cancel()
        finally:
            if records is not None:
                records.close()
            log.debug("lifespan closed")

    async def list_tools(
        _context: ServerRequestContext[Calls], _params: t.PaginatedRequestParams | None
    ) -> t.ListToolsResult:
        return listing

    async def call_tool(context: ServerRequestContext[Calls], params: t.CallToolRequestParams) -> t.CallToolResult:
        calls = context.lifespan_context
        # Over HTTP; its host is one that the gate has let through.
        server_url = str(context.request.base_url) if context.request is not None else None
        return await calls.call(params.name, params.arguments or {}, context.session.report_progress, server_url)

    hint = CacheHint(ttl_ms=_LIST_TTL_MS, scope="public")
    return Server(
        plan.name,
        version=__version__,
        title=plan.title,
        instructions=plan.instructions,
        lifespan=lifespan,
        cache_hints={"tools/list": hint, "server/discover": hint},
        get_tool_input_schema=schemas.get,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def tool_of(plan: ToolPlan) -> t.Tool:
    """A tool as clients see it; all four hints are sent, since MCP's defaults are easily misread."""
    return t.Tool(
        name=plan.name,
        title=plan.title,
        description=plan.description,
        input_schema=dict(plan.input_schema),
        output_schema=dict(plan.output_schema) if plan.output_schema is not None else None,
        annotations=t.ToolAnnotations(
            title=plan.title,
            read_only_hint=plan.hints.read_only,
            destructive_hint=plan.hints.destructive,
            idempotent_hint=plan.hints.idempotent,
            open_world_hint=plan.hints.open_world,
        ),
    )
