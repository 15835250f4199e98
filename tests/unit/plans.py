"""Plans and answers in short, for tests of one module at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from batches_mcp.core.plan import (
    Argument,
    BasicCredential,
    Feed,
    HintsPlan,
    JsonTemplate,
    OutputPlan,
    Place,
    RequestPlan,
    ResultPlan,
    Template,
    ToolPlan,
    Variable,
)
from batches_mcp.exchange.result import Answer

ORIGIN = "https://api.example.com"
CLOSED: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


def argument(name: str) -> Template:
    return Template((Argument(name),))


def variable(name: str) -> Template:
    return Template((Variable(name),))


def feed(place: Place, name: str = "x", value: Template | None = None, default: str | None = None) -> Feed:
    """A value that is the argument of the same name, unless `value` says otherwise."""
    return Feed(place, name, value or argument(name), default)


def request_plan(
    *feeds: Feed,
    method: str = "GET",
    base_uri: str = f"{ORIGIN}/v1",
    path: tuple[str | Feed, ...] = ("/items",),
    body: JsonTemplate | None = None,
    credential: Feed | BasicCredential | None = None,
) -> RequestPlan:
    return RequestPlan("items.get", method, base_uri, path, feeds, body, credential)


def tool_plan(
    name: str = "get-item",
    *,
    input_schema: Mapping[str, Any] = CLOSED,
    read_only: bool = False,
    idempotent: bool = False,
    method: str = "POST",
) -> ToolPlan:
    return ToolPlan(
        name=name,
        title="Get Item",
        description="Get one item.",
        hints=HintsPlan(read_only=read_only, destructive=False, idempotent=idempotent, open_world=True),
        input_schema=input_schema,
        output_schema=None,
        request=request_plan(method=method),
        result=ResultPlan((), declared_jsonl=False),
        checked_schema=input_schema,
    )


def output(
    mapping: str | None = None,
    *,
    value: str | float | bool | None = None,
    properties: Mapping[str, OutputPlan] | None = None,
    items: OutputPlan | None = None,
) -> OutputPlan:
    return OutputPlan("object", mapping, value, properties, items)


def answer(
    body: Any,
    status: int = 200,
    *,
    kind: str = "application/json",
    complete: bool = True,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """An answer; a body that is neither bytes nor text is sent as JSON."""
    content = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    return Answer(status, {**({"content-type": kind} if kind else {}), **(headers or {})}, content, complete)
