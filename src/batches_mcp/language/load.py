"""Data with positions -> the document model. Shape only: names are resolved in `link`.

Decoding goes on after a problem: what is missing or of the wrong type gets an empty stand-in, so that one run reports
everything. The stand-ins never leave this package, since a document with errors is not served.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, replace
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from batches_mcp.core.diagnostics import Diagnostic, Problems, did_you_mean, quote
from batches_mcp.language.model import Document, Key, Located, key_of, own_fields, required
from batches_mcp.language.nodes import Node, ParsedFile, type_names

ModelT = TypeVar("ModelT", bound=Located)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A document and everything that is wrong with its shape."""

    document: Document
    problems: tuple[Diagnostic, ...]


def load(source: ParsedFile) -> Loaded:
    """Decode a parsed file into the document model, with every shape problem found."""
    decoder = _Decoder(source.root, Problems(source.file))
    document = decoder.model(source.root, Document)
    return Loaded(document, (*source.problems, *decoder.problems.found))


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a model's fields hold, how each is written, and which field each key of a mapping is."""

    types: Mapping[str, Any]
    fields: Mapping[str, tuple[Field[Any], Key]]
    spellings: Mapping[str, str]


# The same for every file.
_shapes: dict[type[Located], _Shape] = {}


def _shape(model: type[Located]) -> _Shape:
    if model not in _shapes:
        fields = {name: (model_field, key_of(model_field)) for name, model_field in own_fields(model).items()}
        spellings = {spelling: name for name, (_, written) in fields.items() for spelling in written.spellings}
        _shapes[model] = _Shape(get_type_hints(model), fields, spellings)
    return _shapes[model]


@dataclass(slots=True)
class _Decoder:
    root: Node
    problems: Problems

    def error(self, node: Node, code: str, message: str, hint: str = "") -> None:
        self.problems.error(node.where, code, message, hint)

    def model(self, node: Node, model: type[ModelT]) -> ModelT:
        """Decode a mapping into a model; unknown and missing keys are reported and stepped over."""
        with self.problems.within(model.part):
            return self._model(node, model)

    def _model(self, node: Node, model: type[ModelT]) -> ModelT:
        if not isinstance(node.value, dict):
            self.error(node, "wrong-type", f"expected a mapping ({_keys_text(model)}), found {node.kind}")
            return self._blank(replace(node, value={}), model)
        if (other := self._instead(node, model)) is not None:
            entry, message, hint = other
            self.error(entry, "unsupported", message, hint)
            return self._blank(node, model)
        known = _shape(model).spellings
        for name, entry in node.value.items():
            if name in model.unsupported:
                self.error(entry, "unsupported", f"{quote(name)} is not supported here", model.unsupported[name])
            elif name not in known and model.for_readers:
                self.problems.warning(
                    entry.where, "unknown-key", f"key {quote(name)} is not known here", "it is left out"
                )
            elif name not in known:
                merge = "merge keys are not read: write the entries out" if name == "<<" else ""
                hint = merge or did_you_mean(name, list(known))
                self.error(entry, "unknown-key", f"key {quote(name)} is not known here", hint)
        values = {
            name: self._field(node, model, model_field, written)
            for name, (model_field, written) in _shape(model).fields.items()
        }
        return model(node=node, **values)

    def _field(self, node: Node, model: type[Located], model_field: Field[Any], written: Key) -> Any:
        entries = node.entries()
        given = [entries[spelling] for spelling in written.spellings if spelling in entries]
        if len(given) > 1:
            both = " and ".join(quote(spelling) for spelling in written.spellings if spelling in entries)
            self.error(given[1], "duplicate-key", f"{both} say the same thing", "remove one of the two")
        if not given or (given[0].value is None and not required(model_field)):
            if required(model_field):
                self.error(node, "missing-key", f"key {quote(written.spellings[0])} is missing")
            return self._stand_in(model_field, model)
        decoded = self._value(given[0], _shape(model).types[model_field.name], written)
        return self._stand_in(model_field, model) if decoded is MISSING else decoded

    def _instead(self, node: Node, model: type[Located]) -> tuple[Node, str, str] | None:
        """What the original has in the place of a key that is required here and missing, as the one problem to report.

        All else in such a mapping is of another form, and says nothing to somebody who writes this one.
        """
        entries = node.entries()
        for name, others in model.instead.items():
            given = [key for key in others if key in entries]
            if given and name not in entries:
                known = given[0] in model.unsupported
                message = f"{quote(given[0])} " + ("is not supported here" if known else f"without {quote(name)}")
                return entries[given[0]], message, others[given[0]]
        return None

    def _blank(self, node: Node, model: type[ModelT]) -> ModelT:
        return model(node=node, **{name: self._stand_in(each, model) for name, each in own_fields(model).items()})

    def _stand_in(self, model_field: Field[Any], model: type[Located]) -> Any:
        if model_field.default is not MISSING:
            return model_field.default
        if model_field.default_factory is not MISSING:
            return model_field.default_factory()
        expected = _shape(model).types[model_field.name]
        return self._empty(expected)

    def _empty(self, expected: Any) -> Any:
        if get_origin(expected) in (Union, UnionType):
            return self._empty(get_args(expected)[0])
        if get_origin(expected) is Literal:
            return get_args(expected)[0]
        if isinstance(expected, type) and issubclass(expected, Located):
            here = Node({}, self.root.mark)
            return self._blank(here, expected)
        return {str: "", tuple: (), dict: {}}.get(get_origin(expected) or expected)

    def _value(self, node: Node, expected: Any, written: Key) -> Any:
        """The decoded value, or MISSING after reporting why there is none."""
        if expected is Any:
            return node.plain()
        origin, arguments = get_origin(expected), get_args(expected)
        if origin in (Union, UnionType):
            return self._union(node, [each for each in arguments if each is not NoneType], written)
        if origin is Literal:
            return self._choice(node, arguments, written)
        if origin is tuple:
            return self._list(node, arguments[0], written)
        if origin is dict:
            return self._mapping(node, arguments[1], written)
        if issubclass(expected, Located):
            if written.wrapped and len(node.items()) == 1:
                node = node.items()[0]
            return self.model(node, expected)
        return self._scalar(node, (expected,))

    def _union(self, node: Node, members: list[Any], written: Key) -> Any:
        """One of several: a single member, models told apart by `type`, or a scalar where no mapping stands."""
        if len(members) == 1:
            return self._value(node, members[0], written)
        scalars = tuple(member for member in members if member in type_names and member is not dict)
        others = [member for member in members if member not in scalars]
        if others and (not scalars or isinstance(node.value, dict)):
            models = all(isinstance(other, type) and issubclass(other, Located) for other in others)
            return self._variant(node, others, written) if models else self._value(node, others[0], written)
        return self._scalar(node, scalars, ("a mapping",) if others else ())

    def _variant(self, node: Node, members: list[type[Located]], written: Key) -> Any:
        """One of several models, told apart by the key `type`."""
        by_type = {name: member for member in members for name in get_args(_shape(member).types["type"])}
        kind = node.entries().get("type")
        if kind is not None and isinstance(kind.value, str) and kind.value in by_type:
            return self.model(node, by_type[kind.value])
        if kind is not None:
            self._choice(kind, tuple(by_type), written)
            return MISSING
        unsupported = {name: hint for member in members for name, hint in member.unsupported.items()}
        given = [name for name in unsupported if name in node.entries()]
        for name in given:
            self.error(node.entries()[name], "unsupported", f"{quote(name)} is not supported here", unsupported[name])
        if not given:
            self.error(node, "missing-key", "key `type` is missing", f"one of {', '.join(map(quote, by_type))}")
        return MISSING

    def _choice(self, node: Node, choices: tuple[str, ...], written: Key) -> Any:
        if isinstance(node.value, str) and node.value in choices:
            return node.value
        if isinstance(node.value, str) and node.value in written.unsupported:
            hint = written.unsupported[node.value]
            self.error(node, "unsupported", f"{quote(node.value)} is not supported here", hint)
            return MISSING
        near = did_you_mean(str(node.plain()), choices) if isinstance(node.value, str) else ""
        self.error(
            node,
            "bad-value",
            f"expected one of {', '.join(choices)}, found {quote(node.plain())}",
            near if near.startswith("did") else "",
        )
        return MISSING

    def _list(self, node: Node, item: Any, written: Key) -> Any:
        if written.named and isinstance(node.value, dict):
            entries = [self._named(name, entry) for name, entry in node.value.items()]
        elif isinstance(node.value, list):
            entries = node.value
        else:
            forms = "a list, or a map by name" if written.named else "a list"
            self.error(node, "wrong-type", f"expected {forms}, found {node.kind}")
            return MISSING
        decoded = [self._value(entry, item, replace(written, named=False)) for entry in entries]
        return tuple(value for value in decoded if value is not MISSING)

    def _named(self, name: str, entry: Node) -> Node:
        """An entry of a map by name, as the list's entry with that `name`."""
        if not isinstance(entry.value, dict):
            return entry
        if "name" in entry.value:
            self.error(
                entry.value["name"], "unknown-key", "the entry has its name already: it is its key", "remove `name`"
            )
        return replace(entry, value={**entry.value, "name": Node(name, entry.where, entry.where)})

    def _mapping(self, node: Node, item: Any, written: Key) -> Any:
        if not isinstance(node.value, dict):
            self.error(node, "wrong-type", f"expected a mapping, found {node.kind}")
            return MISSING
        decoded = {name: self._value(entry, item, written) for name, entry in node.value.items()}
        return {name: value for name, value in decoded.items() if value is not MISSING}

    def _scalar(self, node: Node, expected: tuple[type, ...], other: tuple[str, ...] = ()) -> Any:
        # A bool is an int to Python, not to the author of the file.
        if type(node.value) in expected or (float in expected and type(node.value) is int):
            return node.value
        if expected == (str,) and not other and type(node.value) in (int, float):
            # `naftiko: 1.0` and `created: 2026` are meant as text.
            self.error(
                node, "wrong-type", f"expected text, found the number {node.value}", f'put it in quotes: "{node.value}"'
            )
            return MISSING
        wanted = " or ".join(dict.fromkeys([*(type_names[each] for each in expected), *other]))
        self.error(node, "wrong-type", f"expected {wanted}, found {node.kind}")
        return MISSING


def _keys_text(model: type[Located]) -> str:
    return ", ".join(key_of(each).spellings[0] for each in own_fields(model).values() if required(each))
