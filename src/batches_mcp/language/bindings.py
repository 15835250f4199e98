"""What feeds each value an operation needs: one caller (a tool or a REST operation) against one operation."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from batches_mcp.core.diagnostics import Mark, quote
from batches_mcp.core.plan import Argument, Feed, Place, Template
from batches_mcp.language import model
from batches_mcp.language.expressions import (
    ExpressionError,
    form,
    looks_like_reference,
    nearest,
    path_parts,
    with_value,
)
from batches_mcp.language.scope import Scope
from batches_mcp.language.targets import Target


@dataclass(frozen=True, slots=True)
class Input:
    """An argument a caller may pass, declared or derived."""

    name: str
    type: str | None
    description: str
    required: bool
    schema: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever calls an operation: a tool, a resource, or an operation of a REST adapter."""

    entry: model.Tool | model.RestOperation | model.McpResource
    inputs: Sequence[model.ToolInput | model.RestInput]
    scopes: tuple[str, str]


@dataclass(slots=True)
class Bindings:
    """Finds, for one caller, what feeds each value its operation needs; `own_names` are those the operation has itself.

    A name that is given nowhere is that of another but for case, `-` and `_`, where just one such is there and no other
    name of the operation could be meant.
    """

    scope: Scope
    caller: Caller
    declared: Mapping[str, model.ToolInput | model.RestInput]
    own_names: frozenset[str]
    inputs: dict[str, Input] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    used_with: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for each in self.declared.values():
            self.inputs[each.name] = Input(each.name, each.type, each.description, each.required, each.schema)

    @property
    def arguments(self) -> Mapping[str, str | int | float | bool]:
        return self.caller.entry.arguments or {}

    def referred(self, name: str) -> str:
        """The declared argument that a reference is to; the name itself when none is."""
        return nearest(name, self.declared) or name

    def argument(self, name: str) -> str:
        """The declared argument for what the operation calls `name`; the name itself when none is."""
        return self._same(name, self.declared)

    def with_key(self, name: str) -> str | None:
        """The entry of `with` that gives a value to what the operation calls `name`."""
        key = self._same(name, self.arguments)
        return key if key in self.arguments else None

    def _same(self, name: str, given: Collection[str]) -> str:
        if name in given or not given:
            return name
        near = nearest(name, given)
        others = [each for each in self.own_names if form(each) == form(name) and each != name]
        return near if near is not None and not others else name

    def named_by_with(self) -> frozenset[str]:
        """The arguments that `with` refers to; what is wrong with it is reported where it is bound."""
        return frozenset(self.referred(name) for key in self.arguments for name in self._read(key).arguments)

    def _read(self, key: str) -> Template:
        try:
            return with_value(self.arguments[key], self.scope.binds, self.inputs, self.caller.scopes)
        except ExpressionError:
            return Template(("",))

    def feeds(self, target: Target) -> tuple[Feed, ...]:
        """Everything but the path. What is declared nearer to the operation wins over what its adapter says."""
        declared = target.declared_headers()
        feeds = [
            Feed(Place.HEADER, name, Template((value,)))
            for name, value in target.upstream.origin.headers.items()
            if name.lower() not in declared
        ]
        feeds += self._fixed_headers(target)
        feeds += [Feed(Place.QUERY, name, self._in_path(text, target)) for name, text in target.query]
        for (place, _), each in target.consumed().items():
            if place is Place.PATH:
                continue
            field = place is Place.BODY and each is not target.whole_body()
            default = (each.schema or {}).get("default")
            feeds.append(
                Feed(
                    Place.FIELD if field else place,
                    each.name,
                    self._value(each),
                    default if isinstance(default, str | int | float) else None,
                )
            )
        return tuple(feeds)

    def _in_path(self, text: str, target: Target) -> Template:
        """A value of the query that the path holds, with variables written as those of paths are."""
        try:
            parts = path_parts(text, self.scope.binds, {*self.declared, *self.arguments})
        except ExpressionError as problem:
            self.scope.problems.error(target.resource.place("path"), "template", str(problem), problem.hint)
            return Template(("",))
        return self._filled(Template(tuple(parts) or ("",)))

    def _fixed_headers(self, target: Target) -> Iterator[Feed]:
        """The map `headers`, but for those that an input declares as well, and the one that the authentication sets."""
        consumes = target.upstream.consumes
        for name, text in consumes.headers.items():
            mark = consumes.node.entries()["headers"].entries()[name].mark
            value = self.scope.template(text, mark, None) if isinstance(text, str) else Template((text,))
            place = Place.HEADER, name.lower()
            if place not in target.consumed() and place != target.upstream.credential_place:
                yield Feed(Place.HEADER, name, value)

    def _value(self, consumed: model.ConsumedInput) -> Template:
        if consumed.value is not None:
            return self.given(consumed)
        key, argument = self.with_key(consumed.name), self.argument(consumed.name)
        if key is not None:
            return self.with_argument(key, consumed)
        if argument in self.declared:
            return self.take(argument)
        return self.derive(consumed.name, consumed, required=consumed.required is True)

    def given(self, consumed: model.ConsumedInput) -> Template:
        """A value that the consumed input states itself."""
        if not isinstance(consumed.value, str):
            return Template((consumed.value,) if consumed.value is not None else ("",))
        return self.inlined(consumed.value, consumed.place("value"))

    def inlined(self, text: str, mark: Mark, *, json: bool = False) -> Template:
        """A template of the consumed side: what `with` gives stands in for the arguments it names.

        In JSON an argument that is the whole value may be of any type.
        """
        value = self.scope.template(text, mark, {*self.inputs, *self.arguments})
        return self._filled(value, None if json and len(value.parts) == 1 else "string")

    def _filled(self, value: Template, kind: str | None = "string") -> Template:
        parts: list[Any] = []
        for part in value.parts:
            match part:
                case Argument(name=name) if name in self.arguments:
                    parts += self.with_argument(name).parts
                case Argument(name=name) if self.referred(name) in self.declared:
                    parts += self.take(self.referred(name)).parts
                case Argument(name=name):
                    parts += self.derive(name, None, required=True, kind=kind).parts
                case _:
                    parts.append(part)
        return Template(tuple(parts))

    def with_argument(self, name: str, consumed: model.ConsumedInput | None = None) -> Template:
        self.used_with.add(name)
        entry = self.caller.entry
        written = entry.node.entries()["with"].entries()[name]
        try:
            value = with_value(self.arguments[name], self.scope.binds, self.inputs, self.caller.scopes)
        except ExpressionError as problem:
            self.scope.problems.error(written.mark, "reference", str(problem), problem.hint)
            return Template(("",))
        if value.parts == (written.value,) and looks_like_reference(written.value):
            self.scope.problems.warning(
                written.mark,
                "literal",
                f"{quote(written.value)} is sent as this very text",
                f"write `{self.caller.scopes[1]}.x` to refer to an argument `x`",
            )
        return self._needs(value, consumed)

    def _needs(self, value: Template, consumed: model.ConsumedInput | None) -> Template:
        """The template with the arguments that are meant; those that nobody declared are derived."""
        value = Template(
            tuple(Argument(self.referred(part.name)) if isinstance(part, Argument) else part for part in value.parts)
        )
        for name in sorted(value.arguments):
            if name in self.declared:
                self.used.add(name)
            else:
                alone = consumed if len(value.parts) == 1 else None
                self.derive(
                    name, alone, required=consumed is None or consumed.place_in == "path" or consumed.required is True
                )
        return value

    def take(self, name: str) -> Template:
        self.used.add(name)
        return Template((Argument(name),))

    def derive(
        self, name: str, consumed: model.ConsumedInput | None, *, required: bool, kind: str | None = "string"
    ) -> Template:
        """The argument that nobody declares: of the type of what it is for, or of this `kind`."""
        if name in self.inputs:
            if required and name not in self.declared:
                self.inputs[name] = replace(self.inputs[name], required=True)
        else:
            if consumed is not None:
                kind = consumed.type or _derived_type(consumed)
            self.inputs[name] = Input(
                name, kind, consumed.description if consumed else "", required, consumed.schema if consumed else None
            )
        return Template((Argument(name),))

    def leave_out(self, consumed: model.ConsumedInput) -> None:
        """Take what only feeds an input that is never sent off the arguments; why it is not is reported elsewhere."""
        key = self.with_key(consumed.name)
        names = {self.argument(consumed.name)}
        if key is not None:
            self.used_with.add(key)
            names = {self.referred(name) for name in self._read(key).arguments}
        for name in names & self.declared.keys() - self.used:
            self.used.add(name)
            del self.inputs[name]

    def leftovers(self) -> None:
        """Warn of what the file says and nothing uses; a query over REST is handed on as it is."""
        for name, each in self.declared.items():
            handed_on = isinstance(each, model.RestInput) and each.place_in == "query"
            if name not in self.used and not handed_on:
                self.scope.problems.warning(
                    each.place("name"),
                    "unused-input",
                    f"input {quote(name)} goes nowhere",
                    "no input, path variable or `with` of the operation takes it",
                )
        for name in self.arguments.keys() - self.used_with:
            self.scope.problems.warning(
                self.caller.entry.node.entries()["with"].entries()[name].where,
                "unused-with",
                f"{quote(name)} under `with` goes nowhere",
                "the operation has no input or path variable of that name",
            )


def _derived_type(consumed: model.ConsumedInput) -> str | None:
    """The type of an argument whose type nobody declares: text, but in a body, where a field may be anything."""
    if consumed.place_in != "body":
        return "string"
    return "object" if consumed.name == "body" else None
