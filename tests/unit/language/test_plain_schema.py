"""What is taken for a schema without asking the meta-schema is one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, SchemaError

from batches_mcp.language.plain_schema import _KEYWORDS, is_plain_schema

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.just(0.5) | st.sampled_from(["string", "object", "x", "(", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*_KEYWORDS, "$ref", "x-order", "name"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(VALUES | st.dictionaries(st.sampled_from(sorted(_KEYWORDS)), VALUES, max_size=3))
def test_a_plain_schema_is_a_schema(value: Any) -> None:
    if is_plain_schema(value):
        Draft202012Validator.check_schema(value)


@pytest.mark.parametrize("keyword", sorted(_KEYWORDS))
def test_a_keyword_is_judged_as_the_meta_schema_does(keyword: str) -> None:
    values: list[Any] = [True, False, None, 0, -1, 1.5, "x", "(", "string", [], [1], ["x", "x"], ["string"], {}]
    for value in values:
        try:
            Draft202012Validator.check_schema({keyword: value})
        except SchemaError:
            assert not is_plain_schema({keyword: value}), value
        else:
            assert is_plain_schema({keyword: value}), value


def test_what_is_not_known_takes_a_closer_look() -> None:
    assert not is_plain_schema({"$ref": "#/x"})
    assert not is_plain_schema({"properties": {"a": {"contains": {}}}})
