"""Requests over REST become arguments: by path, query, header and body, each in its declared place and no other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batches_mcp.core.errors import InvalidArguments
from batches_mcp.core.plan import Argument, Feed, Place
from batches_mcp.core.server_plan import RoutePlan
from batches_mcp.serve.incoming import Matched, arguments, matching, path_of, query_pairs
from tests.unit.plans import feed, request_plan, tool_plan

SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "limit": {"type": "integer"},
        "ratio": {"type": "number"},
        "deep": {"type": "boolean"},
        "tags": {"type": "array"},
        "X-Trace": {"type": "string"},
        "seen": {"type": "string"},
        "note": {"type": "string"},
    },
}
PLACES = {
    "id": Place.PATH,
    "limit": Place.QUERY,
    "ratio": Place.QUERY,
    "deep": Place.QUERY,
    "tags": Place.QUERY,
    "X-Trace": Place.HEADER,
    "seen": Place.COOKIE,
    "note": Place.FIELD,
}


def route(*path: str | Argument, method: str = "GET", **fixed: str) -> RoutePlan:
    return RoutePlan(method, path or ("/items/", Argument("id")), tool_plan(input_schema=SCHEMA), PLACES, fixed)


def read(query: str = "", headers: Any = (), cookies: Any = None, body: Any = None, **fixed: str) -> Any:
    matched = Matched(route(**fixed), {"id": "7"})
    return arguments(matched, query_pairs(query), list(headers), cookies or {}, body)


@pytest.mark.parametrize(
    ("query", "expected", "handed_on"),
    [
        ("limit=5", {"limit": 5}, []),
        ("limit=-5&ratio=1.5e3", {"limit": -5, "ratio": 1500.0}, []),
        ("limit=5.0&deep=yes", {"limit": "5.0", "deep": "yes"}, []),
        ("deep=true&tags=a,b", {"deep": True, "tags": ["a", "b"]}, []),
        ("tags=a&tags=b&limit=1&limit=2", {"tags": ["a", "b"], "limit": ["1", "2"]}, []),
        ("beta=true&x=&limit=1", {"limit": 1}, [("beta", "true"), ("x", "")]),
        ("id=other&note=other&X-Trace=other", {}, [("id", "other"), ("note", "other"), ("X-Trace", "other")]),
    ],
)
def test_a_query_has_types_and_the_rest_is_handed_on(query: str, expected: Any, handed_on: Any) -> None:
    assert read(query) == ({"id": "7", **expected}, handed_on)


def test_headers_cookies_and_fields_are_taken_where_they_are_declared() -> None:
    headers = [("x-trace", "a"), ("x-trace", "b"), ("x-other", "c"), ("limit", "9")]
    given_arguments, _ = read("", headers, {"seen": "yes", "note": "no"}, {"note": "words"})
    assert given_arguments == {"id": "7", "X-Trace": "a, b", "seen": "yes", "note": "words"}


def test_a_body_reaches_no_other_place() -> None:
    with pytest.raises(InvalidArguments, match="limit: the body has no such field"):
        read(body={"limit": 1})
    with pytest.raises(InvalidArguments, match="JSON object"):
        read(body=[1])


def test_what_the_file_fixes_is_nobody_elses() -> None:
    assert read("limit=9", limit="3") == ({"id": "7", "limit": "3"}, [("limit", "9")])
    closed = route()
    request = request_plan(feed(Place.QUERY, "limit"), credential=Feed(Place.QUERY, "key", feed(Place.QUERY).value))
    closed = RoutePlan("GET", closed.path, tool_plan(input_schema=SCHEMA), {"id": Place.PATH}, {})
    object.__setattr__(closed.tool, "request", request)
    for name in ("limit", "key"):
        with pytest.raises(InvalidArguments, match=f"{name}: this server sets"):
            arguments(Matched(closed, {"id": "7"}), [(name, "x")], [], {}, None)


def test_a_fixed_segment_counts_for_more_than_a_variable() -> None:
    variable, fixed = route("/items/", Argument("id")), route("/items/all")
    assert [each.route for each in matching([variable, fixed], "/items/all")] == [fixed]
    assert [each.variables for each in matching([variable, fixed], "/items/a%2Fll")] == [{"id": "a/ll"}]
    assert matching([variable, fixed], "/items/") == []
    assert matching([variable, fixed], "/items/a/b") == []


@given(st.text(min_size=1).filter(lambda text: not any("\ud800" <= char <= "\udfff" for char in text)))
def test_a_path_that_was_made_is_matched_again(value: str) -> None:
    [matched] = matching([route()], path_of(route(), {"id": value}))
    assert matched.variables == {"id": value}
