"""Plans -> an MCP server: one list handler and one call handler for tools, and what else the plan has."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import mcp.types as t
from mcp.server.caching import CacheHint
from mcp.server.context import ServerMiddleware, ServerRequestContext
from mcp.server.lowlevel import Server
from pydantic import SecretStr

from batches_mcp import __version__
from batches_mcp.core.plan import BehaviorName, ToolPlan
from batches_mcp.core.redact import Redactor
from batches_mcp.core.server_plan import ServerPlan
from batches_mcp.exchange.arguments import ArgumentCheck
from batches_mcp.exchange.upstream import Upstream
from batches_mcp.serve import completion, dashboard, prompts, resources
from batches_mcp.serve.callers import Callers, Guard
from batches_mcp.serve.calls import Calls
from batches_mcp.serve.draining import Draining
from batches_mcp.serve.identity import ICON, WEBSITE_URL
from batches_mcp.serve.questions import AnswerNeeded, Questions
from batches_mcp.serve.requestids import identify
from batches_mcp.store.state import State
from batches_mcp.tools.behaviors import Behavior
from batches_mcp.tools.behaviors import load as load_answers
from batches_mcp.work.account import Account
from batches_mcp.work.runtime import running

if TYPE_CHECKING:
    from batches_mcp.serve.jobs import SharedJobs

log = logging.getLogger(__name__)

# What is under way gets this long to end when nobody has said otherwise.
_DRAIN_S = 2.0
# By then the list that was asked for has been sent.
_LOAD_AFTER_S = 0.05

# Claude Code looks for tools that are not loaded yet by this.
_SEARCH_HINT = "anthropic/searchHint"

# The lists are the same for every caller and change only with the server, so clients may keep them for a while.
_LIST_TTL_MS = 300_000


def build_server(
    plan: ServerPlan,
    behaviors: Mapping[str, Behavior],
    variables: Mapping[str, SecretStr],
    redactor: Redactor,
    state: State,
    upstream: Upstream | None = None,
    *,
    ledger: bool = True,
    account: str | None = None,
    draining: Draining | None = None,
    opened: Callable[[Callers], object] = lambda _: None,
    guard: Guard | None = None,
    middleware: Sequence[ServerMiddleware[Any]] = (),
) -> Server[Calls]:
    """An MCP server for a compiled capability; `upstream` is entered and left with the server's own life.

    `ledger` and `account` are those of `running`. `draining` ends what it has under way. `opened` is given how calls
    are told apart, once there is anything that they share. With a `guard` every call must have passed a door.
    `middleware` is around every message.
    """
    ending = draining or Draining(_DRAIN_S)
    listed = anyio.Event()
    tools = {tool.name: (tool, ArgumentCheck(tool, others=plan.tools)) for tool in plan.tools}
    listing = t.ListToolsResult(tools=[tool_of(tool) for tool in plan.tools])
    schemas = {tool.name: tool.input_schema for tool in listing.tools}

    @asynccontextmanager
    async def lifespan(_: Server[Calls]) -> AsyncIterator[Calls]:
        life = running(
            variables,
            state,
            upstream,
            ledger=ledger,
            account=account,
            key_variable=None if guard is None else guard.key_variable,
            drain_s=lambda: ending.left_s,
        )
        async with life as runtime:
            callers = Callers(runtime, guard)
            opened(callers)
            runtime.tasks.start_soon(_send_no_more, ending, runtime.forward.upstream)
            checks = [check for _, check in tools.values()]
            runtime.tasks.start_soon(_load_for_calls, listed, checks, runtime.forward.upstream)
            for tool in plan.tools:
                begin = behaviors[tool.behavior].begin if tool.behavior else None
                if begin is not None:
                    for each in callers.accounts:
                        runtime.tasks.start_soon(begin, Account(each, tool))
            if guard is not None:
                from batches_mcp.work.approvals import Sender

                for tool in plan.tools:
                    if tool.behavior is BehaviorName.SUBMIT:
                        for each in callers.accounts:
                            runtime.tasks.start_soon(Sender(Account(each, tool)).keep_sending)
            yield Calls(tools, callers, behaviors, redactor, ending)
        log.debug("lifespan closed")

    async def list_tools(
        _context: ServerRequestContext[Calls], _params: t.PaginatedRequestParams | None
    ) -> t.ListToolsResult:
        listed.set()
        return listing

    async def call_tool(
        context: ServerRequestContext[Calls], params: t.CallToolRequestParams
    ) -> t.CallToolResult | t.InputRequiredResult:
        calls = context.lifespan_context
        ask = Questions(context, params).ask
        try:
            answer = await calls.call(
                params.name, params.arguments or {}, context.session.report_progress, context.request, ask
            )
        except AnswerNeeded as needed:
            return needed.result()
        if context.protocol_version >= resources.LINKS_SINCE:
            tool, _ = calls.tools[params.name]
            answer.content += resources.links(plan.resources, behaviors, tool, answer.structured_content or {})
        return answer

    hint = CacheHint(ttl_ms=_LIST_TTL_MS, scope="public")
    server = Server(
        plan.name,
        version=__version__,
        title=plan.title,
        instructions=plan.instructions,
        website_url=WEBSITE_URL,
        icons=[t.Icon(src=ICON, mime_type="image/svg+xml", sizes=["any"])],
        lifespan=lifespan,
        cache_hints={
            "tools/list": hint,
            "resources/list": hint,
            "resources/templates/list": hint,
            "prompts/list": hint,
            "server/discover": hint,
        },
        get_tool_input_schema=schemas.get,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
    server.middleware += [identify, *middleware]
    shows_batches = dashboard.is_served(plan.tools)
    if shows_batches:
        server.extensions[dashboard.EXTENSION] = {}
    jobs: SharedJobs | None = None
    if shows_batches and state.shared_jobs is not None:
        from batches_mcp.serve.jobs import SharedJobs

        jobs = SharedJobs(state.shared_jobs, [tool for tool in plan.tools if tool.behavior is not None])
    if plan.resources or shows_batches:
        resources.add(server, plan.resources, plan.tools, jobs)
    if plan.prompts:
        prompts.add(server, plan.prompts)
    completion.add(server, plan, behaviors, jobs)
    return server


async def _send_no_more(draining: Draining, upstream: Upstream) -> None:
    """Creates that wait for their turn when the server begins to end are not sent."""
    await draining.begun.wait()
    upstream.uploads.close()


async def _load_for_calls(listed: anyio.Event, checks: Sequence[ArgumentCheck], upstream: Upstream) -> None:
    """Once the tools are listed, import and make in the background what the first call would otherwise wait for."""

    def load() -> None:
        try:
            for check in checks:
                check.load()
            upstream.load()
            load_answers()
            log.debug("what calls need is loaded")
        except (ImportError, OSError, ValueError) as error:  # the call that needs it says so
            log.debug("what calls need could not be loaded: %s", error)

    await listed.wait()
    await anyio.sleep(_LOAD_AFTER_S)
    await anyio.to_thread.run_sync(load, abandon_on_cancel=True)


def tool_of(plan: ToolPlan) -> t.Tool:
    """A tool as clients see it; all four hints are sent, since MCP's defaults are easily misread."""
    hint = {_SEARCH_HINT: plan.search_hint} if plan.search_hint else {}
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
        _meta={**hint, **dashboard.tool_meta(plan)} or None,
    )
