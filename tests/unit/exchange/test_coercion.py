"""What arguments mean: only where one meaning is possible, and never within an object."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batches_mcp.exchange.coercion import meant

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
PROPERTIES: dict[str, dict[str, Any]] = {
    "limit": {"type": "integer"}, "ratio": {"type": "number"}, "flag": {"type": "boolean"},
    "list": {"type": "array", "items": {"type": "object"}}, "thing": {"type": "object"},
    "message_batch_id": {"type": "string"}, "retry_of": {"type": "string"}, "label": {"type": "string"},
    "view": {"type": "string", "enum": ["text", "full"]}, "custom_ids": {"type": "array", "items": {"type": "string"}},
    "kinds": {"type": "array", "items": {"enum": ["a", "b"]}}, "key": {"type": "string", "pattern": "^k"},
    "maybe": {"type": ["string", "null"]}, "anything": {}, "choice": {"enum": ["x", None]},
}  # fmt: skip


def understood(name: str, value: Any) -> Any:
    return meant({"properties": PROPERTIES}, {name: value}, {"files": "no"}).get(name, "left out")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("limit", " 5 ", 5), ("limit", 5.0, 5), ("limit", "-5", -5), ("limit", "5.0", "5.0"), ("limit", "", ""),
        ("limit", "9" * 19, "9" * 19), ("limit", "\u0665", "\u0665"), ("limit", True, True), ("limit", "1_0", "1_0"),
        ("ratio", "0.5", 0.5), ("ratio", "5", 5), ("ratio", "1e3", 1000.0), ("ratio", "nan", "nan"),
        ("flag", "TRUE", True), ("flag", "false ", False), ("flag", "yes", "yes"), ("flag", 1, 1),
        ("list", '[{"a": " 1 "}]', [{"a": " 1 "}]), ("list", "{}", "{}"), ("list", "[NaN]", "[NaN]"),
        ("list", "[" * 99_999, "[" * 99_999), ("list", [" a "], [" a "]),
        ("thing", '{"a": "5", "b": null}', {"a": "5", "b": None}), ("thing", {"a": "5", "b": None}, {"a": "5", "b": None}),
        ("thing", "[]", "[]"),
        ("message_batch_id", " msgbatch_1\n", "msgbatch_1"), ("retry_of", "x ", "x"), ("label", " mine ", " mine "),
        ("message_batch_id", 5, 5), ("view", " full", "full"), ("view", "Full", "Full"),
        ("custom_ids", [" a", "b "], ["a", "b"]), ("custom_ids", '[" a"]', ["a"]), ("kinds", ["a ", " c"], ["a", " c"]),
        ("key", " k1 ", "k1"),
        ("limit", None, "left out"), ("view", None, "left out"), ("files", None, "left out"), ("maybe", None, None),
        ("anything", None, None), ("choice", None, None), ("stranger", None, None), ("stranger", "5", "5"),
    ],
)  # fmt: skip
def test_one_meaning_or_none(name: str, value: Any, expected: Any) -> None:
    found = understood(name, value)
    assert found == expected
    assert type(found) is type(expected)


@given(st.dictionaries(st.sampled_from([*PROPERTIES, "stranger"]), JSON))
def test_what_was_understood_is_not_understood_otherwise_again(arguments: dict[str, Any]) -> None:
    once = meant({"properties": PROPERTIES}, arguments, {})
    assert meant({"properties": PROPERTIES}, once, {}) == once


@given(JSON)
def test_what_is_within_objects_is_never_changed(value: Any) -> None:
    requests = [{"custom_id": " a ", "params": value}]
    assert understood("list", requests) == understood("list", json.dumps(requests)) == requests
    assert understood("thing", {"5": value}) == {"5": value}
