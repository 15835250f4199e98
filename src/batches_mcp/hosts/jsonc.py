"""JSON with comments and trailing commas: read, and edited in one member while every other byte stays.

A text is never written anew. `put` and `drop` cut at the ends of tokens, so that `drop` after a `put` of a new member
gives the text from before it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_SPACE = " \t\r\n"
_BOM = "\ufeff"
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_LITERAL = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null")
_DEEPEST = 100


class Broken(ValueError):
    """The text is not what it should be; the message says where and what was expected."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a reader of the text takes beyond JSON."""

    comments: bool = True
    trailing_commas: bool = True


JSON = Dialect(comments=False, trailing_commas=False)
JSONC = Dialect()


@dataclass(frozen=True, slots=True)
class Member:
    """One member of an object: where its key and its value stand, and the comma behind it (None: there is none)."""

    key: str
    start: int
    value: Node
    comma: int | None


@dataclass(frozen=True, slots=True)
class Node:
    """A value, and where it begins and ends in the text; of an object also its members."""

    data: Any
    start: int
    end: int
    members: tuple[Member, ...] = field(default=())


def parse(text: str, dialect: Dialect = JSONC) -> Any:
    """The value; an empty text counts as an empty object.

    Raises:
        Broken: the text is not of this dialect.
    """
    root = _root(text, dialect)
    return {} if root is None else root.data


def put(text: str, path: Sequence[str], value: Any) -> str:
    """Set the member at `path`, with the objects on the way to it, to a JSON value.

    Raises:
        Broken: the text cannot be read, or something on the way is not an object or stands there twice.
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    node = _root(text, JSONC)
    if node is None:
        gap = newline if text.strip(_SPACE + _BOM) and not text.endswith("\n") else ""
        return put(f"{text}{gap}{{{newline}}}{newline}", path, value)
    indented = re.search(r"\n(\t| {1,8})\S", text)
    unit = indented[1] if indented else "  "
    start = node.start
    for depth, key in enumerate(path):
        found = _member(node, path[:depth], key)
        if found is None:
            rest = value
            for name in reversed(path[depth + 1 :]):
                rest = {name: rest}
            return _append(text, node, key, rest, newline, unit, depth)
        node, start = found.value, found.start
    if json.dumps(node.data) == json.dumps(value):
        return text
    return text[: node.start] + _written(value, _indent(text, start), newline, unit) + text[node.end :]


def drop(text: str, path: Sequence[str]) -> str:
    """Remove the member at `path`; a text without it stays as it is.

    Raises:
        Broken: see `put`.
    """
    node = _root(text, JSONC)
    for depth, key in enumerate(path):
        found = None if node is None else _member(node, path[:depth], key)
        if node is None or found is None:
            return text
        if depth == len(path) - 1:
            return _without(text, node, found)
        node = found.value
    return text


def _without(text: str, node: Node, member: Member) -> str:
    place = node.members.index(member)
    before = node.members[place - 1] if place else None
    begin = node.start + 1 if before is None else (before.value.end if before.comma is None else before.comma + 1)
    start = len(text[: member.start].rstrip(_SPACE))
    rest = text[member.value.end if member.comma is None else member.comma + 1 :]
    if _ends_in_line_comment(text, begin, start) and not re.match(r"[ \t]*\r?\n", rest):
        rest = text[start : text.index("\n", start) + 1] + rest
    kept = text[:start]
    if member.comma is None and before is not None and before.comma is not None:
        kept = kept[: before.comma] + kept[before.comma + 1 :]  # it goes with the last member
    return kept + rest


def _ends_in_line_comment(text: str, begin: int, end: int) -> bool:
    """Whether the white space and comments between two places end in a comment that only a new line ends."""
    at = begin
    while at < end:
        if text.startswith("//", at):
            line = text.find("\n", at)
            if line < 0 or line >= end:
                return True
            at = line
        elif text.startswith("/*", at):
            at = text.index("*/", at + 2) + 2
        else:
            at += 1
    return False


def _append(text: str, node: Node, key: str, value: Any, newline: str, unit: str, depth: int) -> str:
    """Add a member behind the last, and behind the comments that follow it."""
    close = node.end - 1
    end = len(text[:close].rstrip(_SPACE))
    last = node.members[-1] if node.members else None
    indent = _indent(text, last.start) if last else None
    if indent is None and "\n" in text[last.value.end if last else node.start : close]:
        indent = unit * (depth + 1)
    member = f"{json.dumps(key)}: {_written(value, indent, newline, unit)}"
    gap = f"{newline}{indent}" if indent is not None else "" if end == node.start + 1 else " "
    if last is None:
        return text[:end] + gap + member + text[end:]
    if last.comma is None:
        return text[: last.value.end] + "," + text[last.value.end : end] + gap + member + text[end:]
    return text[:end] + gap + member + "," + text[end:]


def _written(value: Any, indent: str | None, newline: str, unit: str) -> str:
    if indent is None:
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(value, indent=unit, ensure_ascii=False).replace("\n", newline + indent)


def _indent(text: str, start: int) -> str | None:
    """The white space before what begins there, when nothing else stands before it in its line."""
    before = text[text.rfind("\n", 0, start) + 1 : start]
    return before if not before.strip(_SPACE) and "\n" in text[:start] else None


def _member(node: Node, path: Sequence[str], key: str) -> Member | None:
    if not isinstance(node.data, dict):
        raise Broken(f"{'.'.join(path) or 'the file'} is not an object, so {key} cannot stand in it")
    found = [member for member in node.members if member.key == key]
    if len(found) > 1:
        raise Broken(f"{'.'.join([*path, key])} stands there {len(found)} times")
    return found[0] if found else None


def _root(text: str, dialect: Dialect) -> Node | None:
    scanner = _Scanner(text, dialect)
    start = scanner.skip(1 if text.startswith(_BOM) else 0)
    if start == len(text):
        return None
    node = scanner.value(start, 0)
    end = scanner.skip(node.end)
    if end < len(text):
        raise scanner.broken(end, "the end of the file")
    return node


@dataclass(frozen=True, slots=True)
class _Scanner:
    text: str
    dialect: Dialect

    def broken(self, at: int, expected: str) -> Broken:
        line, column = self.text.count("\n", 0, at) + 1, at - self.text.rfind("\n", 0, at)
        found = repr(self.text[at]) if at < len(self.text) else "the end of the file"
        return Broken(f"line {line}, column {column}: expected {expected}, found {found}")

    def skip(self, at: int) -> int:
        """Past white space and comments."""
        text = self.text
        while at < len(text):
            if text[at] in _SPACE:
                at += 1
            elif text.startswith(("//", "/*"), at) and not self.dialect.comments:
                raise self.broken(at, "no comment")
            elif text.startswith("//", at):
                end = text.find("\n", at)
                at = len(text) if end < 0 else end
            elif text.startswith("/*", at):
                end = text.find("*/", at + 2)
                if end < 0:
                    raise self.broken(len(text), "*/, which ends the comment")
                at = end + 2
            else:
                break
        return at

    def value(self, at: int, depth: int) -> Node:
        if depth > _DEEPEST:
            raise self.broken(at, f"at most {_DEEPEST} values in one another")
        if self.text.startswith("{", at):
            return self._object(at, depth)
        if self.text.startswith("[", at):
            return self._array(at, depth)
        is_string = self.text.startswith('"', at)
        match = (_STRING if is_string else _LITERAL).match(self.text, at)
        if match is None:
            raise self.broken(at, "the end of the string in its line" if is_string else "a value")
        return Node(self._scalar(match), at, match.end())

    def _scalar(self, match: re.Match[str]) -> Any:
        try:
            return json.loads(match[0])
        except ValueError as error:
            raise self.broken(match.start(), f"a JSON value ({error})") from error

    def _object(self, start: int, depth: int) -> Node:
        members: list[Member] = []
        at = self.skip(start + 1)
        while not self.text.startswith("}", at):
            if members and members[-1].comma is None:
                raise self.broken(at, "',' or '}'")
            match = _STRING.match(self.text, at)
            if match is None:
                raise self.broken(at, "a key in double quotes")
            colon = self.skip(match.end())
            if not self.text.startswith(":", colon):
                raise self.broken(colon, "':'")
            value = self.value(self.skip(colon + 1), depth + 1)
            comma, after = self._comma(value.end, "}")
            members.append(Member(self._scalar(match), at, value, comma))
            at = after
        return Node({each.key: each.value.data for each in members}, start, at + 1, tuple(members))

    def _array(self, start: int, depth: int) -> Node:
        items: list[Any] = []
        at = self.skip(start + 1)
        comma: int | None = None
        while not self.text.startswith("]", at):
            if items and comma is None:
                raise self.broken(at, "',' or ']'")
            value = self.value(at, depth + 1)
            items.append(value.data)
            comma, at = self._comma(value.end, "]")
        return Node(items, start, at + 1)

    def _comma(self, end: int, close: str) -> tuple[int | None, int]:
        """Where the comma behind a value is, if there is one, and what comes next."""
        at = self.skip(end)
        if not self.text.startswith(",", at):
            return None, at
        after = self.skip(at + 1)
        if self.text.startswith(close, after) and not self.dialect.trailing_commas:
            raise self.broken(at, "no comma before the end")
        return at, after
