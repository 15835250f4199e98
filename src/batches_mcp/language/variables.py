"""Path variables: what fills each of them, by name, by name but for case and separators, or by position."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from batches_mcp.core.diagnostics import did_you_mean, quote
from batches_mcp.core.plan import Argument, Feed, Place, Template, Variable
from batches_mcp.language import expressions, model
from batches_mcp.language.bindings import Bindings
from batches_mcp.language.expressions import ExpressionError, form, nearest, path_parts
from batches_mcp.language.nodes import Node
from batches_mcp.language.targets import Target

_SIMPLE_TYPES = {"string", "number", "integer"}


def path(bindings: Bindings, target: Target) -> tuple[str | Feed, ...]:
    """The path with each of its variables bound: by name, by name but for case and separators, or by position."""
    resource, operation = target.resource, target.operation
    mark = resource.place("path")
    try:
        parts = path_parts(target.path, bindings.scope.binds, {*bindings.declared, *bindings.arguments})
    except ExpressionError as problem:
        bindings.scope.problems.error(mark, "template", str(problem), problem.hint)
        bindings.used.update(bindings.declared)  # which of them it takes cannot be known
        return ()
    names = list(dict.fromkeys(part.name for part in parts if isinstance(part, Argument)))
    in_path = {each.name: each for each in (*resource.inputs, *operation.inputs) if each.place_in == "path"}
    declared_in_path = {variable: in_path[name] for name in in_path if (variable := nearest(name, names)) is not None}
    for stray in in_path.values():
        if stray in declared_in_path.values():
            continue
        bindings.scope.problems.error(
            stray.place("name"),
            "path-variable",
            f"{quote(stray.name)} is `in: path`, and the path {quote(resource.path)} has no such variable",
            did_you_mean(stray.name, names),
        )
    values = {name: _by_name(bindings, name, declared_in_path.get(name)) for name in names}
    free = _free(bindings, target)
    _by_form(bindings, [name for name in names if values[name] is None], values, free)
    _by_position(bindings, [name for name in names if values[name] is None], values, free, declared_in_path)

    def bound(part: str | float | bool | Argument | Variable) -> str | Feed:
        match part:
            case Argument(name=name):
                return Feed(Place.PATH, name, values[name] or Template(("",)))
            case Variable(name=name):
                return Feed(Place.PATH, name, Template((part,)))
            case _:
                return str(part)

    return tuple(bound(part) for part in parts)


def _by_name(bindings: Bindings, name: str, consumed: model.ConsumedInput | None) -> Template | None:
    """A path variable's value when something gives it by its exact name."""
    if consumed is not None and consumed.value is not None:
        return bindings.given(consumed)
    if name in bindings.arguments:
        return bindings.with_argument(name, consumed)
    return bindings.take(name) if name in bindings.declared else None


def _by_form(bindings: Bindings, names: Sequence[str], values: dict[str, Template | None], free: Sequence[str]) -> None:
    for name in names:
        same_with = [each for each in bindings.arguments if form(each) == form(name)]
        same = [each for each in free if form(each) == form(name)]
        if len(same_with) == 1:
            values[name] = bindings.with_argument(same_with[0])
        elif len(same) == 1:
            values[name] = bindings.take(same[0])


def _by_position(
    bindings: Bindings,
    names: Sequence[str],
    values: dict[str, Template | None],
    free: Sequence[str],
    declared_in_path: Mapping[str, model.ConsumedInput],
) -> None:
    free = [name for name in free if name not in bindings.used and bindings.inputs[name].type in _SIMPLE_TYPES]
    if len(names) == len(free):
        values.update({name: bindings.take(argument) for name, argument in zip(names, free, strict=True)})
    elif not free:
        values.update({name: bindings.derive(name, declared_in_path.get(name), required=True) for name in names})
    elif names:
        bindings.scope.problems.error(
            bindings.caller.entry.node.where,
            "path-variable",
            f"path variable {', '.join(map(quote, names))} gets no value from {', '.join(map(quote, free))}",
            f"call an input {quote(names[0])}, or map it under `with`",
        )


def _free(bindings: Bindings, target: Target) -> list[str]:
    """Declared inputs that nothing uses yet, no `with` refers to, and nothing but the path could take."""
    named = set(bindings.named_by_with())
    for consumed in target.declared().values():
        if consumed.place_in != "path" and consumed.value is None:
            named.add(bindings.argument(consumed.name))
        elif isinstance(consumed.value, str):
            named |= _named_in(consumed.value)
    written = target.operation.node.entries().get("body")
    if written is not None:
        named |= {name for text in _texts(written) for name in _named_in(text)}
    # What an exposed path holds is meant for the path that is called, whatever else is called so.
    named -= {name for name, each in bindings.declared.items() if _in_path(each)}
    return [name for name in bindings.declared if name not in bindings.used and name not in named]


def _in_path(declared: model.ToolInput | model.RestInput) -> bool:
    return isinstance(declared, model.RestInput) and declared.place_in == "path"


def _named_in(text: str) -> frozenset[str]:
    """The arguments a text names; what is wrong with it is reported where it is bound."""
    return frozenset(part.name for part in expressions.split(text) if isinstance(part, Argument))


def _texts(node: Node) -> Iterator[str]:
    if isinstance(node.value, str):
        yield node.value
    for each in (*node.items(), *node.entries().values()):
        yield from _texts(each)
