"""What of a compiled file a server offers: its tools, and with them its resources, prompts and routes. Pure.

The one place that decides it: whatever leaves a tool out closes every other way to the operation that it calls.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from batches_mcp.core.diagnostics import did_you_mean
from batches_mcp.core.errors import UsageError
from batches_mcp.core.plan import ToolPlan
from batches_mcp.core.server_plan import PromptPlan, RestPlan, RoutePlan, ServerPlan


@dataclass(frozen=True, slots=True)
class Choice:
    """What the operator wants served; `read_only` and `exclude` win over `only`, which is everything when empty.

    With a cap on costs, `priced` names the behaviours whose costs are estimated; None: there is no cap.
    """

    read_only: bool = False
    only: Collection[str] = ()
    exclude: Collection[str] = ()
    priced: Collection[str] | None = None

    def includes(self, tool: ToolPlan) -> bool:
        """Whether a tool is not left out by its name."""
        return tool.name not in self.exclude and (not self.only or tool.name in self.only)

    def bounds(self, tool: ToolPlan) -> bool:
        """Whether a call cannot spend what nobody estimated: a POST without a behaviour might, unless it is free."""
        known = tool.request.method != "POST" or tool.request.free
        return self.priced is None or known or tool.behavior in self.priced


EVERYTHING = Choice()


@dataclass(frozen=True, slots=True)
class Offer:
    """What is served; `unbounded` are the names of what the cap on costs leaves out."""

    server: ServerPlan
    rest: RestPlan | None
    unbounded: tuple[str, ...]


def offer(plan: ServerPlan, rest: RestPlan | None = None, choice: Choice = EVERYTHING) -> Offer:
    """What of a file is served.

    Raises:
        UsageError: a name is not a tool's, or nothing is left to serve.
    """
    chosen = _tools(plan.tools, choice)
    tools = tuple(tool for tool in chosen if choice.bounds(tool))
    if chosen and not tools:
        raise UsageError("--max-cost-usd leaves no tool to serve: nothing is known of what they spend")
    left_out = _operations(plan.tools) - _operations(tools)
    server = replace(
        plan,
        tools=tools,
        resources=tuple(
            each for each in plan.resources if each.call is None or each.call.request.operation not in left_out
        ),
        prompts=tuple(each for each in plan.prompts if _usable(each, plan.tools, tools)),
    )
    unbounded = [tool.name for tool in chosen if tool not in tools]
    if rest is not None:
        rest, more = _routes(rest, plan.tools, choice)
        unbounded += more
    return Offer(server, rest, tuple(dict.fromkeys(unbounded)))


def _tools(tools: tuple[ToolPlan, ...], choice: Choice) -> tuple[ToolPlan, ...]:
    names = [tool.name for tool in tools]
    if not tools and not choice.only and not choice.exclude:
        return ()  # nothing is served over MCP
    for flag, given in (("--tools", choice.only), ("--exclude", choice.exclude)):
        for name in given:
            if name not in names:
                hint = did_you_mean(name, names)
                raise UsageError(f"{flag}: there is no tool called {name}{'; ' if hint else ''}{hint}")
    left = tuple(tool for tool in tools if choice.includes(tool) and (tool.hints.read_only or not choice.read_only))
    if not left:
        raise UsageError("--read-only, --tools and --exclude together leave no tool to serve")
    return left


def _usable(prompt: PromptPlan, tools: Collection[ToolPlan], served: Collection[ToolPlan]) -> bool:
    """Whether the tools that a prompt names are served, with the arguments that it names between backticks."""
    text = "".join(part for _, template in prompt.messages for part in template.parts if isinstance(part, str))
    quoted = set(re.findall(r"`([^`]+)`", text))
    named = [tool for tool in tools if re.search(rf"(?<![\w-]){re.escape(tool.name)}(?![\w-])", text)]
    return all(tool in served and not quoted & tool.unavailable.keys() for tool in named)


def _routes(rest: RestPlan, tools: Collection[ToolPlan], choice: Choice) -> tuple[RestPlan, list[str]]:
    """The routes without those to what a tool that is left out calls; an operation that no tool calls stays."""
    left_out = _operations(tools) - _operations(tool for tool in tools if choice.includes(tool))
    # What hands on whatever it is asked for would be a door to them all.
    closed = {operation.partition(".")[0] for operation in left_out}

    def stays(route: RoutePlan) -> bool:
        operation = route.tool.request.operation
        return (
            (route.reads_only or not choice.read_only)
            and operation not in left_out
            and not (route.forwards and operation.partition(".")[0] in closed)
        )

    chosen = [route for route in rest.routes if stays(route)]
    if not chosen:
        raise UsageError("--rest: --read-only, --tools and --exclude together leave no operation to serve")
    routes = tuple(route for route in chosen if choice.bounds(route.tool))
    if not routes:
        raise UsageError("--max-cost-usd leaves no operation to serve: nothing is known of what they spend")
    return replace(rest, routes=routes), [route.tool.name for route in chosen if not choice.bounds(route.tool)]


def _operations(tools: Iterable[ToolPlan]) -> set[str]:
    return {tool.request.operation for tool in tools}
