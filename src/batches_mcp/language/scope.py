"""What may be named anywhere in a file, where its problems go, and the checks that all of its parts share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from batches_mcp.core.diagnostics import Mark, Problems, quote
from batches_mcp.core.plan import Template, Variable
from batches_mcp.language import expressions, model
from batches_mcp.language.expressions import Binds, ExpressionError

# `^[a-zA-Z0-9-]+$` in the original's schema; its engine accepts more, so this is a warning.
_KEBAB = re.compile(r"[A-Za-z0-9-]+")
# Fewer than these cannot say what a tool does and when to use it.
_FEWEST_WORDS = 3


def binds_of(document: model.Document, undeclared: Iterable[tuple[str, str]]) -> Binds:
    """What is bound: under `binds`, and by inputs `in: environment`, whose namespace is their upstream's.

    `undeclared` are variables of the environment beside those, by namespace and name.
    """
    by_namespace: dict[str, dict[str, Variable]] = {}
    for bind in document.binds:
        by_namespace.setdefault(bind.namespace, {}).update(
            {variable: Variable(bind.source(variable)) for variable in bind.keys}
        )
    for namespace, name in undeclared:
        by_namespace.setdefault(namespace, {})[name] = Variable(name)
    for consumes in document.capability.consumes:
        levels: tuple[model.Consumes | model.Resource | model.Operation, ...] = (
            consumes,
            *consumes.resources,
            *(operation for resource in consumes.resources for operation in resource.operations),
        )
        names = {each.name for level in levels for each in level.inputs if each.place_in == "environment"}
        if names:
            by_namespace.setdefault(consumes.namespace, {}).update({name: Variable(name) for name in sorted(names)})
    return Binds(by_namespace)


@dataclass(frozen=True, slots=True)
class Scope:
    """What may be named anywhere in the file, and where problems go."""

    problems: Problems
    binds: Binds

    def template(self, text: str, mark: Mark, declared: Iterable[str] | None) -> Template:
        """Read a text with `{{ }}` in it; a problem is reported, and an empty text stands in."""
        try:
            return expressions.template(text, self.binds, None if declared is None else set(declared))
        except ExpressionError as problem:
            self.problems.error(mark, "reference", str(problem), problem.hint)
            return Template(("",))

    def unique(
        self,
        kind: str,
        entries: Iterable[Any],
        name_of: Callable[[Any], str],
        field_name: str = "name",
        *,
        same: Callable[[Any, Any], bool] = lambda _one, _other: False,
    ) -> None:
        """Report every entry whose name another has already; `field_name` is where the name stands.

        It is a warning where the two are the `same`, and so either will do.
        """
        first: dict[str, Any] = {}
        for entry in entries:
            name = name_of(entry)
            if name and name in first:
                report = self.problems.warning if same(first[name], entry) else self.problems.error
                report(
                    entry.place(field_name),
                    "duplicate-name",
                    f"{kind} {quote(name)} is defined twice",
                    f"first in line {first[name].place(field_name).line}; rename one",
                )
            first.setdefault(name, entry)

    def described(self, kind: str, entry: model.Tool | model.McpResource | model.Prompt) -> None:
        """Warn of a description that tells a model nothing: none at all, or the name in other words."""
        words = re.findall(r"[^\W_]+", entry.description.lower())
        written = entry.node.entries().get("description")
        if entry.name and (written is None or not written.value):
            self.problems.warning(
                entry.node.where,
                "no-description",
                f"{kind} {quote(entry.name)} has no description",
                f"a {kind} is chosen by what its description says",
            )
        elif (
            entry.name and words and (len(words) < _FEWEST_WORDS or words == re.findall(r"[^\W_]+", entry.name.lower()))
        ):
            self.problems.warning(
                entry.place("description"),
                "thin-description",
                f"the description of {kind} {quote(entry.name)} says no more than its name",
                "say what it does and returns, when to use it, and what it costs or changes",
            )

    def kebab(self, name: str, mark: Mark) -> None:
        """Warn of a name that the original's schema rejects."""
        if name and not _KEBAB.fullmatch(name):
            self.problems.warning(
                mark,
                "name-form",
                f"name {quote(name)} has other characters than letters, digits and `-`",
                "Naftiko's schema rejects it; it works here",
            )

    def path(self, path: str, mark: Mark) -> tuple[str, tuple[tuple[str, str], ...]]:
        """A path as it is appended to a base URI, with a slash at its beginning, and the query it holds."""
        if "#" in path:
            self.problems.error(
                mark, "path", f"path {quote(path)} holds a fragment, which no request can", "leave it out"
            )
        bare, _, query = path.partition("?")
        if bare and not bare.startswith("/"):
            bare = f"/{bare}"
            self.problems.warning(
                mark, "path", f"path {quote(path)} does not start with a slash", f"{quote(bare)} is meant"
            )
        return bare, tuple(parse_qsl(query, keep_blank_values=True))
