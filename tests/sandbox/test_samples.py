"""What a tool is called with, and an answer of a schema, fit the schema."""

import datetime
import enum
import ipaddress
import json
import random
import re
import uuid
from typing import Annotated, Any, Literal

import jsonschema
import pydantic
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from batches_mcp.sandbox.patterns import matching
from batches_mcp.sandbox.samples import sample, schema_problem

Json = dict[str, Any]

RANDOM = random.Random


def fits(schema: Json, seed: str = "") -> Any:
    assert schema_problem(schema) is None
    value = sample(schema, seed)
    assert sample(schema, seed) == value
    jsonschema.validate(value, schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    return value


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        {"type": "object", "properties": {"when": {"type": "string", "format": "date-time"}}},
        {"properties": {"n": {"type": "number", "minimum": 2.5, "maximum": 3}}},
        {"type": "object", "properties": {"n": {"type": "integer", "exclusiveMinimum": 4, "exclusiveMaximum": 6}}},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.001},
        {"type": "integer", "minimum": 11, "maximum": 19, "multipleOf": 7},
        {"type": "number", "multipleOf": 0.25, "minimum": 0.3},
        {"type": "integer", "multipleOf": 0.5},
        {"type": "array", "items": {"enum": ["x", "y"]}, "minItems": 3},
        {"type": "array", "items": {"enum": ["x", "y", "z"]}, "minItems": 3, "uniqueItems": True},
        {"type": "array", "items": {"type": "string", "format": "date"}, "minItems": 4, "uniqueItems": True},
        {"type": "array", "items": {"type": "integer"}, "contains": {"minimum": 5}, "minContains": 2, "minItems": 3},
        {"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}], "items": False},
        {"type": "array", "items": False},
        {"type": "array", "items": {"type": "string"}, "maxItems": 0},
        {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"const": 1}], "additionalItems": False},
        {"type": ["string", "null"], "minLength": 30, "maxLength": 40},
        {"type": "string", "maxLength": 0},
        {"type": "string", "pattern": "^[A-Z]{3}-\\d{4}$", "minLength": 8},
        {"type": "string", "pattern": "^[a-z]+$", "minLength": 20},
        {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
        {"oneOf": [{"type": "number", "minimum": 3}, {"type": "integer", "maximum": 5}]},
        {"oneOf": [{"required": ["a"]}, {"required": ["b"]}], "properties": {"a": {}, "b": {}}, "type": "object"},
        {"allOf": [{"properties": {"a": {"type": "integer", "minimum": 5}}}, {"required": ["a"]}], "type": "object"},
        {"allOf": [{"enum": [1, 2, 3]}, {"enum": [3, 4]}, {"type": "integer"}]},
        {"not": {"type": "string"}, "type": ["string", "integer"]},
        {"type": "object", "properties": {"a": {"const": 1}}, "if": {"required": ["a"]}, "then": {"required": ["b"]}},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"type": "object", "minProperties": 3, "propertyNames": {"pattern": "^x[0-9]+$"}},
        {"type": "object", "patternProperties": {"^n_": {"type": "number"}}, "required": ["n_1"], "minProperties": 2},
        {"type": "object", "required": ["unlisted"]},
        {"type": "object", "maxProperties": 1, "properties": {"a": {}, "b": {}}, "required": ["b"]},
        {"type": "object", "dependentRequired": {"a": ["b"]}, "properties": {"a": {"type": "null"}}},
        {"const": {"k": [1]}},
        {"type": "object", "properties": {"a": {"default": 7}, "b": {"examples": ["ex"]}}},
        {"type": "string", "default": 7, "examples": [None]},
        {"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {"id": {"type": "integer"}}}}},
        {"$ref": "#/$defs/a~1b%20c", "$defs": {"a/b c": {"type": "integer"}}},
        {"$ref": "#/$defs/a", "minimum": 7, "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"type": "integer"}}},
        {"type": "object", "properties": {"child": {"$ref": "#"}, "name": {"type": "string"}}, "required": ["name"]},
        {
            "$ref": "#/$defs/tree",
            "$defs": {
                "tree": {
                    "type": "object",
                    "properties": {"left": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]}},
                    "required": ["left"],
                }
            },
        },
        {"type": "null"},
        {},
    ],
    ids=str,
)
def test_it_fits(schema: Json) -> None:
    fits(schema)


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "strin"}, "JSON schema is invalid: 'strin' is not valid"),
        ({"properties": []}, "JSON schema is invalid: "),
        ({"type": "string", "pattern": "("}, "JSON schema is invalid: "),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "the sandbox found no value that fits"),
        ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "the sandbox found no value that fits"),
        ({"enum": []}, "the sandbox found no value that fits"),
        ({"not": {}}, "the sandbox found no value that fits"),
        ({"$ref": "https://example.com/elsewhere"}, "the sandbox found no value that fits"),
        ({"$ref": "#"}, "the sandbox found no value that fits"),
        ({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "the sandbox found no value"),
    ],
    ids=str,
)
def test_what_nothing_fits(schema: Json, problem: str) -> None:
    assert (schema_problem(schema) or "").startswith(problem)


def test_another_request_may_get_another_value() -> None:
    labels = {"enum": ["good", "bad", "neutral"]}
    assert {sample(labels, str(number)) for number in range(30)} == {"good", "bad", "neutral"}
    rating = {"type": "integer", "minimum": 1, "maximum": 5}
    assert {sample(rating, str(number)) for number in range(60)} == {1, 2, 3, 4, 5}


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Person(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    name: Annotated[str, pydantic.Field(min_length=3, max_length=12)]
    born: datetime.date
    seen: datetime.datetime | None = None
    favourite: Colour
    code: Annotated[str, pydantic.Field(pattern=r"^[A-Z]{2}\d{2,4}(-[a-f0-9]{4})?$")]
    address: ipaddress.IPv4Address
    id: uuid.UUID
    score: Annotated[float, pydantic.Field(gt=0, lt=1)]
    tags: Annotated[set[str], pydantic.Field(min_length=2)]
    pairs: list[tuple[int, bool]]
    kind: Literal["person"]
    boss: "Person | None"
    extra: dict[str, Annotated[int, pydantic.Field(ge=7, multiple_of=7)]]


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]
    lives: Annotated[int, pydantic.Field(ge=1, le=9)]


class Animal(pydantic.BaseModel):
    one: Annotated[Person | Cat, pydantic.Field(discriminator="kind")]


@pytest.mark.parametrize("model", [Person, Cat, Animal])
@pytest.mark.parametrize("seed", ["", "a", "b"])
def test_models_of_pydantic_take_it(model: type[pydantic.BaseModel], seed: str) -> None:
    model.model_validate_json(json.dumps(fits(model.model_json_schema(), seed)))


names = st.sampled_from(["a", "b", "c", "other name", "ü"])
small = st.integers(0, 4)


@st.composite
def strings(draw: st.DrawFn) -> Json:
    low = draw(small)
    formats = ["date", "date-time", "email", "ipv4", "ipv6", "time", "uuid", "uri", "hostname"]
    return draw(
        st.just({"type": "string"})
        | st.just({"type": "string", "minLength": low * 10, "maxLength": low * 10 + draw(small)})
        | st.sampled_from([{"type": "string", "format": each} for each in formats])
        | st.sampled_from(["^a+$", "[0-9]{2}", "^(x|yy)[^z]?$", r"\d+\.\d+", r"^\w{3,}$"]).map(
            lambda pattern: {"type": "string", "pattern": pattern}
        )
    )


@st.composite
def numbers(draw: st.DrawFn) -> Json:
    low = draw(st.integers(-50, 50))
    schema: Json = {"type": draw(st.sampled_from(["integer", "number"]))}
    if draw(st.booleans()):
        schema[draw(st.sampled_from(["minimum", "exclusiveMinimum"]))] = low
    if draw(st.booleans()):
        schema[draw(st.sampled_from(["maximum", "exclusiveMaximum"]))] = low + 6 + draw(small)
    if draw(st.booleans()):
        schema["multipleOf"] = draw(st.integers(1, 3))
    return schema


scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4)
leaves = (
    strings()
    | numbers()
    | st.sampled_from([{"type": "boolean"}, {"type": "null"}, {}])
    | st.lists(scalars, min_size=1, max_size=4).map(lambda values: {"enum": values})
    | scalars.map(lambda value: {"const": value})
)


def _object(properties: Json, flags: tuple[bool, bool], required: list[str]) -> Json:
    schema: Json = {"type": "object", "properties": properties, "required": [n for n in required if n in properties]}
    if flags[0]:
        schema["additionalProperties"] = False
    return schema


def _array(items: Json, least: int, more: int) -> Json:
    return {"type": "array", "items": items, "minItems": least, "maxItems": least + more}


def _extend(inner: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    branches = st.lists(inner, min_size=1, max_size=3)
    return (
        st.builds(
            _object,
            st.dictionaries(names, inner, max_size=4),
            st.tuples(st.booleans(), st.booleans()),
            st.lists(names, unique=True, max_size=3),
        )
        | st.builds(_array, inner, small, small)
        | branches.map(lambda parts: {"anyOf": parts})
        | branches.map(lambda parts: {"type": "array", "prefixItems": parts, "minItems": len(parts)})
        | inner.map(lambda one: {"oneOf": [one, False]})
        | inner.map(lambda one: {"allOf": [one, {}]})
        | inner.map(lambda one: {"type": "object", "additionalProperties": one})
    )


schemas = st.recursive(leaves, _extend, max_leaves=8)


@settings(max_examples=300, deadline=None)
@given(schemas, st.text(max_size=3))
def test_every_schema_that_something_fits_has_a_sample(schema: Json, seed: str) -> None:
    fits(schema, seed)


@settings(deadline=None)
@given(schemas, schemas)
def test_so_it_has_with_references(schema: Json, other: Json) -> None:
    root = {"type": "object", "properties": {"a": {"$ref": "#/$defs/one"}, "b": {"$ref": "#/$defs/two"}}}
    again = {"anyOf": [{"$ref": "#/$defs/one"}, {"type": "array", "items": {"$ref": "#/$defs/two"}}]}
    fits({**root, "required": ["a", "b"], "$defs": {"one": schema, "two": {"anyOf": [other, again]}}})


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
keywords = st.sampled_from(
    [
        "type",
        "enum",
        "const",
        "properties",
        "required",
        "items",
        "minItems",
        "anyOf",
        "oneOf",
        "allOf",
        "not",
        "if",
        "$ref",
        "minimum",
        "maxLength",
        "pattern",
        "format",
        "multipleOf",
        "patternProperties",
        "uniqueItems",
    ]
)


@pytest.mark.filterwarnings("ignore:Possible:FutureWarning")
@settings(max_examples=300, deadline=None)
@given(st.dictionaries(keywords, anything | st.sampled_from(["object", "array", "string", "integer", "#", "#/a"])))
def test_any_schema_has_a_sample_or_a_problem(schema: Json) -> None:
    if schema_problem(schema) is None:
        fits(schema)


@given(
    st.sampled_from(
        [
            r"^[A-Z]{2,3}-\d+$",
            r"a|b|cd",
            r"[^a-z]",
            r"(ab)\1",
            r"\s\S\w\W\d\D",
            r"^.{3}$",
            r"(?:x?){4}y*?",
            r"[\u00e9]",
            r"^(\([0-9]{3}\))?[0-9]{3}-[0-9]{4}$",
            r"(?i)abc",
            r"[\w-]+@[\w-]+\.\w+",
            r"^$",
        ]
    ),
    st.integers(),
    st.integers(0, 30),
)
def test_patterns_are_matched(pattern: str, seed: int, length: int) -> None:
    assert matching(pattern, RANDOM(seed), length) is not None


@pytest.mark.filterwarnings("ignore:Possible:FutureWarning")
@given(st.text(max_size=12), st.integers())
def test_any_pattern_is_matched_or_given_up(pattern: str, seed: int) -> None:
    found = matching(pattern, RANDOM(seed))
    assume(found is not None)
    assert re.search(pattern, str(found))
