"""What a caller's arguments mean where they are written in another way than their schema has it.

Models and frameworks send null for what they leave out, numbers, booleans and JSON as text, and spaces round an id.
Only a value that fits the schema in one way is taken for that; every other one is left for the check to name. Nothing
within an object is touched, so that what is sent upstream in it is what the caller wrote.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

_INTEGER = re.compile(r"-?[0-9]{1,18}")
_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?([eE][+-]?[0-9]{1,2})?")
_BOOLEANS = {"true": True, "false": False}
_CONTAINERS: Mapping[str, type] = {"array": list, "object": dict}
# Ids, lists of them, what names one as retry_of does, and cursors: no space belongs to any of them.
_ID = re.compile(r"(^|_)(id|ids|of|cursor)$|[a-z]Ids?$")


def meant(schema: Mapping[str, Any], arguments: Mapping[str, Any], unavailable: Mapping[str, str]) -> dict[str, Any]:
    """Arguments as the properties of a schema have them, or as they were where they cannot be understood.

    Null stands for an argument that is left out, unless the schema has another use for it.
    """
    properties = schema.get("properties", {})
    found = {}
    for name, value in arguments.items():
        declared = properties.get(name, {})
        if value is None and (name in unavailable or not _takes_null(declared)):
            continue
        found[name] = _meant(name, value, declared)
    return found


def _takes_null(schema: Mapping[str, Any]) -> bool:
    """Whether null is a value of its own: so says the schema, or it says nothing of types."""
    if "enum" in schema:
        return None in schema["enum"]
    kinds = schema.get("type", ["null"])
    return "null" in ([kinds] if isinstance(kinds, str) else kinds)


def _meant(name: str, value: Any, schema: Mapping[str, Any]) -> Any:
    kind = schema.get("type")
    if isinstance(value, float) and kind == "integer" and value.is_integer():
        return int(value)
    if isinstance(value, list) and kind == "array" and isinstance(schema.get("items"), dict):
        return [_meant(name, each, schema["items"]) if isinstance(each, str) else each for each in value]
    if not isinstance(value, str):
        return value
    text = value.strip()
    if "enum" in schema:
        return text if value not in schema["enum"] and text in schema["enum"] else value
    match kind:
        case "string":
            return text if "pattern" in schema or _ID.search(name) else value
        case "integer" if _INTEGER.fullmatch(text):
            return int(text)
        case "number" if _NUMBER.fullmatch(text):
            return float(text) if re.search(r"[.eE]", text) else int(text)
        case "boolean":
            return _BOOLEANS.get(text.lower(), value)
        case "array" | "object":
            return _from_json(name, value, schema)
        case _:
            return value


def _from_json(name: str, text: str, schema: Mapping[str, Any]) -> Any:
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return text
    return _meant(name, value, schema) if isinstance(value, _CONTAINERS[schema["type"]]) else text


def _no_constant(constant: str) -> NoReturn:
    raise ValueError(constant)  # NaN and Infinity are not JSON
