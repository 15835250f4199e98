"""References and templates: text of the file -> `Template`.

The order in which a text is read (the first that fits wins): `<exposeNamespace>.x`, `tools.x` or `rest.x`,
`$this.<ns>.x`, and inside `{{ }}` an argument `x`, a bound `namespace.VAR`, a bound `VAR`; anything else is literal.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from batches_mcp.core.diagnostics import did_you_mean, quote
from batches_mcp.core.plan import Argument, Template, Variable

_MUSTACHE = re.compile(r"\{\{([^{}]*)\}\}")
_NAME = re.compile(r"[A-Za-z0-9_*$@-][A-Za-z0-9_*$@:\[\]-]*")
# Bind variables by the original's schema; nothing written like one is ever taken for an argument.
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
# What looks like a reference to somebody who reads it: a word, a dot, and a name without white space.
_LIKE_REFERENCE = re.compile(r"(\$this\.)?[A-Za-z0-9_-]+\.[A-Za-z0-9_*-]+|(\$this|tools|rest)\.\S+")
# An argument of whoever calls, as published files write it on the consumed side: `{{tools.name}}`.
_OF_CALLERS = re.compile(rf"(?:tools|rest)\.({_NAME.pattern})")
# A name is all that stands between the braces, such as `$filter` or `page[size]`, but nothing that ends a path.
_PATH_VARIABLE = re.compile(r"\{\{\s*([^{}\s/?#]+)\s*\}\}|\{([^{}\s/?#]+)\}")


class ExpressionError(Exception):
    """A template or reference cannot be read; `hint` says what to write."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.hint = hint
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Binds:
    """The bound variables: namespace -> name in the capability -> what it stands for."""

    by_namespace: Mapping[str, Mapping[str, Variable]]

    def resolve(self, name: str) -> Variable | None:
        """The variable a name stands for: `namespace.VAR`, or `VAR` in any namespace.

        Raises:
            ExpressionError: several namespaces bind `VAR`, each to something else.
        """
        namespace, dot, variable = name.partition(".")
        if dot:
            return self.by_namespace.get(namespace, {}).get(variable)
        found = {space: keys[name] for space, keys in self.by_namespace.items() if name in keys}
        if len(set(found.values())) > 1:
            several = " and ".join(quote(space) for space in found)
            raise ExpressionError(
                f"{quote('{{' + name + '}}')} is bound in {several}",
                f"say which: {' or '.join('{{' + space + '.' + name + '}}' for space in found)}",
            )
        return next(iter(found.values()), None)

    def names(self) -> list[str]:
        return [f"{namespace}.{variable}" for namespace, keys in self.by_namespace.items() for variable in keys]

    def sources(self) -> Mapping[str, str]:
        """The name of each variable, and how the capability calls it: `{{namespace.VAR}}` without the braces."""
        return {
            variable.name: f"{namespace}.{name}"
            for namespace, keys in self.by_namespace.items()
            for name, variable in keys.items()
        }


def split(text: str) -> Iterator[str | Argument]:
    """A text at its references: what stands between them, and an argument for each name in `{{ }}`."""
    end = 0
    for match in _MUSTACHE.finditer(text):
        if _NAME.fullmatch(match[1].strip()):
            if match.start() > end:
                yield text[end : match.start()]
            yield Argument(match[1].strip())
            end = match.end()
    if end < len(text):
        yield text[end:]


def template(text: str, binds: Binds, declared: Collection[str] | None) -> Template:
    """Read a text with `{{ }}` in it; `declared` are the arguments known by name, None where none may be used.

    Raises:
        ExpressionError: a name resolves to nothing, or the braces are not a plain reference.
    """
    parts: list[str | Argument | Variable] = []
    end = 0
    for match in _MUSTACHE.finditer(text):
        parts += [text[end : match.start()], _reference(match[1].strip(), binds, declared)]
        end = match.end()
    parts.append(text[end:])
    literal = "".join(part for part in parts if isinstance(part, str))
    if "{{" in literal or "}}" in literal:
        raise ExpressionError(f"{quote(text)} has braces that are not a reference", "write a reference as {{name}}")
    return Template(tuple(part for part in parts if part != "") or ("",))


def with_value(value: str | float | bool, binds: Binds, declared: Collection[str], scopes: tuple[str, str]) -> Template:
    """Read a value of `with`: a reference to an argument, a template, or a literal of any scalar type.

    `scopes` are the prefixes that stand for the caller's arguments: the adapter's namespace and `tools` or `rest`. All
    that follows the prefix and its dot is the argument's name: `tools.$filter`, `tools.page[size]`, `tools.user.id`.

    Raises:
        ExpressionError: a template in it cannot be read.
    """
    if not isinstance(value, str):
        return Template((value,))
    for prefix in (f"{scopes[0]}.", f"{scopes[1]}.", f"$this.{scopes[0]}."):
        name = value.removeprefix(prefix)
        if name and name != value:
            return Template((Argument(name),))
    return template(value, binds, declared)


def form(name: str) -> str:
    """What names have in common that differ in case and separators only: `page-id`, `page_id` and `pageId`."""
    return re.sub(r"[-_]", "", name).lower()


def nearest(name: str, names: Collection[str]) -> str | None:
    """The name itself when it is among `names`, else the only one that differs in case, `-` and `_` alone."""
    same = [name] if name in names else [each for each in names if form(each) == form(name)]
    return same[0] if len(same) == 1 else None


def looks_like_reference(value: object) -> bool:
    """Whether a literal may have been meant as a reference: `word.word`, where a number or a host name is not."""
    like = isinstance(value, str) and _LIKE_REFERENCE.fullmatch(value) is not None
    return like and not str(value).replace(".", "").isdigit()


def path_parts(path: str, binds: Binds | None, declared: Collection[str]) -> list[str | Argument | Variable]:
    """Split a path at its variables, `{x}` or `{{x}}`; one that names a bound variable is taken from the environment.

    Without `binds`, as in a path that is exposed, every variable is an argument.

    Raises:
        ExpressionError: braces that are not a variable, or a variable that is to be bound and is not.
    """
    parts: list[str | Argument | Variable] = []
    end = 0
    for match in _PATH_VARIABLE.finditer(path):
        name = match[1] or match[2]
        part: Argument | Variable = Argument(name)
        if binds is not None and match[1]:
            part = _reference(name, binds, declared)
        elif binds is not None and name not in declared:
            part = binds.resolve(name) or part
        parts += [path[end : match.start()], part]
        end = match.end()
    parts.append(path[end:])
    if any(isinstance(part, str) and ("{" in part or "}" in part) for part in parts):
        raise ExpressionError(f"{quote(path)} has braces that are not a variable", "write a path variable as {{name}}")
    return [part for part in parts if part != ""]


def _reference(name: str, binds: Binds, declared: Collection[str] | None) -> Argument | Variable:
    if declared is not None and name in declared:
        return Argument(name)
    if variable := binds.resolve(name):
        return variable
    if declared is not None and (caller := _OF_CALLERS.fullmatch(name)):
        return Argument(caller[1])
    bound = binds.names()
    if "." in name or _VARIABLE.fullmatch(name):
        raise ExpressionError(
            f"{quote('{{' + name + '}}')} names nothing that is bound",
            did_you_mean(name, bound) or "bind it under `binds`",
        )
    if not _NAME.fullmatch(name):
        raise ExpressionError(f"{quote('{{' + name + '}}')} is not a reference", "write a reference as {{name}}")
    if declared is None:
        raise ExpressionError(
            f"{quote('{{' + name + '}}')} would be an argument, and none may be used here",
            did_you_mean(name, bound) or "bind it under `binds`",
        )
    return Argument(name)
