"""A template and a row -> a request: `{{column}}` in a text of the template stands for the row's value."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from batches_mcp.core.diagnostics import nearest, quote
from batches_mcp.core.redact import excerpt
from batches_mcp.exchange.request import invalid, text
from batches_mcp.requests.checks import OPENAI, is_openai

_COLUMN = re.compile(r"\{\{\s*([^{}]+?)\s*\}\}")
_SINGLE = re.compile(r"(?<!\{)\{\s*([^{}]+?)\s*\}(?!\})")
_STEP = re.compile(r"[^.\[\]]+")
_MOST_NAMED = 12


@dataclass(frozen=True, slots=True)
class Template:
    """The params of each request, or a whole request `{custom_id, params}`; its texts hold `{{column}}`.

    A text that is one column keeps the type of the value. `empty` are the columns whose cells were empty in the row
    that the params were filled from last.
    """

    given: Mapping[str, Any]
    empty: list[str] = field(default_factory=list, compare=False)
    _places: dict[str, str] = field(default_factory=dict, compare=False)
    _asked: list[str] = field(default_factory=list, compare=False)

    def __post_init__(self) -> None:
        self._asked.extend(sorted(set(_columns(self.params))))

    @property
    def whole(self) -> bool:
        """Whether it is a whole request."""
        return "params" in self.given

    @property
    def params(self) -> Any:
        return self.given["params"] if self.whole else self.given

    @property
    def columns(self) -> list[str]:
        return sorted(set(_columns(self.given)))

    def fill(self, row: Mapping[str, Any]) -> Any:
        """The params for one row. Values are put in once: what they contain is never looked at again.

        Raises:
            KeyError: the row has no value for a column.
        """
        self.empty[:] = [name for name in self._asked if _is_blank(row.get(name))]
        return _filled(self.params, row)

    def custom_id(self, row: Mapping[str, Any]) -> Any:
        """The custom_id for one row, as text; None when the template has none.

        Raises:
            KeyError: the row has no value for a column.
        """
        if not self.whole or "custom_id" not in self.given:
            return None
        filled = _filled(self.given["custom_id"], row)
        return text(filled) if isinstance(filled, int) else filled

    def place(self, path: str) -> str:
        """Where the template says what stands at a path of every request; empty when the row says it."""
        if path not in self._places:
            self._places[path] = self._place(path)
        return self._places[path]

    def _place(self, path: str) -> str:
        steps = _STEP.findall(path)
        if not self.whole:
            if steps[:1] != ["params"]:
                return ""
            steps, path = steps[1:], path.removeprefix("params").removeprefix(".")
        elif path == "custom_id" and "custom_id" not in self.given:
            return ""
        value: Any = self.given
        for step in steps:
            if isinstance(value, dict) and step in value:
                value = value[step]
            elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
                value = value[int(step)]
            else:
                # What it lacks, no row has; what stands in a text that is one column, the row says.
                value = None if isinstance(value, dict) else value
                break
        if any(_columns(value)):
            return ""
        return f"template.{path}" if path else "template"

    def check(self, columns: Sequence[str]) -> None:
        """That the template can be meant for rows with these columns.

        Raises:
            InvalidArguments: it cannot; the message says why, and what was probably meant.
        """
        problems = list(dict.fromkeys(self._problems(columns)))
        if problems:
            raise invalid("\n".join(problems))

    def _problems(self, columns: Sequence[str]) -> Iterator[str]:
        if "requests" in self.given:
            yield (
                "template: holds requests; it is the params of one request, in which {{column}} stands for a row's "
                "value. Requests that are complete go in requests or requests_file, without a template."
            )
            return
        if is_openai(self.given):
            yield f"template: {OPENAI}."
            return
        if self.whole:
            for name in self.given.keys() - {"custom_id", "params"}:
                yield f"template.{excerpt(name, 60)}: a request has custom_id and params only."
        named = self.columns
        listed = ", ".join(map(quote, columns[:_MOST_NAMED])) + (", ..." if len(columns) > _MOST_NAMED else "")
        for name in named:
            if name not in columns:
                near = nearest(name, tuple(columns))
                meant = f"did you mean {{{{{near}}}}}? The" if near else "the"
                wrong = f"{{{{{excerpt(name, 60)}}}}} is not a column of the file"
                yield f"template: {wrong}; {meant} columns are {listed}."
        single = {name for name in _found(_SINGLE, self.given) if name in columns}
        for name in sorted(single):
            yield f"template: {{{name}}} is not filled in; did you mean {{{{{name}}}}}?"
        if not named and not single:
            example = columns[0] if columns else "column"
            yield (
                "template: names no column, so that all requests would be the same; put the row's values in, for "
                f"example {{{{{example}}}}}; the columns are {listed}."
            )
        elif self.whole and "custom_id" in self.given and not any(_columns(self.given["custom_id"])):
            yield "template.custom_id: names no column, so that all requests would have the same; each needs its own."


def missing(row: Mapping[str, Any], column: str) -> str:
    """What is said of a row that has no value for a column."""
    near = nearest(column, tuple(row))
    hint = f"; did you mean {{{{{near}}}}}?" if near and near != column else ""
    return f"has no column {column!r}, which the template names{hint}"


def _columns(value: Any) -> Iterator[str]:
    return _found(_COLUMN, value)


def _found(pattern: re.Pattern[str], value: Any) -> Iterator[str]:
    match value:
        case str():
            yield from pattern.findall(value)
        case dict():
            for each in value.values():
                yield from _found(pattern, each)
        case list():
            for each in value:
                yield from _found(pattern, each)
        case _:
            pass


def _filled(value: Any, row: Mapping[str, Any]) -> Any:
    match value:
        case str():
            alone = _COLUMN.fullmatch(value)
            if alone:
                return _value(row, alone[1])
            return _COLUMN.sub(lambda match: text(_value(row, match[1])), value)
        case dict():
            return {name: _filled(each, row) for name, each in value.items()}
        case list():
            return [_filled(each, row) for each in value]
        case _:
            return value


def _is_blank(value: Any) -> bool:
    return isinstance(value, str) and not value.strip()


def _value(row: Mapping[str, Any], column: str) -> Any:
    if row.get(column) is None:
        raise KeyError(column)
    return row[column]
