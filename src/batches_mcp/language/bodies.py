"""Request bodies: what the file writes -> data in which templates stand. No text is ever pasted into JSON."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn
from urllib.parse import unquote_plus

from batches_mcp.core.diagnostics import Mark, quote
from batches_mcp.core.plan import BodyTemplate, Feed, FormBodyPlan, JsonTemplate, Place, Template, TextBodyPlan
from batches_mcp.language import model
from batches_mcp.language.bindings import Bindings
from batches_mcp.language.nodes import Node

# A text of JSON, which is left alone, or a reference that stands for a value of any type.
_TEXT_OR_REFERENCE = re.compile(r'"(?:[^"\\]|\\.)*"|\{\{[^{}]*\}\}', re.DOTALL)
# Begins a text that was such a reference. YAML has no such character.
_VALUE = "\0"


def body(bindings: Bindings, operation: model.Operation) -> BodyTemplate | None:
    """The operation's body with templates in it; None when it has none."""
    if operation.method == "GET":
        return None
    written = operation.node.entries().get("body")
    match operation.body:
        case str() as text:
            return _json_text(bindings, text, operation.place("body"))
        case model.JsonBody(data=str() as text) as each:
            return _json_text(bindings, text, each.place("data"))
        case model.JsonBody() if written and "data" in written.entries():
            return _json(bindings, written.entries()["data"])
        case model.TextBody(data=text) as each:
            return TextBodyPlan(bindings.inlined(text, each.place("data")))
        case model.FormBody() as each:
            return FormBodyPlan(tuple(_fields(bindings, each)))
        case _:
            return None


def _json(bindings: Bindings, node: Node) -> JsonTemplate:
    match node.value:
        case dict() as entries:
            for name, entry in entries.items():
                if "{{" in name:
                    bindings.scope.problems.error(
                        entry.where, "body", f"the name {quote(name)} holds a reference", "only values may hold one"
                    )
            return {name: _json(bindings, entry) for name, entry in entries.items()}
        case list() as items:
            return tuple(_json(bindings, item) for item in items)
        case str() as text:
            return bindings.inlined(text, node.mark, json=True)
        case scalar:
            return Template((scalar,))


def _json_text(bindings: Bindings, text: str, mark: Mark) -> JsonTemplate:
    """JSON written as a text: `{{x}}` stands for a value, and within quotes for a part of a text."""
    marked = _TEXT_OR_REFERENCE.sub(
        lambda match: match[0] if match[0][0] == '"' else json.dumps(_VALUE + match[0]), text
    )
    try:
        data = json.loads(marked, parse_constant=_no_number)
        return _templates(bindings, data, mark)
    except (ValueError, RecursionError):
        bindings.scope.problems.error(
            mark, "body", "the body is not JSON", "write it as data under `type: json`, or as `type: text`"
        )
        return Template((None,))


def _templates(bindings: Bindings, data: Any, mark: Mark) -> JsonTemplate:
    match data:
        case dict():
            return {name: _templates(bindings, each, mark) for name, each in data.items()}
        case list():
            return tuple(_templates(bindings, each, mark) for each in data)
        case str() if data.startswith(_VALUE):
            return bindings.inlined(data.removeprefix(_VALUE), mark, json=True)
        case str():
            # Two parts, so that the value is made a text.
            return Template(("", *bindings.inlined(data, mark).parts)) if "{{" in data else Template((data,))
        case scalar:
            return Template((scalar,))


def _no_number(name: str) -> NoReturn:
    raise ValueError(name)


def _fields(bindings: Bindings, written: model.FormBody) -> list[Feed]:
    mark = written.place("data")
    if isinstance(written.data, str):
        pairs = [pair.partition("=") for pair in written.data.split("&") if pair]
        return [
            Feed(Place.FIELD, unquote_plus(name), _unquoted(bindings.inlined(value, mark))) for name, _, value in pairs
        ]
    entries = written.node.entries()["data"].entries() if written.data else {}
    return [
        Feed(
            Place.FIELD,
            name,
            bindings.inlined(value, entries[name].mark) if isinstance(value, str) else Template((value,)),
        )
        for name, value in written.data.items()
    ]


def _unquoted(template: Template) -> Template:
    return Template(tuple(unquote_plus(part) if isinstance(part, str) else part for part in template.parts))
