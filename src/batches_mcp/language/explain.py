"""A plan in words: where each input of a tool goes, what feeds the request, and what comes back. Pure.

No value of a variable is ever known here: a plan names variables, it does not hold them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from batches_mcp.core.plan import (
    Argument,
    BasicCredential,
    BodyTemplate,
    Feed,
    FormBodyPlan,
    OutputPlan,
    Place,
    Template,
    TextBodyPlan,
    ToolPlan,
    Variable,
)
from batches_mcp.core.server_plan import ServerPlan

_PLACES = {Place.FIELD: "body", Place.BODY: "body"}


@dataclass(frozen=True, slots=True)
class Sent:
    """One value of the request: its place and name there, and what it is made of, as the file writes it.

    `made_of` has `{{argument}}` and `{{namespace.VARIABLE}}` for what is not known yet; `otherwise` is sent when a
    variable is not set.
    """

    place: str
    name: str
    made_of: str
    arguments: tuple[str, ...]
    variables: tuple[str, ...]
    credential: bool = False
    otherwise: str | None = None

    def data(self) -> dict[str, Any]:
        return {
            "in": self.place,
            "name": self.name,
            "value": self.made_of,
            "arguments": list(self.arguments),
            "variables": list(self.variables),
            "credential": self.credential,
            "otherwise": self.otherwise,
        }


def explain(server: ServerPlan, tool: ToolPlan) -> dict[str, Any]:
    """What a tool does, as JSON: `request`, `inputs` with the places each goes to, `sent`, `variables`, `answer`."""
    sent = list(_sent(server, tool))
    schemas = tool.input_schema["properties"]
    required = tool.input_schema.get("required", [])
    path = "".join(
        part if isinstance(part, str) else _shown(part.value, server.binds, "{", "}") for part in tool.request.path
    )
    used = {name for each in sent for name in each.variables} | set(tool.request.base_variables.values())
    return {
        "tool": tool.name,
        "title": tool.title,
        "operation": tool.request.operation,
        "request": f"{tool.request.method} {tool.request.base_uri}{path}",
        "repeatable": tool.repeatable,
        "inputs": [
            {
                "name": name,
                "type": schema.get("type", "any"),
                "required": name in required,
                "goes_to": [f"{each.place} {each.name}".rstrip() for each in sent if name in each.arguments]
                or ([f"behavior {tool.behavior}"] if tool.behavior else []),
            }
            for name, schema in schemas.items()
        ],
        "sent": [each.data() for each in sent],
        "variables": {
            name: {"bind": server.binds.get(name, name), "secret": name in server.secrets} for name in sorted(used)
        },
        "behavior": tool.behavior,
        "answer": _answer(tool),
    }


def _sent(server: ServerPlan, tool: ToolPlan) -> Iterator[Sent]:
    request = tool.request
    for part in request.path:
        if isinstance(part, Feed):
            yield _of("path", part.name, part.value, server)
    for feed in request.feeds:
        name = "" if feed.place is Place.BODY else feed.name
        sent = _of(_PLACES.get(feed.place, str(feed.place)), name, feed.value, server)
        yield sent if feed.default is None else replace(sent, otherwise=str(feed.default))
    yield from _body(request.body, server)
    match request.credential:
        case Feed(place=place, name=name, value=value):
            yield _of(str(place), name, value, server, credential=True)
        case BasicCredential(username=username, password=password):
            pair = Template((*username.parts, ":", *password.parts))
            yield _of("header", "Authorization", Template(("Basic ", *pair.parts)), server, credential=True)
        case None:
            pass


def _body(body: BodyTemplate | None, server: ServerPlan, name: str = "") -> Iterator[Sent]:
    match body:
        case None:
            return
        case Template() as template:
            yield _of("body", name, template, server)
        case TextBodyPlan(text=text):
            yield _of("body", name, text, server)
        case FormBodyPlan(fields=fields):
            for each in fields:
                yield _of("body", each.name, each.value, server)
        case tuple() as items:
            for number, item in enumerate(items):
                yield from _body(item, server, f"{name}[{number}]")
        case entries:
            for key, entry in entries.items():
                yield from _body(entry, server, f"{name}.{key}" if name else key)


def _of(place: str, name: str, value: Template, server: ServerPlan, *, credential: bool = False) -> Sent:
    variables = [part.name for part in value.parts if isinstance(part, Variable)]
    arguments = [part.name for part in value.parts if isinstance(part, Argument)]
    return Sent(
        place,
        name,
        _shown(value, server.binds),
        tuple(dict.fromkeys(arguments)),
        tuple(dict.fromkeys(variables)),
        credential,
    )


def _shown(template: Template, binds: Mapping[str, str], before: str = "{{", after: str = "}}") -> str:
    def shown(part: object) -> str:
        match part:
            case Argument(name=name):
                return f"{before}{name}{after}"
            case Variable(name=name):
                return f"{before}{binds.get(name, name)}{after}"
            case None:
                return "null"
            case bool():
                return str(part).lower()
            case _:
                return str(part)

    return "".join(map(shown, template.parts))


def _answer(tool: ToolPlan) -> list[str]:
    """What becomes of a successful answer, a line for each output that is tried."""
    if tool.behavior is not None:
        return [f"shaped by the behavior {tool.behavior}"]
    if tool.result.binary:
        return ["the upstream's bytes as `base64`, with their `media_type`; JSON as it is"]
    if tool.result.declared_jsonl:
        return ["the rows of the upstream's JSONL that fit, as `rows` and `has_more`"]
    if not tool.result.outputs:
        return ["the upstream's JSON as it is"]
    return [_output(output) for output in tool.result.outputs]


def _output(output: OutputPlan, whole: str = "the upstream's JSON") -> str:
    if output.value is not None:
        return f"the fixed {output.type} {output.value!r}"
    where = whole if output.mapping is None else output.mapping
    if output.properties is not None:
        inside = ", ".join(f"{name} = {_output(each, 'it')}" for name, each in output.properties.items())
        return f"from {where}: {{{inside}}}"
    if output.items is not None:
        return f"for each item of {where}: {_output(output.items, 'the item')}"
    return where
