"""A plausible value for a JSON Schema: the input of a tool that the sandbox pretends to call. Pure.

Schemas come from outside and may be wrong; what is not understood is left out of account.
"""

from collections.abc import Mapping
from typing import Any

__all__ = ["sample"]

_MAX_DEPTH = 8

_BY_FORMAT = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "email": "someone@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
    "hostname": "example.com",
}


def sample(schema: Mapping[str, Any]) -> Any:
    """A value that fits `schema` as far as types, required keys, enums, formats and bounds say."""
    return _sample(schema, schema, "", 0)


def _sample(schema: object, root: Mapping[str, Any], name: str, depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
        return None
    schema = _resolved(schema, root)
    if "const" in schema:
        return schema["const"]
    for key in ("enum", "examples"):
        if isinstance(values := schema.get(key), list) and values:
            return values[0]
    if "default" in schema:
        return schema["default"]
    for key in ("anyOf", "oneOf", "allOf"):
        if isinstance(parts := schema.get(key), list) and parts:
            return _sample(parts[0], root, name, depth + 1)
    kinds = schema.get("type")
    kind = (kinds[0] if kinds else None) if isinstance(kinds, list) else kinds
    match kind:
        case "array":
            count = max(_count(schema.get("minItems")), 1)
            return [_sample(schema.get("items", {"type": "string"}), root, name, depth + 1)] * count
        case "integer" | "number":
            return _number(schema, whole=kind == "integer")
        case "boolean":
            return True
        case "string":
            return _text(schema, name)
        case "object":
            return _object(schema, root, depth)
        case _:
            return _object(schema, root, depth) if "properties" in schema else None


def _object(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> dict[str, Any]:
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return {}
    required = schema.get("required")
    wanted = [key for key in required if key in properties] if isinstance(required, list) else []
    # Deep down only what is required, so that a schema that contains itself comes to an end.
    keys = list(properties) if depth < 2 else wanted
    return {key: _sample(properties[key], root, key, depth + 1) for key in keys}


def _number(schema: Mapping[str, Any], *, whole: bool) -> int | float:
    low, high = _bound(schema.get("minimum")), _bound(schema.get("maximum"))
    above, below = _bound(schema.get("exclusiveMinimum")), _bound(schema.get("exclusiveMaximum"))
    if low is None and above is not None:
        low = above + 1
    if high is None and below is not None:
        high = below - 1
    value = 1 if low is None else low
    value = value if high is None else min(value, high)
    return int(value) if whole else value


def _text(schema: Mapping[str, Any], name: str) -> str:
    text = _BY_FORMAT.get(str(schema.get("format"))) or f"[sandbox] {name}".strip()
    text = text.ljust(_count(schema.get("minLength")), ".")
    longest = _bound(schema.get("maxLength"))
    return text if longest is None else text[: max(int(longest), 0)]


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema that a local `$ref` (`#`, `#/$defs/name`) points at; only its last step may be another `$ref`."""
    for _ in range(_MAX_DEPTH):
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#"):
            break
        target: object = root
        for step in reference.split("/")[1:]:
            target = target.get(step) if isinstance(target, Mapping) else None
        if not isinstance(target, Mapping):
            break
        schema = target
    return schema


def _bound(value: object) -> int | float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _count(value: object) -> int:
    return min(value, 1_000) if isinstance(value, int) and value > 0 else 0
