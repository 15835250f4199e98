"""Resources: listing them, reading them by URI, and linking to them from what tools answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import mcp.types as t
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server

from batches_mcp.core.errors import ErrorReport
from batches_mcp.core.plan import ToolPlan
from batches_mcp.core.redact import excerpt
from batches_mcp.core.server_plan import ResourcePlan
from batches_mcp.exchange import result
from batches_mcp.exchange.arguments import ArgumentCheck
from batches_mcp.language import uri
from batches_mcp.serve import dashboard
from batches_mcp.serve.boundary import attempt
from batches_mcp.serve.calls import ERROR_META, Calls
from batches_mcp.tools.behaviors import Behavior

if TYPE_CHECKING:  # where no jobs can be, nothing of them is imported
    from batches_mcp.serve.jobs import SharedJobs

# The revision that brought links into results; older clients know no such content.
LINKS_SINCE = "2025-06-18"
_NOT_FOUND = 404


def add(
    server: Server[Calls],
    resources: Sequence[ResourcePlan],
    tools: Sequence[ToolPlan],
    jobs: SharedJobs | None,
) -> None:
    """Let a server list and read these resources, the dashboard if there is a tool that it shows, and jobs if any."""
    listed = [_resource(each) for each in resources if not each.variables]
    patterns = [_template(each) for each in resources if each.variables]
    shows_batches = dashboard.is_served(tools)
    if shows_batches:
        listed.append(dashboard.resource())
    if jobs is not None:
        listed.append(jobs.listed)
        patterns.append(jobs.template)
    listing = t.ListResourcesResult(resources=listed)
    templates = t.ListResourceTemplatesResult(resource_templates=patterns)
    checks = {each.name: ArgumentCheck(each.call) for each in resources if each.call is not None}

    async def list_resources(_: ServerRequestContext[Calls], __: t.PaginatedRequestParams) -> t.ListResourcesResult:
        return listing

    async def list_templates(
        _: ServerRequestContext[Calls], __: t.PaginatedRequestParams
    ) -> t.ListResourceTemplatesResult:
        return templates

    async def read(context: ServerRequestContext[Calls], params: t.ReadResourceRequestParams) -> t.ReadResourceResult:
        calls = context.lifespan_context
        if shows_batches and params.uri == dashboard.URI:
            return t.ReadResourceResult(contents=[dashboard.contents(tools, jobs=jobs is not None)])
        if jobs is not None and jobs.reads(params.uri):
            return _read(calls, params.uri, await attempt("jobs", jobs.content(calls, params.uri, context.request)))
        for resource in resources:
            values = uri.match(resource.uri, params.uri)
            if values is not None:
                break
        else:
            raise calls.error(t.INVALID_PARAMS, f"Unknown resource: {excerpt(params.uri, 200)}", {"uri": params.uri})
        if resource.call is None:
            return _contents(calls, params.uri, calls.redactor.text(resource.text), resource.mime_type)
        content = calls.content(
            resource.call,
            checks[resource.name],
            values,
            context.session.report_progress,
            context.request,
        )
        found = await attempt(f"resource {resource.name}", content)
        return _read(calls, params.uri, found, resource.mime_type)

    server.add_request_handler("resources/list", t.PaginatedRequestParams, list_resources)
    server.add_request_handler("resources/templates/list", t.PaginatedRequestParams, list_templates)
    server.add_request_handler("resources/read", t.ReadResourceRequestParams, read)


def links(
    resources: Sequence[ResourcePlan], behaviors: Mapping[str, Behavior], tool: ToolPlan, content: Mapping[str, Any]
) -> list[t.ResourceLink]:
    """A link to the resource that tells most beyond an answer of a tool, if there is one: the last in the file."""
    for each in reversed(resources):
        behavior = behaviors.get(each.call.behavior or "") if each.call is not None else None
        values = behavior.about(content) if behavior is not None else None
        if values is not None and values.keys() >= set(each.variables):
            if each.call is not None and each.call.behavior == tool.behavior:
                return []
            found = uri.expand(each.uri, values)
            return [t.ResourceLink(uri=found, name=each.name, title=each.title, mime_type=each.mime_type)]
    return []


def _read(
    calls: Calls, read: str, found: dict[str, Any] | ErrorReport, mime_type: str | None = "application/json"
) -> t.ReadResourceResult:
    if isinstance(found, ErrorReport):
        raise _error(calls, read, found)
    _, text = calls.masked(found)
    return _contents(calls, read, text, mime_type)


def _contents(calls: Calls, read: str, text: str, mime_type: str | None) -> t.ReadResourceResult:
    if not result.fits(text):
        message = f"{excerpt(read, 200)} has {len(text):,} characters, more than one answer may hold."
        raise calls.error(t.INTERNAL_ERROR, message, {"uri": read})
    return t.ReadResourceResult(contents=[t.TextResourceContents(uri=read, mime_type=mime_type, text=text)])


def _error(calls: Calls, read: str, report: ErrorReport) -> Exception:
    """What the upstream does not have is an unknown resource; what else goes wrong is not the caller's fault."""
    unknown = report.status == _NOT_FOUND or report.type == "invalid_arguments"
    code = t.INVALID_PARAMS if unknown else t.INTERNAL_ERROR
    return calls.error(code, report.text(), {"uri": read, ERROR_META: report.data()})


def _resource(plan: ResourcePlan) -> t.Resource:
    return t.Resource(
        uri=plan.template,
        name=plan.name,
        title=plan.title,
        description=plan.description or None,
        mime_type=plan.mime_type,
        size=len(plan.text.encode()) if plan.call is None else None,
    )


def _template(plan: ResourcePlan) -> t.ResourceTemplate:
    return t.ResourceTemplate(
        uri_template=plan.template,
        name=plan.name,
        title=plan.title,
        description=plan.description or None,
        mime_type=plan.mime_type,
    )
