"""Every file in `valid/` compiles to exactly the plan that stands beside it, readable, with the warnings it gets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from batches_mcp import language
from batches_mcp.core.plan import (
    Argument,
    BasicCredential,
    BodyTemplate,
    Feed,
    FormBodyPlan,
    HintsPlan,
    JsonTemplate,
    OutputPlan,
    Template,
    TextBodyPlan,
    ToolPlan,
    Variable,
)
from batches_mcp.core.server_plan import RoutePlan, ServerPlan
from batches_mcp.language.compile import compile_server
from batches_mcp.language.link import Linked
from batches_mcp.language.prompts import LinkedPrompt
from batches_mcp.language.resources import LinkedResource
from batches_mcp.language.routes import compile_rest
from tests.support.golden import assert_golden

HERE = Path(__file__).parent
# What is left out of the summary when a file has none.
OPTIONAL = {"inbound", "resources", "prompts"}
FILES = sorted((HERE / "valid").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_compiles_to_its_plan(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    linked = language.read(Path(file.name))
    summary = {"warnings": [problem.text() for problem in linked.problems], **_server(compile_server(linked), linked)}
    if linked.rest is not None:
        summary["rest"] = [_route(route) for route in compile_rest(linked).routes]
    assert_golden(file.with_suffix(".expected"), json.dumps(summary, indent=2, ensure_ascii=False) + "\n")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_trusted_file_compiles_to_the_same_plan(file: Path) -> None:
    assert compile_server(language.read(file, trusted=True)) == compile_server(language.read(file))


def test_every_expectation_has_its_file() -> None:
    assert {path.stem for path in (HERE / "valid").glob("*.expected")} == {file.stem for file in FILES}


def _server(plan: ServerPlan, linked: Linked) -> dict[str, Any]:
    summary = {
        "title": plan.title,
        "instructions": plan.instructions,
        "port": plan.port,
        "bound": sorted(plan.bound),
        "secrets": sorted(plan.secrets),
        "inbound": _credential(plan.inbound),
        "tools": [_tool(tool) for tool in plan.tools],
        "resources": [_resource(each) for each in linked.resources],
        "prompts": [_prompt(each) for each in linked.prompts],
    }
    return {name: value for name, value in summary.items() if name not in OPTIONAL or value}


def _resource(linked: LinkedResource) -> dict[str, Any]:
    resource, uri = linked.resource, _show(Template(linked.uri))
    summary = {"name": resource.name, "uri": uri, "description": resource.description, "mime_type": resource.mime_type}
    if linked.call is None:
        return {**summary, "text": linked.text}
    operation = linked.call.target.operation
    path = "".join(part if isinstance(part, str) else f"{{{_show(part.value)}}}" for part in linked.call.path)
    return {**summary, "read": f"{operation.method} {path}", "feeds": [_feed(feed) for feed in linked.call.feeds]}


def _prompt(linked: LinkedPrompt) -> dict[str, Any]:
    inputs = [f"{each.name}{'' if each.required else '?'}: {each.description}" for each in linked.prompt.inputs]
    messages = [f"{role}: {_show(text)}" for role, text in linked.messages]
    return {"name": linked.prompt.name, "arguments": inputs, "messages": messages}


def _tool(tool: ToolPlan) -> dict[str, Any]:
    request = tool.request
    path = "".join(part if isinstance(part, str) else f"{{{_show(part.value)}}}" for part in request.path)
    summary = {
        "name": tool.name,
        "title": tool.title,
        "description": tool.description,
        "hints": _hints(tool.hints),
        "input_schema": tool.input_schema,
        "output_schema": tool.output_schema,
        "operation": request.operation,
        "request": f"{request.method} {request.base_uri}{path}",
        "feeds": [_feed(feed) for feed in request.feeds],
        "body": _whole(request.body),
        "credential": _credential(request.credential),
        "outputs": [_output(output) for output in tool.result.outputs],
        "declared_jsonl": tool.result.declared_jsonl,
    }
    return {name: value for name, value in summary.items() if value not in (None, [], False)}


def _route(route: RoutePlan) -> dict[str, Any]:
    summary = {
        "route": f"{route.method} {route.template}",
        "places": {name: str(place) for name, place in route.places.items()},
        "fixed": dict(route.fixed),
        **_tool(route.tool),
    }
    return {name: value for name, value in summary.items() if value not in ({}, "")}


def _hints(hints: HintsPlan) -> str:
    flags = {
        "read-only": hints.read_only,
        "destructive": hints.destructive,
        "idempotent": hints.idempotent,
        "open-world": hints.open_world,
    }
    return ", ".join(name if on else f"not {name}" for name, on in flags.items())


def _feed(feed: Feed) -> str:
    unset = "" if feed.default is None else f", {feed.default!r} when not set"
    return f"{feed.place} {feed.name}: {_show(feed.value)!r}{unset}"


def _whole(body: BodyTemplate | None) -> Any:
    match body:
        case None:
            return None
        case TextBodyPlan(text=text):
            return {"text": _show(text)}
        case FormBodyPlan(fields=fields):
            return {"form": [f"{each.name}: {_show(each.value)!r}" for each in fields]}
        case template:
            return {"json": _body(template)}


def _body(body: JsonTemplate) -> Any:
    match body:
        case Template():
            return _show(body)
        case Mapping():
            return {name: _body(entry) for name, entry in body.items()}
        case _:
            return [_body(item) for item in body]


def _credential(credential: Feed | BasicCredential | None) -> str | None:
    match credential:
        case Feed():
            return _feed(credential)
        case BasicCredential(username=username, password=password):
            return f"basic {_show(username)!r} {_show(password)!r}"
        case None:
            return None


def _output(output: OutputPlan) -> dict[str, Any]:
    summary: dict[str, Any] = {"type": output.type, "mapping": output.mapping or "$"}
    if output.value is not None:
        summary = {"type": output.type, "value": output.value}
    if output.properties is not None:
        summary["properties"] = {name: _output(each) for name, each in output.properties.items()}
    if output.items is not None:
        summary["items"] = _output(output.items)
    return summary


def _show(template: Template) -> Any:
    """A template as text: `<argument>`, `$VARIABLE`; a single fixed value keeps its type."""
    if len(template.parts) == 1 and not isinstance(template.parts[0], Argument | Variable):
        return template.parts[0]
    return "".join(map(_part, template.parts))


def _part(part: object) -> str:
    match part:
        case Argument(name=name):
            return f"<{name}>"
        case Variable(name=name):
            return f"${name}"
        case _:
            return str(part)
