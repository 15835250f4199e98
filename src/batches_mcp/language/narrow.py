"""What of a compiled file a server offers: the tools it is told to, and with them what they make possible. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace

from batches_mcp.core.plan import PromptPlan, ServerPlan, ToolPlan
from batches_mcp.language.compile import select_tools


def narrow(
    plan: ServerPlan, *, read_only: bool = False, only: Collection[str] = (), exclude: Collection[str] = ()
) -> ServerPlan:
    """The plan without the tools that are not wanted, the resources that only those would read, and the prompts that
    name them, or arguments that are not available on this server.

    Raises:
        UsageError: a name is not a tool's, or no tool is left.
    """
    tools = select_tools(plan.tools, read_only=read_only, only=only, exclude=exclude)
    withheld = {tool.request.operation for tool in plan.tools} - {tool.request.operation for tool in tools}
    return replace(
        plan,
        tools=tools,
        resources=tuple(
            each for each in plan.resources if each.call is None or each.call.request.operation not in withheld
        ),
        prompts=tuple(each for each in plan.prompts if _usable(each, plan.tools, tools)),
    )


def _usable(prompt: PromptPlan, tools: Collection[ToolPlan], served: Collection[ToolPlan]) -> bool:
    """Whether the tools that a prompt names are served, with the arguments that it names between backticks."""
    text = "".join(part for _, template in prompt.messages for part in template.parts if isinstance(part, str))
    quoted = set(re.findall(r"`([^`]+)`", text))
    named = [tool for tool in tools if re.search(rf"(?<![\w-]){re.escape(tool.name)}(?![\w-])", text)]
    return all(tool in served and not quoted & tool.unavailable.keys() for tool in named)
