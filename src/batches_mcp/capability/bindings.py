"""What feeds each value an operation needs: one caller (a tool or a REST operation) against one operation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from batches_mcp.capability import model
from batches_mcp.capability.diagnostics import Mark, quote
from batches_mcp.capability.expressions import ExpressionError, looks_like_reference, with_value
from batches_mcp.capability.scope import Scope
from batches_mcp.capability.targets import Target
from batches_mcp.plan import Argument, Feed, Place, Template


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
    """Finds, for one caller, what feeds each value its operation needs."""

    scope: Scope
    caller: Caller
    declared: Mapping[str, model.ToolInput | model.RestInput]
    inputs: dict[str, Input] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    used_with: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for each in self.declared.values():
            self.inputs[each.name] = Input(each.name, each.type, each.description, each.required, each.schema)

    @property
    def arguments(self) -> Mapping[str, str | int | float | bool]:
        return self.caller.entry.arguments or {}

    def feeds(self, target: Target) -> tuple[Feed, ...]:
        """Everything but the path. What is declared nearer to the operation wins over what its adapter says."""
        declared = target.declared_headers()
        feeds = [
            Feed(Place.HEADER, name, Template((value,)))
            for name, value in target.upstream.default_headers.items()
            if name.lower() not in declared
        ]
        feeds += self._fixed_headers(target)
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

    def _fixed_headers(self, target: Target) -> Iterator[Feed]:
        """The map `headers`, but for those that an input declares as well."""
        consumes = target.upstream.consumes
        for name, text in consumes.headers.items():
            mark = consumes.node.entries()["headers"].entries()[name].mark
            value = self.scope.template(text, mark, None) if isinstance(text, str) else Template((text,))
            if (Place.HEADER, name.lower()) not in target.consumed():
                yield Feed(Place.HEADER, name, value)

    def _value(self, consumed: model.ConsumedInput) -> Template:
        if consumed.value is not None:
            return self.given(consumed)
        if consumed.name in self.arguments:
            return self.with_argument(consumed.name, consumed)
        if consumed.name in self.declared:
            return self.take(consumed.name)
        return self.derive(consumed.name, consumed, required=consumed.required is True)

    def given(self, consumed: model.ConsumedInput) -> Template:
        """A value that the consumed input states itself."""
        if not isinstance(consumed.value, str):
            return Template((consumed.value,) if consumed.value is not None else ("",))
        return self.inlined(consumed.value, consumed.place("value"))

    def inlined(self, text: str, mark: Mark) -> Template:
        """A template of the consumed side: what `with` gives stands in for the arguments it names."""
        value = self.scope.template(text, mark, {*self.inputs, *self.arguments})
        parts: list[Any] = []
        for part in value.parts:
            match part:
                case Argument(name=name) if name in self.arguments:
                    parts += self.with_argument(name).parts
                case Argument(name=name) if name in self.declared:
                    parts += self.take(name).parts
                case Argument(name=name):
                    parts += self.derive(name, None, required=True).parts
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
        """Derive the arguments a template refers to and nobody declared."""
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

    def derive(self, name: str, consumed: model.ConsumedInput | None, *, required: bool) -> Template:
        if name not in self.inputs:
            kind = consumed.type if consumed and consumed.type else _derived_type(consumed)
            self.inputs[name] = Input(
                name, kind, consumed.description if consumed else "", required, consumed.schema if consumed else None
            )
        return Template((Argument(name),))

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


def _derived_type(consumed: model.ConsumedInput | None) -> str | None:
    """The type of an argument whose type nobody declares: text, but in a body, where a field may be anything."""
    if consumed is None or consumed.place_in != "body":
        return "string"
    return "object" if consumed.name == "body" else None
