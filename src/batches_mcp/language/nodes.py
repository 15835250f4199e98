"""What a capability file is as text: values that know where they stand. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from batches_mcp.core.diagnostics import Diagnostic, Mark

type_names = {dict: "a mapping", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it starts; `key_mark` is where its key stands when it is a mapping's entry."""

    value: Scalar | list[Node] | dict[str, Node]
    mark: Mark
    key_mark: Mark | None = None

    @property
    def kind(self) -> str:
        return "nothing" if self.value is None else type_names[type(self.value)]

    @property
    def where(self) -> Mark:
        """Where to point at when the entry as a whole is meant: its key, else its value."""
        return self.key_mark or self.mark

    def entries(self) -> dict[str, Node]:
        """The mapping's entries; empty when it is not a mapping."""
        return self.value if isinstance(self.value, dict) else {}

    def items(self) -> list[Node]:
        """The list's items; empty when it is not a list."""
        return self.value if isinstance(self.value, list) else []

    def plain(self) -> Any:
        match self.value:
            case dict() as entries:
                return {key: node.plain() for key, node in entries.items()}
            case list() as items:
                return [node.plain() for node in items]
            case scalar:
                return scalar


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """A capability file as read: its name for messages, its root value, and what was wrong with it as YAML."""

    file: str
    root: Node
    problems: tuple[Diagnostic, ...] = ()
