"""What may be named anywhere in a file, where its problems go, and the checks that all of its parts share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from batches_mcp.capability import expressions
from batches_mcp.capability.diagnostics import Mark, Problems, quote
from batches_mcp.capability.expressions import Binds, ExpressionError
from batches_mcp.plan import Template

# `^[a-zA-Z0-9-]+$` in the original's schema; its engine accepts more, so this is a warning.
_KEBAB = re.compile(r"[A-Za-z0-9-]+")


@dataclass(frozen=True, slots=True)
class Scope:
    """What may be named anywhere in the file, and where problems go."""

    problems: Problems
    binds: Binds

    def template(self, text: str, mark: Mark, declared: Iterable[str] | None) -> Template:
        try:
            return expressions.template(text, self.binds, None if declared is None else set(declared))
        except ExpressionError as problem:
            self.problems.error(mark, "reference", str(problem), problem.hint)
            return Template(("",))

    def unique(self, kind: str, entries: Iterable[Any], name_of: Callable[[Any], str]) -> None:
        first: dict[str, Mark] = {}
        for entry in entries:
            name, mark = name_of(entry), entry.place(kind if kind == "namespace" else "name")
            if name and name in first:
                self.problems.error(
                    mark,
                    "duplicate-name",
                    f"{kind} {quote(name)} is defined twice",
                    f"first in line {first[name].line}; rename one",
                )
            first.setdefault(name, mark)

    def kebab(self, name: str, mark: Mark) -> None:
        if name and not _KEBAB.fullmatch(name):
            self.problems.warning(
                mark,
                "name-form",
                f"name {quote(name)} has other characters than letters, digits and `-`",
                "Naftiko's schema rejects it; it works here",
            )

    def path(self, path: str, mark: Mark) -> None:
        if path and not path.startswith("/"):
            self.problems.error(
                mark, "path", f"path {quote(path)} does not start with a slash", f"write {quote('/' + path)}"
            )
        if "?" in path or "#" in path:
            self.problems.error(
                mark, "path", f"path {quote(path)} holds a query or a fragment", "declare query inputs with `in: query`"
            )
