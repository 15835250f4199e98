"""Linked REST operations -> routes: where each is, and the call it makes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batches_mcp.core.errors import UsageError
from batches_mcp.core.plan import BehaviorName, HintsPlan, Place, RequestPlan, ToolPlan
from batches_mcp.core.server_plan import RestPlan, RoutePlan
from batches_mcp.language.compile import behavior_of, input_schema, request_plan, result_plan, title, title_of
from batches_mcp.language.link import Linked
from batches_mcp.language.origins import origin_of
from batches_mcp.language.route import LinkedRoute

# RFC 9110 9.2.2; GET is one of them anyhow.
_IDEMPOTENT = {"PUT", "DELETE"}


def compile_rest(linked: Linked, base_url: str | None = None, environment: Mapping[str, str] | None = None) -> RestPlan:
    """Compile what a linked file exposes over REST; `base_url` and `environment` are as for `compile_server`.

    Raises:
        UsageError: it exposes nothing over REST, or the base URL cannot be used for it.
    """
    if linked.rest is None or not linked.rest.routes:
        raise UsageError("--rest: the capability file exposes nothing over REST; add an entry with `type: rest`")
    targets = [each.call.target for each in linked.rest.routes]
    info = linked.document.info
    if base_url and len({origin_of(target.upstream.consumes.base_uri) for target in targets}) > 1:
        raise UsageError("--base-url cannot be used with this capability file: it consumes several origins")
    return RestPlan(
        title=title(linked),
        description=linked.rest.expose.description or (info.description if info else ""),
        port=linked.rest.expose.port,
        routes=tuple(_route(each, request_plan(each.call, base_url, environment or {})) for each in linked.rest.routes),
    )


def _route(linked: LinkedRoute, request: RequestPlan) -> RoutePlan:
    operation, call = linked.operation, linked.call
    consumed = call.target.operation
    reads = operation.method == consumed.method == "GET"
    schema, behavior = input_schema(call), behavior_of(call.target)
    return RoutePlan(
        method=operation.method,
        path=linked.path,
        tool=ToolPlan(
            name=operation.name or operation.call,
            title=operation.label or title_of(operation.name or consumed.name),
            description=operation.description or consumed.description,
            hints=HintsPlan(
                read_only=reads,
                destructive=consumed.method == "DELETE",
                idempotent=reads or consumed.method in _IDEMPOTENT,
                open_world=True,
            ),
            input_schema=schema,
            checked_schema=_without_body(schema, linked.places) if behavior is BehaviorName.SUBMIT else schema,
            output_schema=operation.output_schema,
            request=request,
            result=result_plan(operation.outputs, call.target),
            behavior=behavior,
            beside=call.beside,
        ),
        places=linked.places,
        fixed=linked.fixed,
        within=linked.within,
    )


def _without_body(schema: Mapping[str, Any], places: Mapping[str, Place]) -> Mapping[str, Any]:
    """What is checked here of a call whose body goes on unread."""
    unread = {name for name, place in places.items() if place in (Place.BODY, Place.FIELD)}
    return {
        **schema,
        "properties": {name: each for name, each in schema["properties"].items() if name not in unread},
        "required": [name for name in schema.get("required", ()) if name not in unread],
    }
