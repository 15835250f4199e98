"""The check of arguments: every problem at once, each with the argument it concerns and what is expected there."""

from __future__ import annotations

from typing import Any

import pytest

from batches_mcp.core.errors import InvalidArguments
from batches_mcp.exchange.arguments import ArgumentCheck, path_text
from tests.unit.plans import CLOSED, tool_plan


def lines(properties: dict[str, Any], arguments: dict[str, Any], **schema: Any) -> list[str]:
    """The problems that a check finds, one line each; none when the arguments fit."""
    check = ArgumentCheck(tool_plan(input_schema={**CLOSED, "properties": properties, **schema}))
    try:
        check(arguments)
    except InvalidArguments as error:
        report = error.report
    else:
        return []
    assert (report.type, report.next_step) == ("invalid_arguments", "Correct the arguments and call again.")
    first, *listed = report.message.split("\n")
    assert first == "the arguments of get-item do not fit its input schema:"
    assert all(line.startswith("- ") for line in listed)
    return [line.removeprefix("- ") for line in listed]


@pytest.mark.parametrize(
    ("schema", "value", "line"),
    [
        ({"type": "string"}, 5, "x: expected string, found integer"),
        ({"type": "string"}, None, "x: expected string, found null"),
        ({"type": "integer"}, "5", "x: expected integer, found string '5'"),
        ({"type": "integer", "default": 20}, "many", "x: expected integer, found string 'many'; for example 20"),
        ({"type": "boolean", "default": False}, 1, "x: expected boolean, found integer; for example true"),
        ({"type": "integer"}, 5.5, "x: expected integer, found number"),
        ({"type": "integer"}, True, "x: expected integer, found boolean"),
        ({"type": "array"}, {}, 'x: expected array, found object; for example ["..."]'),
        (
            {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}}},
            {},
            'x: expected array, found object; for example [{"a": 1, "b": "..."}]',
        ),
        ({"type": "object"}, [], 'x: expected object, found array; for example {"...": "..."}'),
        ({"type": ["string", "integer"]}, [], "x: expected string or integer, found array"),
        ({"enum": ["a", "b", 1]}, "c", "x: expected one of a, b, 1, found c"),
        ({"enum": ["errored"]}, "error", "x: expected one of errored, found error; did you mean `errored`?"),
        ({"minimum": 1}, 0, "x: 0 is less than the minimum of 1"),
        ({"maximum": 1000}, 1001, "x: 1001 is more than the maximum of 1000"),
        ({"exclusiveMinimum": 0}, 0, "x: 0 is not more than 0"),
        ({"exclusiveMaximum": 1}, 1.5, "x: 1.5 is not less than 1"),
        ({"minLength": 1}, "", "x: has 0 characters, fewer than the minimum of 1"),
        ({"maxLength": 3}, "abcd", "x: has 4 characters, more than the maximum of 3"),
        ({"minItems": 1}, [], "x: has 0 items, fewer than the minimum of 1"),
        ({"maxItems": 2}, [1] * 3, "x: has 3 items, more than the maximum of 2"),
        ({"pattern": "^a+$"}, "b\nc", "x: expected text that matches ^a+$, found 'b c'"),
        ({"multipleOf": 2}, 3, "x: 3 is not a multiple of 2"),
        ({"const": "a"}, "b", "x: 'a' was expected"),
    ],
)
def test_each_keyword_says_what_is_expected(schema: dict[str, Any], value: Any, line: str) -> None:
    assert lines({"x": schema}, {"x": value}) == [line]


def test_all_problems_are_told_at_once() -> None:
    properties = {"limit": {"type": "integer", "maximum": 10}, "id": {"type": "string"}, "tag": {"enum": ["a"]}}
    arguments = {"limit": 11, "tag": "b", "lmit": 1, "": 2}
    assert lines(properties, arguments, required=["id", "limit", "name"]) == [
        "limit: 11 is more than the maximum of 10",
        "tag: expected one of a, found b",
        "lmit: unknown argument; did you mean `limit`?",
        ": unknown argument; known here: `limit`, `id`, `tag`",
        "id: missing; it is required",
        "name: missing; it is required",
    ]


def test_arguments_that_fit_are_silent() -> None:
    assert lines({"x": {"type": "integer"}, "y": {}}, {"x": 1, "y": None}) == []
    assert lines({}, {}) == []


def test_a_place_deep_inside_is_named() -> None:
    request = {"type": "object", "properties": {"custom_id": {"pattern": "^a"}}, "additionalProperties": False}
    properties = {"requests": {"type": "array", "items": {**request, "required": ["params"]}}}
    assert lines(properties, {"requests": [{"params": 1}, {"custom_id": "b"}], "other": 1}) == [
        "requests[0].params: unknown argument; known here: `custom_id`",
        "requests[1].custom_id: expected text that matches ^a, found 'b'",
        "requests[1].params: missing; it is required",
        "other: unknown argument; known here: `requests`",
    ]


def test_an_unknown_argument_of_a_tool_without_arguments() -> None:
    assert lines({}, {"x": 1}) == ["x: unknown argument; none is known here"]


def test_an_unknown_argument_far_from_many_known_ones() -> None:
    assert lines({f"argument{number}": {} for number in range(20)}, {"x": 1}) == ["x: unknown argument"]


def test_a_name_that_a_pattern_allows_is_known() -> None:
    assert lines({}, {"x-a": 1, "y": 2}, patternProperties={"^x-": {}}) == ["y: unknown argument; none is known here"]


def test_many_problems_are_counted() -> None:
    found = lines({"x": {"items": {"type": "string"}}}, {"x": list(range(30))})
    assert len(found) == 21
    assert found[0] == "x[0]: expected string, found integer"
    assert found[-1] == "and 10 more problems"


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "object", "properties": {}, "additionalProperties": False}, {"n" * 10_000: 1}),
        ({"enum": ["a"]}, "v" * 10_000),
        ({"pattern": "^a"}, "v" * 10_000),
        ({"maximum": 1}, 10**4000),
        ({"uniqueItems": True}, ["v" * 10_000] * 2),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, ["v" * 10_000]),
        ({"not": {}}, "v" * 10_000),
    ],
)
def test_a_large_value_is_not_repeated(schema: dict[str, Any], value: Any) -> None:
    (line,) = lines({"x": schema}, {"x": value})
    assert len(line) < 300
    assert line.startswith("x")


@pytest.mark.parametrize(
    ("path", "text"),
    [([], ""), (["a"], "a"), (["a", 3, "b", "c"], "a[3].b.c"), ([0, 1], "[0][1]")],
)
def test_a_place_is_written_like_code(path: list[str | int], text: str) -> None:
    assert path_text(path) == text
