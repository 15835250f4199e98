"""Completion: values for the variables of resources and the arguments of prompts, while a user types them."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING

import mcp.types as t
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server

from batches_mcp.core.errors import ErrorReport
from batches_mcp.core.plan import ToolPlan
from batches_mcp.core.redact import excerpt
from batches_mcp.core.server_plan import ServerPlan
from batches_mcp.serve.boundary import attempt
from batches_mcp.serve.calls import ERROR_META, Calls
from batches_mcp.tools.behaviors import Behavior, Completer
from batches_mcp.work.account import Account

if TYPE_CHECKING:  # where no jobs can be, nothing of them is imported
    from batches_mcp.serve.jobs import SharedJobs

# https://modelcontextprotocol.io/specification/2025-11-25/server/utilities/completion
_MOST_VALUES = 100


def add(
    server: Server[Calls], plan: ServerPlan, behaviors: Mapping[str, Behavior], jobs: SharedJobs | None = None
) -> None:
    """Let a server complete what its tools know the values of, if there is any such thing, and ids of jobs."""
    templates = {each.template: each.variables for each in plan.resources if each.variables}
    of_jobs = None if jobs is None else jobs.template.uri_template
    if of_jobs is not None:
        templates[of_jobs] = ("job_id",)
    prompts = {each.name: tuple(argument.name for argument in each.arguments) for each in plan.prompts}
    completers = _completers(plan, behaviors)
    if jobs is None and not any(
        name in completers for names in (*templates.values(), *prompts.values()) for name in names
    ):
        return

    async def complete(context: ServerRequestContext[Calls], params: t.CompleteRequestParams) -> t.CompleteResult:
        calls, name = context.lifespan_context, params.argument.name
        ref = params.ref
        kind, key, names = (
            ("prompt", ref.name, prompts.get(ref.name))
            if isinstance(ref, t.PromptReference)
            else ("resource template", ref.uri, templates.get(ref.uri))
        )
        if names is None:
            raise calls.error(t.INVALID_PARAMS, f"Unknown {kind}: {excerpt(key, 200)}")
        if name not in names:
            raise calls.error(t.INVALID_PARAMS, f"{excerpt(name, 60)} is not an argument of {kind} {key}")
        if jobs is not None and key == of_jobs:
            coming: Awaitable[Sequence[str]] = jobs.ids(calls, context.request)
        elif name in completers:
            coming = _offered(calls, context, *completers[name])
        else:
            return t.CompleteResult(completion=t.Completion(values=[]))
        found = await attempt(f"completion of {name}", coming)
        if isinstance(found, ErrorReport):
            raise calls.error(t.INTERNAL_ERROR, found.text(), {ERROR_META: found.data()})
        values = [value for value in found if value.startswith(params.argument.value)]
        return t.CompleteResult(
            completion=t.Completion(
                values=[calls.redactor.text(value) for value in values[:_MOST_VALUES]],
                total=len(values),
                has_more=len(values) > _MOST_VALUES,
            )
        )

    server.add_request_handler("completion/complete", t.CompleteRequestParams, complete)


async def _offered(
    calls: Calls, context: ServerRequestContext[Calls], completer: Completer, tool: ToolPlan
) -> Sequence[str]:
    async def answer() -> Sequence[str]:
        return await completer(Account(await calls.callers.of(context.request, tool.name), tool))

    return await calls.draining.call(answer, changes=False)


def _completers(plan: ServerPlan, behaviors: Mapping[str, Behavior]) -> dict[str, tuple[Completer, ToolPlan]]:
    """What is completed, by which tool: only tools that are served."""
    return {
        name: (completer, tool)
        for tool in plan.tools
        if tool.behavior is not None
        for name, completer in behaviors[tool.behavior].completes.items()
    }
