"""A REST plan -> its description in OpenAPI 3.1. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from batches_mcp import __version__
from batches_mcp.core.plan import Place
from batches_mcp.core.server_plan import RestPlan, RoutePlan
from batches_mcp.serve.incoming import ALLOW_DUPLICATE

_PARAMETERS = (Place.PATH, Place.QUERY, Place.HEADER, Place.COOKIE)
_JSON = "application/json"
_JSONL = "application/x-jsonl"

_ERROR = {
    "type": "object",
    "description": "What went wrong, here or upstream.",
    "properties": {
        "type": {"const": "error"},
        "error": {
            "type": "object",
            "properties": {
                "type": {"type": "string", "description": "For programs, such as invalid_request_error."},
                "message": {"type": "string", "description": "For people."},
            },
            "required": ["type", "message"],
        },
        "request_id": {"type": ["string", "null"], "description": "Also in the header request-id."},
    },
    "required": ["type", "error"],
}
_FAILED = {
    "4XX": "The request cannot be answered: what is wrong with it is in the message.",
    "5XX": "The upstream failed, or could not be reached.",
}

# Whatever else it says counts as no.
_ALLOW_DUPLICATE = {
    "name": ALLOW_DUPLICATE,
    "in": "header",
    "required": False,
    "description": "`true` creates a batch of requests that were sent within the last 24 hours once more, and pays for "
    "it once more; without it such a create is refused, and names the earlier batch.",
    "schema": {"type": "string"},
}


def document(plan: RestPlan, url: str | None = None) -> dict[str, Any]:
    """The OpenAPI document of an adapter, which is served at `url`."""
    names = Counter(route.tool.name for route in plan.routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in plan.routes:
        if route.forwards:
            continue  # it is not known what is there
        operation = _operation(route)
        if names[route.tool.name] == 1:
            operation = {"operationId": route.tool.name, **operation}
        paths.setdefault(route.template, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": plan.title, "description": plan.description, "version": __version__},
        **({"servers": [{"url": url}]} if url else {}),
        "paths": paths,
        "components": {
            "schemas": {"Error": _ERROR},
            "responses": {
                name: {
                    "description": text,
                    "content": {_JSON: {"schema": {"$ref": "#/components/schemas/Error"}}},
                }
                for name, text in _FAILED.items()
            },
        },
    }


def _operation(route: RoutePlan) -> dict[str, Any]:
    body = _body(route)
    return {
        "summary": route.tool.title,
        "description": route.tool.description,
        "parameters": list(_parameters(route)),
        **({"requestBody": body} if body else {}),
        "responses": {"200": _success(route), **{name: {"$ref": f"#/components/responses/{name}"} for name in _FAILED}},
    }


def _parameters(route: RoutePlan) -> Iterator[dict[str, Any]]:
    required = route.tool.input_schema.get("required", ())
    for name in route.arguments(*_PARAMETERS):
        schema = dict(route.tool.input_schema["properties"][name])
        description = schema.pop("description", "")
        place = route.places[name]
        yield {
            "name": name,
            "in": str(place),
            "required": place is Place.PATH or name in required,
            **({"description": description} if description else {}),
            "schema": schema,
        }
    if route.spools_body:
        yield _ALLOW_DUPLICATE


def _body(route: RoutePlan) -> dict[str, Any] | None:
    properties: Mapping[str, Any] = route.tool.input_schema["properties"]
    required = route.tool.input_schema.get("required", ())
    whole, fields = route.arguments(Place.BODY), route.arguments(Place.FIELD)
    if whole:
        schema, needed = dict(properties[whole[0]]), whole[0] in required
    elif route.within:
        # Where in it values stand is said by JSONPaths, which no schema can.
        schema, needed = {"type": "object"}, any(name in required for name in (*route.within, *fields))
    elif fields:
        schema = {
            "type": "object",
            "properties": {name: properties[name] for name in fields},
            "required": [name for name in fields if name in required],
            "additionalProperties": False,
        }
        needed = bool(schema["required"])
    else:
        return None
    return {"required": needed, "content": {_JSON: {"schema": schema}}}


def _success(route: RoutePlan) -> dict[str, Any]:
    if route.tool.result.declared_jsonl:
        schema = {"type": "string", "description": "One JSON object in each line."}
        return {"description": "The lines, as they come.", "content": {_JSONL: {"schema": schema}}}
    return {"description": "What the upstream answers.", "content": {_JSON: {"schema": route.tool.output_schema or {}}}}
