"""Telling schemas of the usual keywords from those that take the whole meta-schema to judge, a hundred times faster."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_TYPES = {"array", "boolean", "integer", "null", "number", "object", "string"}


def is_plain_schema(value: Any) -> bool:
    """Whether something is a JSON Schema (2020-12) for certain; false when it takes a closer look to tell."""
    if not isinstance(value, dict):
        return isinstance(value, bool)
    return all(key in _KEYWORDS and _KEYWORDS[key](each) for key, each in value.items())


def _is_type(value: Any) -> bool:
    return value in _TYPES if isinstance(value, str) else _is_texts(value) and bool(value) and _TYPES.issuperset(value)


def _is_texts(value: Any) -> bool:
    """Whether it is a list of texts, each another one."""
    return isinstance(value, list) and all(isinstance(each, str) for each in value) and len(set(value)) == len(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_pattern(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(re.compile(value))
    except re.error:
        return False


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _are_schemas(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(is_plain_schema, value))


def _is_named_schemas(value: Any) -> bool:
    return isinstance(value, dict) and all(map(is_plain_schema, value.values()))


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_anything(_: Any) -> bool:
    return True


_KEYWORDS: Mapping[str, Callable[[Any], bool]] = {
    "type": _is_type,
    "properties": _is_named_schemas,
    "items": is_plain_schema,
    "additionalProperties": is_plain_schema,
    "required": _is_texts,
    "enum": _is_list,
    "examples": _is_list,
    "pattern": _is_pattern,
    "const": _is_anything,
    "default": _is_anything,
    **dict.fromkeys(("title", "description", "format", "$comment"), _is_text),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _is_number),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), _is_count),
    **dict.fromkeys(("anyOf", "oneOf", "allOf"), _are_schemas),
    **dict.fromkeys(("uniqueItems", "deprecated", "readOnly", "writeOnly"), _is_bool),
}
