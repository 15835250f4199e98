"""The input of a tool that was pretended to be called fits the tool's schema."""

from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batches_mcp.sandbox.samples import sample


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        {"type": "object", "properties": {"when": {"type": "string", "format": "date-time"}}},
        {"properties": {"n": {"type": "number", "minimum": 2.5, "maximum": 3}}},
        {"type": "object", "properties": {"n": {"type": "integer", "exclusiveMinimum": 4, "exclusiveMaximum": 6}}},
        {"type": "array", "items": {"enum": ["x", "y"]}, "minItems": 3},
        {"type": ["string", "null"], "minLength": 30, "maxLength": 40},
        {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
        {"const": {"k": [1]}},
        {"type": "object", "properties": {"a": {"default": 7}, "b": {"examples": ["ex"]}}},
        {"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {"id": {"type": "integer"}}}}},
        {
            "type": "object",
            "properties": {"child": {"$ref": "#"}, "name": {"type": "string"}},
            "required": ["name"],
        },
        {"type": "null"},
        {},
    ],
    ids=str,
)
def test_it_fits(schema: dict[str, Any]) -> None:
    jsonschema.validate(sample(schema), schema)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
keywords = st.sampled_from(
    ["type", "enum", "const", "properties", "required", "items", "minItems", "anyOf", "$ref", "minimum", "maxLength"]
)


@given(st.dictionaries(keywords, anything | st.sampled_from(["object", "array", "string", "integer", "#", "#/a"])))
def test_any_schema_has_a_sample(schema: dict[str, Any]) -> None:
    sample(schema)
