"""A plausible value for a JSON Schema: the input of a tool, or an answer in a format that was asked for. Pure."""

import json
import random
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from referencing.exceptions import Unresolvable

from batches_mcp.sandbox.leaves import number, text
from batches_mcp.sandbox.merging import Schema, flattened
from batches_mcp.sandbox.patterns import matching

__all__ = ["NoSample", "sample", "schema_problem"]

_MAX_DEPTH = 16
# How deep a value has what it need not have, so that a schema that contains itself comes to an end.
_GENEROUS_DEPTH = 3
_ATTEMPTS = 5
_MAX_STEPS = 4_000
_MAX_ITEMS = 1_000

# What a schema without a type is about.
_TELLING = {
    "object": ("properties", "required", "additionalProperties", "patternProperties", "minProperties", "propertyNames"),
    "array": ("items", "prefixItems", "minItems", "uniqueItems", "contains", "maxItems"),
    "string": ("pattern", "format", "minLength", "maxLength"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}


class NoSample(Exception):
    """No value was found that fits a schema; there may be none."""


def sample(schema: Schema, seed: str) -> Any:
    """A value that fits `schema`, the same for the same `seed`; NoSample if none was found."""
    try:
        return _Sampler(schema, seed).value(schema, "", 0, 0)
    except NoSample:
        # Known to be there: `schema_problem` found it.
        return _Sampler(schema, "").value(schema, "", 0, 0)


def schema_problem(schema: Schema) -> str | None:
    """Why there can be no value for `schema`, in a sentence; None if there is one. Remembers the last schemas."""
    return _problem(json.dumps(schema))


@lru_cache(maxsize=64)
def _problem(schema_text: str) -> str | None:
    schema = json.loads(schema_text)
    try:
        validator_for(schema, default=Draft202012Validator).check_schema(schema)
    except SchemaError as error:
        return f"JSON schema is invalid: {error.message[:200]}"
    except RecursionError:
        return "JSON schema is invalid: it is nested too deep"
    try:
        _Sampler(schema, "").value(schema, "", 0, 0)
    except NoSample:
        return "the sandbox found no value that fits this JSON schema"
    return None


class _Sampler:
    def __init__(self, root: Schema, seed: str) -> None:
        self._root = root
        self._rng = random.Random(seed)  # noqa: S311 - a choice, not a secret
        self._steps = _MAX_STEPS
        kind = validator_for(root, default=Draft202012Validator)
        self._validator: Validator = kind(root, format_checker=kind.FORMAT_CHECKER)

    def value(self, schema: object, name: str, depth: int, place: int) -> Any:
        """A value that fits. name: of the property it is for. place: among the items of an array, from 0."""
        if depth > _MAX_DEPTH:
            raise NoSample
        simplest = depth > _GENEROUS_DEPTH
        for flat in flattened(schema, self._root, self._rng, simplest=simplest):
            for attempt in range(_ATTEMPTS):
                self._steps -= 1
                if self._steps < 0:
                    raise NoSample
                try:
                    candidate = self._made(flat, name, depth, place, attempt)
                except NoSample:
                    continue
                if self._fits(candidate, schema):
                    return candidate
        raise NoSample

    def _fits(self, candidate: Any, schema: object) -> bool:
        if not isinstance(schema, Mapping):
            return schema is not False
        try:
            return self._validator.evolve(schema=schema).is_valid(candidate)
        except (Unresolvable, re.error, RecursionError, OverflowError):
            return False

    def _made(self, flat: Schema, name: str, depth: int, place: int, attempt: int) -> Any:
        if "const" in flat:
            return flat["const"]
        if isinstance(offered := flat.get("enum"), list):
            fitting = [each for each in offered if self._fits(each, flat)]
            if not fitting:
                raise NoSample
            return self._rng.choice(fitting)
        if attempt == 0 and place == 0:
            if isinstance(examples := flat.get("examples"), list) and examples:
                return examples[0]
            if flat.get("default") is not None:
                return flat["default"]
        kinds = _kinds(flat, null_first=depth > _GENEROUS_DEPTH)
        match kinds[attempt % len(kinds)]:
            case "object":
                return self._object(flat, depth, attempt)
            case "array":
                return self._array(flat, name, depth, attempt)
            case "string":
                return self._text(flat, name, place, attempt)
            case "integer" | "number" as kind:
                return number(flat, self._rng, place, whole=kind == "integer")
            case "boolean":
                return attempt % 2 == 0 if place == 0 else place % 2 == 0
            case _:
                return None

    def _text(self, flat: Schema, name: str, place: int, attempt: int) -> str:
        pattern = flat.get("pattern")
        if not isinstance(pattern, str):
            return text(flat, name, place)
        # Longer from one attempt to the next, in case it must be.
        least = flat.get("minLength", 0)
        matched = matching(pattern, self._rng, (least if isinstance(least, int) else 0) * attempt)
        if matched is None:
            raise NoSample
        return matched

    def _array(self, flat: Schema, name: str, depth: int, attempt: int) -> list[Any]:
        items = flat.get("items", True)
        first = flat.get("prefixItems", items if isinstance(items, list) else [])
        rest = flat.get("additionalItems", True) if isinstance(items, list) else items
        contained, least_contained = flat.get("contains"), 0
        if contained is not None:
            least_contained = _count(flat.get("minContains", 1))
        least = max(_count(flat.get("minItems")), least_contained)
        most = _count(flat["maxItems"]) if "maxItems" in flat else _MAX_ITEMS
        wanted = least if depth > _GENEROUS_DEPTH or rest is False else max(least, 1)
        total = min(max(wanted, len(first)) if attempt < 3 else least, most)
        values: list[Any] = []
        for place in range(total):
            demanded = first[place] if place < len(first) else rest
            if contained is not None and total - place <= least_contained:
                demanded = {"allOf": [demanded, contained]}
            values.append(self._item(demanded, name, depth, place, values if flat.get("uniqueItems") else []))
        return values

    def _item(self, demanded: object, name: str, depth: int, place: int, taken: list[Any]) -> Any:
        """One item, other than those that are `taken`."""
        for again in range(20):
            value = self.value(demanded, name, depth + 1, place + again)
            if value not in taken:
                return value
        raise NoSample

    def _object(self, flat: Schema, depth: int, attempt: int) -> dict[str, Any]:
        properties = flat["properties"] if isinstance(flat.get("properties"), Mapping) else {}
        required = flat["required"] if isinstance(flat.get("required"), list) else []
        names = [name for name in properties if name in required or properties[name] is not False]
        if depth >= _GENEROUS_DEPTH or attempt % 2:
            names = [name for name in names if name in required]
        if attempt > 2:
            names = [name for name in properties if name in required or self._rng.random() < 0.5]
        names += [name for name in required if name not in names]
        made: dict[str, Any] = {}
        for name in names:
            try:
                made[name] = self.value(self._demanded(flat, name), name, depth + 1, 0)
            except NoSample:
                if name in required:
                    raise
        least = _count(flat.get("minProperties"))
        if not properties and isinstance(flat.get("additionalProperties"), Mapping) and depth < _GENEROUS_DEPTH:
            least = max(least, 1)
        for name in self._more_names(flat):
            if len(made) >= least:
                break
            if name not in made:
                made[name] = self.value(self._demanded(flat, name), name, depth + 1, 0)
        return made

    def _more_names(self, flat: Schema) -> Iterator[str]:
        """Names for properties that are not listed."""
        yield from flat.get("properties", {})
        for pattern in flat.get("patternProperties", {}):
            for _ in range(20):
                if (matched := matching(pattern, self._rng)) is not None:
                    yield matched
        for place in range(_MAX_ITEMS):
            if "propertyNames" in flat:
                yield str(self.value({"allOf": [flat["propertyNames"], {"type": "string"}]}, "key", 1, place))
            else:
                yield f"key{place + 1}"

    def _demanded(self, flat: Schema, name: str) -> object:
        """What the value of a property must fit."""
        listed = flat.get("properties", {})
        demands = [listed[name]] if name in listed else []
        patterns = flat.get("patternProperties", {})
        try:
            demands += [patterns[pattern] for pattern in patterns if re.search(pattern, name)]
        except re.error:
            raise NoSample from None
        if not demands:
            demands = [flat.get("additionalProperties", True)]
        return demands[0] if len(demands) == 1 else {"allOf": demands}


def _kinds(flat: Schema, *, null_first: bool) -> list[object]:
    """The types a value may have, likeliest first."""
    kinds = flat.get("type")
    if isinstance(kinds, str):
        return [kinds]
    if isinstance(kinds, list) and kinds:
        return sorted(kinds, key=lambda kind: (kind == "null") != null_first)
    return [kind for kind, words in _TELLING.items() if any(word in flat for word in words)] or ["string"]


def _count(value: object) -> int:
    """A count of a schema; 0 if it is none."""
    return min(int(value), _MAX_ITEMS) if isinstance(value, int | float) and value > 0 else 0
