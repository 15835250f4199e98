"""A caller's arguments against a tool's input schema: every problem at once, each with the argument it concerns."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from batches_mcp.core.diagnostics import did_you_mean, nearest, quote
from batches_mcp.core.plan import ToolPlan
from batches_mcp.core.redact import excerpt
from batches_mcp.exchange.coercion import meant
from batches_mcp.exchange.request import invalid

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator, ValidationError

_MOST_PROBLEMS = 20
_MOST_MEMBERS, _DEEPEST = 4, 4

_BOUNDS = {
    "minimum": "is less than the minimum of",
    "maximum": "is more than the maximum of",
    "exclusiveMinimum": "is not more than",
    "exclusiveMaximum": "is not less than",
}
_SIZES = {
    "minLength": "characters, fewer than the minimum of",
    "maxLength": "characters, more than the maximum of",
    "minItems": "items, fewer than the minimum of",
    "maxItems": "items, more than the maximum of",
}


class ArgumentCheck:
    """The check of one tool's arguments; compiled on first use, because jsonschema is slow to import."""

    def __init__(
        self,
        tool: ToolPlan,
        worded: Callable[[ValidationError], Iterator[str]] | None = None,
        others: Iterable[ToolPlan] = (),
    ) -> None:
        """`worded` says what is wrong, for callers who know nothing of a tool; by default it is said to agents.

        `others` are the tools that may have been meant.
        """
        self._tool = tool
        self._worded = worded
        self._others = others

    @cached_property
    def _validator(self) -> Draft202012Validator:
        from jsonschema import Draft202012Validator

        return Draft202012Validator(dict(self._tool.checked_schema))

    def load(self) -> None:
        """Compile it in advance, in any thread."""
        _ = self._validator

    def meant(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of one call as the schema has them, however they are written (`coercion.meant`).

        Raises:
            InvalidArguments: they do not fit; the message has a line for each problem.
        """
        found = meant(self._tool.input_schema, arguments, self._tool.unavailable)
        self(found)
        return found

    def __call__(self, arguments: Mapping[str, Any]) -> None:
        """Check the arguments of one call.

        Raises:
            InvalidArguments: they do not fit; the message has a line for each problem.
        """
        unavailable = self._tool.unavailable
        lines = [f"{name}: not available here: {unavailable[name]}" for name in arguments if name in unavailable]
        known = {name: value for name, value in arguments.items() if name not in unavailable}
        worded = self._worded or self._lines
        lines += dict.fromkeys(line for error in self._validator.iter_errors(known) for line in worded(error))
        if lines:
            if len(lines) > _MOST_PROBLEMS:
                lines[_MOST_PROBLEMS:] = [f"and {len(lines) - _MOST_PROBLEMS} more problems"]
            if self._worded is not None:
                raise invalid("\n".join(lines))
            listed = "\n".join(f"- {line}" for line in lines)
            raise invalid(f"the arguments of {self._tool.name} do not fit its input schema:\n{listed}")

    def _lines(self, error: ValidationError) -> Iterator[str]:
        where, value, limit = path_text(error.absolute_path), _any(error.instance), _any(error.validator_value)
        schema = _any(error.schema)
        match error.validator:
            case "required":
                for name in limit:
                    if name not in value:
                        yield f"{_join(where, name)}: missing; it is required"
            case "additionalProperties" if limit is False:
                known = list(schema.get("properties", {}))
                patterns = list(schema.get("patternProperties", {}))
                for name in value:
                    if name not in known and not any(re.search(pattern, name) for pattern in patterns):
                        hint = ("" if where else self._elsewhere(name)) or (
                            did_you_mean(name, known) if known else "none is known here"
                        )
                        yield "; ".join(filter(None, [f"{_join(where, excerpt(name, 60))}: unknown argument", hint]))
            case "type":
                # What a behaviour checks itself is left out of the schema that is checked.
                declared = self._tool.input_schema.get("properties", {}).get(where, schema)
                hint = self._named_by(where, value) or example(declared)
                problem = _problem("type", value, limit)
                yield f"{where or 'arguments'}: {'; '.join(filter(None, [problem, hint]))}"
            case validator:
                problem = _problem(str(validator), value, limit) or excerpt(error.message, 200)
                yield f"{where or 'arguments'}: {problem}"

    def _elsewhere(self, name: str) -> str:
        """Where in the arguments a name belongs, or the tools that have it; empty when neither is known."""
        places = list(_places(self._tool.input_schema, name))
        if places:
            return f"it belongs in {' or '.join(places)}"
        tools = [each.name for each in self._others if name in each.input_schema.get("properties", {})]
        return f"it is one of {', '.join(tools)}" if tools else ""

    def _named_by(self, argument: str, value: Any) -> str:
        """The argument that names a file, for a text that may be its name where its content was expected."""
        by_name = f"{argument}_file"
        named = isinstance(value, str) and by_name in self._tool.input_schema.get("properties", {})
        return f"a file is named with {by_name}" if named else ""


def _places(schema: Mapping[str, Any], name: str, where: str = "") -> Iterator[str]:
    """The places in a value of a schema, like `requests[].params`, whose objects have a name, at whatever depth."""
    items, properties = schema.get("items"), schema.get("properties", {})
    if name in properties and where:
        yield where
    for key, member in properties.items():
        if isinstance(member, dict):
            yield from _places(member, name, _join(where, key))
    if isinstance(items, dict):
        yield from _places(items, name, f"{where}[]")


def _problem(validator: str, value: Any, limit: Any) -> str:
    """What is wrong, in our words where the library would repeat the whole value; empty for rarer keywords."""
    if validator == "type":
        shown = f" {excerpt(value, 60)!r}" if isinstance(value, str) else ""
        return f"expected {limit if isinstance(limit, str) else ' or '.join(limit)}, found {_json_type(value)}{shown}"
    if validator == "enum":
        near = nearest(value, tuple(each for each in limit if isinstance(each, str))) if isinstance(value, str) else ""
        hint = f"; did you mean {quote(near)}?" if near else ""
        return f"expected one of {', '.join(map(str, limit))}, found {excerpt(str(value), 60)}{hint}"
    if validator in _BOUNDS:
        return f"{excerpt(str(value), 60)} {_BOUNDS[validator]} {limit}"
    if validator in _SIZES:
        return f"has {len(value):,} {_SIZES[validator]} {limit:,}"
    if validator == "pattern":
        return f"expected text that matches {limit}, found {excerpt(value, 60)!r}"
    return ""


def example(schema: Mapping[str, Any]) -> str:
    """`for example [{"custom_id": "..."}]`: a value of the shape of a schema; empty where the type says enough."""
    tells_more = schema.get("type") in ("array", "object", "boolean") or {"default", "minimum", "enum"} & schema.keys()
    return f"for example {json.dumps(_example(schema))}" if tells_more else ""


def _example(schema: Mapping[str, Any], depth: int = 0) -> Any:
    items, properties = schema.get("items"), schema.get("properties", {})
    if schema.get("type") == "boolean":
        return True
    if "default" in schema or "minimum" in schema:
        return schema.get("default") or schema.get("minimum") or 1
    if schema.get("enum"):
        return schema["enum"][0]
    match schema.get("type"):
        case "array" if isinstance(items, dict) and depth < _DEEPEST:
            return [_example(items, depth + 1)]
        case "array":
            return ["..."]
        case "object" if properties and depth < _DEEPEST:
            names = [name for name in schema.get("required") or properties if isinstance(properties.get(name), dict)]
            return {name: _example(properties[name], depth + 1) for name in names[:_MOST_MEMBERS]}
        case "object":
            return {"...": "..."}
        case "integer" | "number":
            return 1
        case _:
            return "..."


def path_text(path: Iterable[str | int]) -> str:
    """A place in a JSON value, like `requests[17].custom_id`."""
    text = ""
    for step in path:
        text = f"{text}[{step}]" if isinstance(step, int) else _join(text, step)
    return text


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _any(value: Any) -> Any:
    """The library types these as possibly unset, which they never are in an error it yields."""
    return value


def _json_type(value: object) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")
