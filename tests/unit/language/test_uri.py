"""URIs of resources: what goes in comes out, and nothing reaches beyond its segment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batches_mcp.core.plan import Argument
from batches_mcp.language.uri import expand, match

ONE = ("batch://", Argument("id"))
TWO = ("shop://items/", Argument("id"), "/parts/", Argument("part"), "?all")

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(texts, texts)
def test_what_is_expanded_matches_with_the_same_values(first: str, second: str) -> None:
    values = {"id": first, "part": second}
    assert match(TWO, expand(TWO, values)) == values


@given(texts)
def test_a_value_stays_in_its_segment(value: str) -> None:
    text = expand(ONE, {"id": value}).removeprefix("batch://")
    assert not set("/?#") & set(text)
    assert match((*ONE, "/results"), f"batch://{text}") is None


@given(st.text())
def test_any_text_matches_or_does_not(text: str) -> None:
    found = match(TWO, text)
    assert found is None or found.keys() == {"id", "part"}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("batch://a", {"id": "a"}),
        ("batch://a%2Fb", {"id": "a/b"}),
        ("batch://..", {"id": ".."}),
        ("batch://", None),
        ("batch://a/b", None),
        ("batch://a?b", None),
        ("batch://a#b", None),
        ("batch://%ff", None),
        ("batch://a\n", {"id": "a\n"}),
        ("BATCH://a", None),
        ("xbatch://a", None),
    ],
)
def test_what_matches(text: str, values: dict[str, str] | None) -> None:
    assert match(ONE, text) == values


def test_a_variable_that_stands_twice_has_one_value() -> None:
    twice = ("x://", Argument("id"), "/", Argument("id"))
    assert match(twice, "x://a/a") == {"id": "a"}
    assert match(twice, "x://a/b") is None


def test_literal_parts_are_no_pattern() -> None:
    assert match(("x://a.b",), "x://a.b") == {}
    assert match(("x://a.b",), "x://aXb") is None
