"""What is wrong with a request, as the API words it: `limit: Input should be greater than or equal to 1`. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from batches_mcp.core.redact import excerpt

if TYPE_CHECKING:
    from jsonschema import ValidationError

_BOUNDS = {
    "minimum": "greater than or equal to",
    "maximum": "less than or equal to",
    "exclusiveMinimum": "greater than",
    "exclusiveMaximum": "less than",
}
_SIZES = {
    "minLength": ("String", "at least", "character"),
    "maxLength": ("String", "at most", "character"),
    "minItems": ("List", "at least", "item"),
    "maxItems": ("List", "at most", "item"),
}
_TYPES = {"array": "list", "object": "dictionary"}


def in_fields(error: ValidationError) -> Iterator[str]:
    """A line for each field that an error concerns."""
    value: Any = error.instance
    limit: Any = error.validator_value
    where = [str(step) for step in error.absolute_path]
    match error.validator:
        case "required":
            yield from (_line([*where, name], "Field required") for name in limit if name not in value)
        case "additionalProperties" if limit is False:
            schema: Any = error.schema
            unknown = [name for name in value if name not in schema.get("properties", {})]
            yield from (_line([*where, excerpt(name, 60)], "Extra inputs are not permitted") for name in unknown)
        case validator:
            yield _line(where, _problem(str(validator), value, limit) or excerpt(error.message, 200))


def _line(where: list[str], problem: str) -> str:
    return f"{'.'.join(where) or 'body'}: {problem}"


def _problem(validator: str, value: Any, limit: Any) -> str:
    if validator in _BOUNDS:
        return f"Input should be {_BOUNDS[validator]} {limit}"
    if validator in _SIZES:
        kind, bound, unit = _SIZES[validator]
        found = f" after validation, not {len(value)}" if kind == "List" else ""
        return f"{kind} should have {bound} {limit} {unit}{'' if limit == 1 else 's'}{found}"
    match validator:
        case "type":
            kinds = [limit] if isinstance(limit, str) else limit
            return f"Input should be a valid {' or '.join(_TYPES.get(kind, kind) for kind in kinds)}"
        case "enum":
            return f"Input should be {' or '.join(repr(each) for each in limit)}"
        case "pattern":
            return f"String should match pattern '{limit}'"
        case _:
            return ""
