"""A JSON Schema as plain schemas, without `$ref`, `allOf`, `anyOf`, `oneOf` and `if`. Pure."""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

__all__ = ["Schema", "flattened"]

Schema = Mapping[str, Any]

_MAX_DEPTH = 12
_COMBINING = frozenset({"$ref", "allOf", "anyOf", "oneOf", "if", "then", "else"})
_GREATEST = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "minContains"})
_LEAST = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", "maxContains"})
_NESTED = frozenset({"items", "additionalProperties", "contains", "propertyNames"})


def flattened(schema: object, root: Schema, rng: random.Random, *, simplest: bool, depth: int = 0) -> Iterator[Schema]:
    """Plain schemas; what fits one of them is likely to fit `schema`. None for a schema that nothing fits.

    The order is `rng`'s, but that of null is last; `simplest`: null first, and what refers elsewhere last.
    """
    if depth > _MAX_DEPTH or schema is False:
        return
    if not isinstance(schema, Mapping):
        yield {}
        return
    plain: Schema = {key: value for key, value in schema.items() if key not in _COMBINING}
    yield from _joined(plain, _groups(schema, root, rng, simplest=simplest), root, rng, simplest, depth)


def _groups(schema: Schema, root: Schema, rng: random.Random, *, simplest: bool) -> list[list[object]]:
    """Groups of schemas: one of each group must fit."""
    groups: list[list[object]] = []
    if isinstance(reference := schema.get("$ref"), str):
        groups.append([_target(reference, root)])
    groups += [[part] for part in _list(schema.get("allOf"))]
    for key in ("anyOf", "oneOf"):
        if branches := _list(schema.get(key)):
            rng.shuffle(branches)
            branches.sort(key=_complexity if simplest else _is_null)
            groups.append(branches)
    if "if" in schema:
        condition = schema["if"]
        groups.append([{"allOf": [condition, schema.get("then", True)]}, schema.get("else", True)])
    return groups


def _joined(
    plain: Schema, groups: Sequence[list[object]], root: Schema, rng: random.Random, simplest: bool, depth: int
) -> Iterator[Schema]:
    if not groups:
        yield plain
        return
    for branch in groups[0]:
        for flat in flattened(branch, root, rng, simplest=simplest, depth=depth + 1):
            merged = _merged(plain, flat)
            if merged is not None:
                yield from _joined(merged, groups[1:], root, rng, simplest, depth)


def _merged(left: Schema, right: Schema) -> Schema | None:
    """A plain schema that demands what both do; None where they visibly contradict each other."""
    merged = dict(left)
    for key, value in right.items():
        if key not in merged:
            merged[key] = value
            continue
        mine = merged[key]
        try:
            if key == "type":
                merged[key] = _common_types(mine, value)
                if not merged[key]:
                    return None
            elif key == "enum":
                merged[key] = [each for each in mine if each in value]
            elif key == "const" and mine != value:
                return None
            elif key in _GREATEST:
                merged[key] = max(mine, value)
            elif key in _LEAST:
                merged[key] = min(mine, value)
            elif key == "required":
                merged[key] = list(dict.fromkeys([*mine, *value]))
            elif key in ("properties", "patternProperties"):
                both = {name: {"allOf": [mine[name], value[name]]} for name in mine.keys() & value.keys()}
                merged[key] = {**mine, **value, **both}
            elif key in _NESTED:
                merged[key] = {"allOf": [mine, value]}
            else:
                merged[key] = value
        except (TypeError, AttributeError):  # not a schema
            merged[key] = value
    return merged


def _common_types(left: object, right: object) -> list[object]:
    mine, theirs = _types(left), _types(right)
    common = [each for each in mine if each in theirs]
    if "integer" not in common and "integer" in (*mine, *theirs) and "number" in (*mine, *theirs):
        common.append("integer")
    return common


def _types(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _target(reference: str, root: Schema) -> object:
    """What a local `$ref` (`#`, `#/$defs/name`) points at; anything goes where it points elsewhere."""
    pointer, target = unquote(reference), root
    if not pointer.startswith("#"):
        return True
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        inner: Any = target
        if isinstance(inner, list) and name.isdecimal() and int(name) < len(inner):
            target = inner[int(name)]
        elif isinstance(inner, Mapping) and name in inner:
            target = inner[name]
        else:
            return True
    return target


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else []


def _is_null(branch: object) -> bool:
    return isinstance(branch, Mapping) and (branch.get("type") == "null" or branch.get("const", 0) is None)


def _complexity(branch: object) -> int:
    if _is_null(branch) or not isinstance(branch, Mapping):
        return 0
    if "$ref" in branch:
        return 3
    return 2 if branch.get("type") in ("object", "array") else 1
