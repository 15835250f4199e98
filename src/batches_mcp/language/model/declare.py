"""How the document model is declared: dataclasses whose fields say how they are written in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, ClassVar, TypeVar, dataclass_transform

from batches_mcp.core.diagnostics import Mark
from batches_mcp.language.nodes import Node

Json = Any
ModelT = TypeVar("ModelT")

# How the original writes that a part of the file is in another one.
IMPORT_KEYS = dict.fromkeys(("from", "import", "as"), "imports are not supported: write the entry out here")


@dataclass(frozen=True)
class Key:
    """How a field is written: its spellings, the first being ours, and which other forms its value may have.

    A list that is `named` may be a map by name. What is `wrapped` may stand in a list of one. `unsupported` are values
    (of a choice, or of `type`) that Naftiko or Ikanos know and this program does not, with what to do instead.
    """

    spellings: tuple[str, ...]
    named: bool = False
    wrapped: bool = False
    unsupported: Mapping[str, str] = field(default_factory=dict)


def key(
    *spellings: str,
    named: bool = False,
    wrapped: bool = False,
    unsupported: Mapping[str, str] | None = None,
    default: Any = MISSING,
) -> Any:
    """A field written as one of `spellings`; without a default it is required."""
    return field(default=default, metadata={"key": Key(spellings, named, wrapped, unsupported or {})})


def key_of(model_field: Field[Any]) -> Key:
    """How a model's field is written; its own name, in camel case, unless it says otherwise."""
    if "key" in model_field.metadata:
        return model_field.metadata["key"]  # type: ignore[no-any-return]
    head, *rest = model_field.name.split("_")
    return Key((head + "".join(word.capitalize() for word in rest),))


@dataclass_transform(frozen_default=True, kw_only_default=True, eq_default=False, field_specifiers=(key, field))
def declared(model: type[ModelT]) -> type[ModelT]:
    """A class of the document model: a frozen dataclass, without the comparisons and texts that nobody asks for.

    Making those takes half the time of importing the model, which every start pays.
    """
    return dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)(model)


@declared
class Located:
    """Anything decoded from the file; `node` is the mapping it came from."""

    # Keys of Naftiko or Ikanos that are known and not supported, with what to do instead.
    unsupported: ClassVar[dict[str, str]] = {}
    # Required keys for which the original takes others instead: those others, with what to do instead.
    instead: ClassVar[dict[str, dict[str, str]]] = {}

    # Whether it only tells readers something, so that a key nobody knows does no harm.
    for_readers: ClassVar[bool] = False
    # The type of the adapter that this is; what is wrong with one keeps the others from nothing.
    part: ClassVar[str] = ""

    node: Node

    def place(self, field_name: str) -> Mark:
        """Where a field's value stands; where the object itself does when the file does not say it."""
        for model_field in fields(self):
            if model_field.name == field_name:
                for spelling in key_of(model_field).spellings:
                    if spelling in self.node.entries():
                        return self.node.entries()[spelling].mark
        return self.node.where


def own_fields(model: type[Located]) -> dict[str, Field[Any]]:
    """What a model's mapping is made of, by field name."""
    return {each.name: each for each in fields(model) if each.name != "node"}


def required(model_field: Field[Any]) -> bool:
    """Whether a file has to say it."""
    return model_field.default is MISSING and model_field.default_factory is MISSING
