"""A caller's arguments against a tool's input schema: every problem at once, each with the argument it concerns."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from batches_mcp.core.diagnostics import did_you_mean
from batches_mcp.core.plan import ToolPlan
from batches_mcp.core.redact import excerpt
from batches_mcp.exchange.request import invalid

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator, ValidationError

_MOST_PROBLEMS = 20

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

    def __init__(self, tool: ToolPlan, worded: Callable[[ValidationError], Iterator[str]] | None = None) -> None:
        """`worded` says what is wrong, for callers who know nothing of a tool; by default it is said to agents."""
        self._tool = tool
        self._worded = worded

    @cached_property
    def _validator(self) -> Draft202012Validator:
        from jsonschema import Draft202012Validator

        return Draft202012Validator(dict(self._tool.checked_schema))

    def load(self) -> None:
        """Compile it in advance, in any thread."""
        _ = self._validator

    def __call__(self, arguments: Mapping[str, Any]) -> None:
        """Check the arguments of one call.

        Raises:
            InvalidArguments: they do not fit; the message has a line for each problem.
        """
        unavailable = self._tool.unavailable
        lines = [f"{name}: not available here: {unavailable[name]}" for name in arguments if name in unavailable]
        known = {name: value for name, value in arguments.items() if name not in unavailable}
        worded = self._worded or _lines
        lines += dict.fromkeys(line for error in self._validator.iter_errors(known) for line in worded(error))
        if lines:
            if len(lines) > _MOST_PROBLEMS:
                lines[_MOST_PROBLEMS:] = [f"and {len(lines) - _MOST_PROBLEMS} more problems"]
            if self._worded is not None:
                raise invalid("\n".join(lines))
            listed = "\n".join(f"- {line}" for line in lines)
            raise invalid(f"the arguments of {self._tool.name} do not fit its input schema:\n{listed}")


def _lines(error: ValidationError) -> Iterator[str]:
    where, value, limit = path_text(error.absolute_path), _any(error.instance), _any(error.validator_value)
    match error.validator:
        case "required":
            for name in limit:
                if name not in value:
                    yield f"{_join(where, name)}: missing; it is required"
        case "additionalProperties" if limit is False:
            schema = _any(error.schema)
            known = list(schema.get("properties", {}))
            patterns = list(schema.get("patternProperties", {}))
            for name in value:
                if name not in known and not any(re.search(pattern, name) for pattern in patterns):
                    hint = did_you_mean(name, known) if known else "none is known here"
                    yield "; ".join(filter(None, [f"{_join(where, excerpt(name, 60))}: unknown argument", hint]))
        case validator:
            problem = _problem(str(validator), value, limit) or excerpt(error.message, 200)
            yield f"{where or 'arguments'}: {problem}"


def _problem(validator: str, value: Any, limit: Any) -> str:
    """What is wrong, in our words where the library would repeat the whole value; empty for rarer keywords."""
    if validator == "type":
        return f"expected {limit if isinstance(limit, str) else ' or '.join(limit)}, found {_json_type(value)}"
    if validator == "enum":
        return f"expected one of {', '.join(map(str, limit))}, found {excerpt(str(value), 60)}"
    if validator in _BOUNDS:
        return f"{excerpt(str(value), 60)} {_BOUNDS[validator]} {limit}"
    if validator in _SIZES:
        return f"has {len(value):,} {_SIZES[validator]} {limit:,}"
    if validator == "pattern":
        return f"expected text that matches {limit}, found {excerpt(value, 60)!r}"
    return ""


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
