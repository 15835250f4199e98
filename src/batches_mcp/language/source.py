"""YAML text -> plain data in which every value knows where it stands. The only module that touches YAML.

Stricter than YAML 1.1 where that protects the author: duplicate keys and keys that are not text are errors, only
`true` and `false` are booleans, and dates stay text (the YAML 1.2 core schema, https://yaml.org/spec/1.2.2/#103-core-schema).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from batches_mcp.core.diagnostics import Mark, Problems, quote
from batches_mcp.core.errors import CapabilityError, UnreadableFile
from batches_mcp.language.nodes import Node, ParsedFile, Scalar

# Those of whole APIs that are made by programs reach 5 MB. The bounds keep a hostile one from taking memory.
MAX_FILE_BYTES = 8 << 20
MAX_DEPTH = 64
MAX_NODES = 1_000_000

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]{1,400}|0o[0-7]{1,400}|0x[0-9a-fA-F]{1,400}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
# Tags that change nothing: none, "not a plain text", and text.
_TEXT_TAGS = (None, "!", "tag:yaml.org,2002:str")


def read(path: Path) -> ParsedFile:
    """Read and parse a capability file.

    Raises:
        UnreadableFile: it cannot be opened or read, or is too large.
        CapabilityError: it is not YAML. What is YAML but not strict is in the result's `problems`.
    """
    return parse(content(path, "the capability file"), str(path))


def content(path: Path, what: str = "the file") -> bytes:
    """The bytes of a file; `what` it is stands in the error.

    Raises:
        UnreadableFile: it cannot be opened or read, or is too large.
    """
    try:
        with path.open("rb") as file:
            found = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UnreadableFile(f"cannot read {what} {path}: {reason or error}") from error
    if len(found) > MAX_FILE_BYTES:
        raise UnreadableFile(f"cannot read {what} {path}: it is larger than {MAX_FILE_BYTES:,} bytes")
    return found


def parse(content: bytes, file: str) -> ParsedFile:
    """Parse the bytes of a capability file; `file` names it in diagnostics.

    Raises:
        CapabilityError: it is not YAML. What is YAML but not strict is in the result's `problems`.
    """
    problems = Problems(file)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The error's own bytes: the codec has taken a byte order mark off them.
        before = error.object[: error.start].decode()
        wrong = error.object[error.start]
        problems.error(_mark_after(before), "not-utf-8", f"byte 0x{wrong:02x} is not UTF-8", "save the file as UTF-8")
        raise CapabilityError(problems.found) from error
    builder = _Builder(problems)
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            builder.take(event)
    except yaml.YAMLError as error:
        _syntax_problem(problems, text, error)
        raise CapabilityError(problems.found) from error
    except _TooLargeError as error:
        problems.error(error.mark, "too-large", str(error))
        raise CapabilityError(problems.found) from error
    return ParsedFile(file, builder.root or Node(None, Mark(1, 1)), tuple(problems.found))


class _TooLargeError(Exception):
    def __init__(self, mark: Mark, text: str) -> None:
        self.mark = mark
        super().__init__(text)


@dataclass(slots=True)
class _Open:
    """A mapping or list whose end is still to come.

    `before` is the number of values before it, `height` the levels of mappings and lists in it so far, itself included.
    """

    node: Node
    anchor: str | None
    before: int
    height: int = 1
    key: str | None = None
    key_mark: Mark | None = None


class _Builder:
    """Builds the tree from parse events, without recursion, and goes on after a problem to find the rest."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.root: Node | None = None
        self._stack: list[_Open] = []
        # What an anchor names, with its number of values and its height.
        self._anchors: dict[str, tuple[Node, int, int]] = {}
        self._nodes = 0

    def take(self, event: yaml.Event) -> None:
        start = event.start_mark
        mark = Mark(start.line + 1, start.column + 1) if start else Mark(1, 1)
        match event:
            case yaml.ScalarEvent():
                self._count(mark, 1)
                self._tag(mark, event.tag)
                self._close(Node(_resolve(event), mark), event.anchor)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                before = self._nodes
                self._count(mark, 1)
                self._tag(mark, event.tag)
                self._descend(mark, 1)
                empty: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
                self._stack.append(_Open(Node(empty, mark), event.anchor, before))
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                done = self._stack.pop()
                self._close(done.node, done.anchor, self._nodes - done.before, done.height)
            case yaml.AliasEvent():
                self._alias(mark, event.anchor)
            case yaml.DocumentStartEvent() if self.root is not None:
                self.problems.error(mark, "several-documents", "the file holds more than one YAML document", "keep one")
            case _:
                pass

    def _count(self, mark: Mark, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise _TooLargeError(mark, f"more than {MAX_NODES:,} values, aliases counted in full")

    def _descend(self, mark: Mark, levels: int) -> None:
        if len(self._stack) + levels > MAX_DEPTH:
            raise _TooLargeError(mark, f"nested more than {MAX_DEPTH} levels deep, aliases counted in full")

    def _tag(self, mark: Mark, tag: str | None) -> None:
        if tag not in _TEXT_TAGS:
            name = tag.replace("tag:yaml.org,2002:", "!!")
            self.problems.error(mark, "tag", f"the tag {quote(name)} means nothing here", "write the value without it")

    def _alias(self, mark: Mark, anchor: str | None) -> None:
        if anchor is None or anchor not in self._anchors:
            name = quote(f"*{anchor}")
            if any(anchor == each.anchor for each in self._stack):
                self.problems.error(mark, "alias", f"the alias {name} stands within the value it names")
            else:
                self.problems.error(mark, "alias", f"the alias {name} names nothing before it", f"mark it: &{anchor}")
            self._close(Node(None, mark), None)
            return
        node, size, height = self._anchors[anchor]
        self._count(mark, size)
        self._descend(mark, height)
        self._close(replace(node, mark=mark), None, size, height)

    def _close(self, node: Node, anchor: str | None, size: int = 1, height: int = 0) -> None:
        """A value is complete: name it, and put it where it belongs."""
        if anchor is not None:
            self._anchors[anchor] = (node, size, height)
        if not self._stack:
            self.root = node if self.root is None else self.root
            return
        parent = self._stack[-1]
        parent.height = max(parent.height, height + 1)
        if isinstance(parent.node.value, list):
            parent.node.value.append(node)
        elif parent.key is None:
            parent.key, parent.key_mark = self._key(node), node.mark
        else:
            entries, key = parent.node.entries(), parent.key
            if key in entries:
                first = entries[key].where
                self.problems.error(
                    parent.key_mark or node.mark,
                    "duplicate-key",
                    f"key {quote(key)} is given twice",
                    f"it stands first in line {first.line}; remove one of the two",
                )
            else:
                entries[key] = Node(node.value, node.mark, parent.key_mark)
            parent.key = None

    def _key(self, node: Node) -> str:
        if isinstance(node.value, str):
            return node.value
        self.problems.error(node.mark, "key-not-text", f"a key is text, this is {node.kind}", "put it in quotes")
        return str(node.plain())


def _resolve(event: yaml.ScalarEvent) -> Scalar:
    text: str = event.value
    if not event.implicit[0]:
        return text
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        return int(text, 0) if text[:2] in {"0o", "0x"} else int(text)
    # What no float can hold stays text: JSON has no infinity.
    if _FLOAT.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return text


def _mark_after(text: str) -> Mark:
    """The place that follows a text."""
    return Mark(text.count("\n") + 1, len(text) - text.rfind("\n"))


def _syntax_problem(problems: Problems, text: str, error: yaml.YAMLError) -> None:
    mark, problem = Mark(1, 1), "this is not YAML"
    if isinstance(error, yaml.MarkedYAMLError):
        at = error.problem_mark or error.context_mark
        # libyaml places the end of the text on a line of its own.
        mark = (Mark(at.line + 1, at.column + 1) if at.index < len(text) else _mark_after(text)) if at else mark
        context = error.context or ""
        if error.context_mark and error.context_mark.line + 1 < mark.line:
            context += f" that begins in line {error.context_mark.line + 1}"
        problem = ", ".join(part for part in (context, error.problem) if part)
    elif isinstance(error, yaml.reader.ReaderError):
        # libyaml counts the bytes of UTF-8.
        mark = _mark_after(text.encode()[: error.position].decode(errors="ignore"))
        problem = (
            f"character U+{error.character:04X} is not allowed in YAML"
            if isinstance(error.character, int)
            else error.reason
        )
    lines = text.split("\n")
    line = lines[mark.line - 1] if mark.line <= len(lines) else ""
    tab = line.find("\t", 0, len(line) - len(line.lstrip()))
    if tab >= 0:
        problems.error(Mark(mark.line, tab + 1), "tab", "a tab in the indentation", "YAML indents with spaces")
        return
    special = any(word in problem for word in ("mapping values", "cannot start any token", "expected alphabetic"))
    hint = "text that holds `: ` or starts with one of & * ! | > % @ needs quotes" if special else ""
    problems.error(mark, "not-yaml", problem, hint)
