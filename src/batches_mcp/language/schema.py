"""The document model -> a JSON Schema (2020-12) of the language, for editors.

Made of the same declarations that `load` decodes by, so that the two cannot say different things of a file's shape.
"""

from __future__ import annotations

import inspect
from dataclasses import Field
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from batches_mcp.language.model import Document, Key, Located, key_of, own_fields, required

_SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean"}


def schema() -> dict[str, Any]:
    """The schema of a capability file."""
    definitions: dict[str, Any] = {}
    root = _model(Document, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A capability file, as batches-mcp reads it",
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def _model(model: type[Located], definitions: dict[str, Any], *, without: str = "") -> dict[str, Any]:
    """A mapping of the file; `without` is a key that it may not have, because it has it otherwise."""
    types = get_type_hints(model)
    properties: dict[str, Any] = {}
    needed: list[str] = []
    rules: list[dict[str, Any]] = []
    for model_field in own_fields(model).values():
        written = key_of(model_field)
        spellings = [spelling for spelling in written.spellings if spelling != without]
        value = _optional(_value(types[model_field.name], written, definitions), model_field)
        properties |= dict.fromkeys(spellings, value)
        if len(spellings) > 1 and required(model_field):
            rules.append({"oneOf": [{"required": [spelling]} for spelling in spellings]})
        elif len(spellings) > 1:
            rules.append({"not": {"required": spellings}})
        elif required(model_field):
            needed += spellings
    result: dict[str, Any] = {
        "type": "object",
        "description": inspect.cleandoc(model.__doc__ or "") if _described(model) else None,
        "properties": properties,
        "required": needed,
        "allOf": rules,
        "additionalProperties": None if model.for_readers else False,
    }
    return {name: value for name, value in result.items() if value not in (None, [])}


def _described(model: type[Located]) -> bool:
    """Whether the model's docstring was written, rather than made by `dataclass`."""
    return not (model.__doc__ or "").startswith(f"{model.__name__}(")


def _optional(value: dict[str, Any], model_field: Field[Any]) -> dict[str, Any]:
    """A key without a value is one that is not there, where it need not be."""
    if required(model_field) or not value:
        return value
    if isinstance(value.get("type"), str) and "enum" not in value:
        return {**value, "type": [value["type"], "null"]}
    return {"anyOf": [value, {"type": "null"}]}


def _value(expected: Any, written: Key, definitions: dict[str, Any]) -> dict[str, Any]:
    if expected is Any:
        return {}
    origin, arguments = get_origin(expected), get_args(expected)
    if origin in (Union, UnionType):
        members = [each for each in arguments if each is not NoneType]
        if all(member in _SCALARS for member in members) and len(members) > 1:
            kinds = {_SCALARS[member] for member in members}
            return {"type": sorted(kinds - {"integer"} if "number" in kinds else kinds)}
        values = [_value(member, written, definitions) for member in members]
        return values[0] if len(values) == 1 else {"anyOf": values}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is tuple:
        return _list(arguments[0], written, definitions)
    if origin is dict:
        return {"type": "object", "additionalProperties": _value(arguments[1], written, definitions)}
    if issubclass(expected, Located):
        reference = _reference(expected, definitions)
        return {"anyOf": [reference, _array(reference, most=1)]} if written.wrapped else reference
    return {"type": _SCALARS[expected]}


def _list(item: Any, written: Key, definitions: dict[str, Any]) -> dict[str, Any]:
    plain = Key(written.spellings)
    listed = _array(_value(item, plain, definitions))
    if not written.named:
        return listed
    entry = _reference(item, definitions, without="name")
    return {"anyOf": [listed, {"type": "object", "additionalProperties": entry}]}


def _array(items: dict[str, Any], most: int | None = None) -> dict[str, Any]:
    bounds = {} if most is None else {"minItems": most, "maxItems": most}
    return {"type": "array", "items": items, **bounds}


def _reference(model: type[Located], definitions: dict[str, Any], *, without: str = "") -> dict[str, Any]:
    name = f"{model.__name__}ByName" if without else model.__name__
    if name not in definitions:
        definitions[name] = {}  # for models that hold themselves
        definitions[name] = _model(model, definitions, without=without)
    return {"$ref": f"#/$defs/{name}"}
