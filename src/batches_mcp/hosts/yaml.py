"""YAML, edited in one member of a block mapping by whole lines; the only module that imports ruamel.yaml."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from batches_mcp.hosts.jsonc import Broken


def parse(text: str) -> Any:
    """The file's data; an empty file counts as an empty mapping.

    Raises:
        Broken: it is not YAML, or its top is not a mapping.
    """
    return _plain(_document(text))


def put(text: str, path: Sequence[str], value: Any) -> str:
    """Set the member at `path`, which has two steps: a mapping at the top, and a name in it.

    Raises:
        Broken: it is not YAML, or the mapping is not written as a block.
    """
    top, name = path
    newline = "\r\n" if "\r\n" in text else "\n"
    if name in (_document(text).get(top) or {}):
        text = drop(text, path)
    found = _document(text).get(top)
    lines = text.splitlines(keepends=True)
    if found is None:
        if top in _document(text):
            raise Broken(f"{top} is empty; expected a mapping")
        if lines and not lines[-1].endswith("\n"):
            lines[-1] += newline
        return "".join([*lines, f"{top}:{newline}", *_lines(name, value, 2, newline)])
    first, column = _first(found, top)
    return "".join([*lines[:first], *_lines(name, value, column, newline), *lines[first:]])


def drop(text: str, path: Sequence[str]) -> str:
    """Remove the member at `path`, and a mapping that held nothing else; a text without it stays as it is.

    Raises:
        Broken: see `put`.
    """
    top, name = path
    document = _document(text)
    found = document.get(top)
    if not isinstance(found, CommentedMap) or name not in found:
        return text
    _first(found, top)
    lines = text.splitlines(keepends=True)
    start, column = found.lc.key(name) if len(found) > 1 else document.lc.key(top)
    end = start + 1
    # What is indented deeper belongs to it; comments and empty lines behind it do not.
    while end < len(lines) and (len(lines[end]) - len(lines[end].lstrip(" ")) > column) and lines[end].strip():
        end += 1
    return "".join([*lines[:start], *lines[end:]])


def _first(found: Any, top: str) -> tuple[int, int]:
    """The line and the column of a block mapping's first key."""
    if not isinstance(found, CommentedMap) or not found or found.fa.flow_style():
        raise Broken(f"{top} is not written as a block of names, one a line")
    line, column = found.lc.key(next(iter(found)))
    return int(line), int(column)


def _lines(name: str, value: Any, column: int, newline: str) -> list[str]:
    pad = " " * column
    fields = [f"{pad}  {key}: {json.dumps(each, ensure_ascii=False)}{newline}" for key, each in value.items()]
    return [f"{pad}{name}:{newline}", *fields]


def _document(text: str) -> CommentedMap:
    try:
        document = YAML(typ="rt", pure=True).load(io.StringIO(text))
    except YAMLError as error:
        raise Broken(" ".join(str(error).split())) from error
    if document is None:
        return CommentedMap()
    if not isinstance(document, CommentedMap):
        raise Broken("the file is not a mapping")
    return document


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value
