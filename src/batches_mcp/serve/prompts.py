"""Prompts: listing them, and filling the user's arguments in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import mcp.types as t
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server

from batches_mcp.core.diagnostics import did_you_mean
from batches_mcp.core.plan import Argument, Template
from batches_mcp.core.redact import excerpt
from batches_mcp.core.server_plan import PromptPlan
from batches_mcp.exchange import result
from batches_mcp.serve.calls import Calls


def add(server: Server[Calls], prompts: Sequence[PromptPlan]) -> None:
    """Let a server list and give out these prompts."""
    by_name = {each.name: each for each in prompts}
    listing = t.ListPromptsResult(prompts=[_prompt(each) for each in prompts])

    async def list_prompts(_: ServerRequestContext[Calls], __: t.PaginatedRequestParams) -> t.ListPromptsResult:
        return listing

    async def get(context: ServerRequestContext[Calls], params: t.GetPromptRequestParams) -> t.GetPromptResult:
        calls, arguments = context.lifespan_context, params.arguments or {}
        prompt = by_name.get(params.name)
        if prompt is None:
            unknown = [f"Unknown prompt: {excerpt(params.name, 100)}", did_you_mean(params.name, list(by_name))]
            raise calls.error(t.INVALID_PARAMS, "; ".join(filter(None, unknown)))
        problems = "; ".join(_problems(prompt, arguments))
        if problems:
            raise calls.error(t.INVALID_PARAMS, f"The arguments of prompt {prompt.name} do not fit: {problems}.")
        messages = [(role, calls.redactor.text(_filled(template, arguments))) for role, template in prompt.messages]
        if not result.fits("".join(text for _, text in messages)):
            message = (
                f"Prompt {prompt.name} would be longer than {result.MAX_CHARS:,} characters: shorten its arguments."
            )
            raise calls.error(t.INVALID_PARAMS, message)
        return t.GetPromptResult(
            description=prompt.description or None,
            messages=[t.PromptMessage(role=role, content=t.TextContent(text=text)) for role, text in messages],
        )

    server.add_request_handler("prompts/list", t.PaginatedRequestParams, list_prompts)
    server.add_request_handler("prompts/get", t.GetPromptRequestParams, get)


def _prompt(plan: PromptPlan) -> t.Prompt:
    return t.Prompt(
        name=plan.name,
        title=plan.title,
        description=plan.description or None,
        arguments=[
            t.PromptArgument(
                name=each.name, title=each.title, description=each.description or None, required=each.required
            )
            for each in plan.arguments
        ],
    )


def _problems(plan: PromptPlan, arguments: Mapping[str, str]) -> Iterator[str]:
    known = [each.name for each in plan.arguments]
    for each in plan.arguments:
        if each.required and not arguments.get(each.name, "").strip():
            yield f"{each.name} is missing; it is required"
    for name in arguments:
        if name not in known:
            hint = did_you_mean(name, known) if known else "it takes none"
            yield ", ".join(filter(None, [f"{excerpt(name, 60)} is not an argument of it", hint]))


def _filled(template: Template, arguments: Mapping[str, str]) -> str:
    """The text with the arguments in it, each once; what the user left out is empty."""
    return "".join(arguments.get(part.name, "") if isinstance(part, Argument) else str(part) for part in template.parts)
