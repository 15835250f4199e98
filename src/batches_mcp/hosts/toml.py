"""TOML, edited in one table by whole lines; tables written in another way are left to tomlkit, imported only then."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from typing import Any

from batches_mcp.hosts.jsonc import Broken

_HEADER = re.compile(r"\s*\[")


def parse(text: str) -> Any:
    """The file's data.

    Raises:
        Broken: it is not TOML.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Broken(str(error)) from error


def put(text: str, path: Sequence[str], value: Any) -> str:
    """Set the table at `path`.

    Raises:
        Broken: it is not TOML, or something on the way is not a table.
        ImportError: only tomlkit can edit it, which is not installed.
    """
    data = parse(text)
    holder = data
    for depth, key in enumerate(path[:-1]):
        holder = holder.setdefault(key, {})
        if not isinstance(holder, dict):
            raise Broken(f"{'.'.join(path[: depth + 1])} is not a table")
    known = path[-1] in holder
    holder[path[-1]] = value
    newline = _newline(text)
    table = [f"[{'.'.join(path)}]", *(f"{name} = {_written(each)}" for name, each in value.items())]
    block = "".join(line + newline for line in table)
    lines = text.splitlines(keepends=True)
    if known:
        blocks = _blocks(lines, path)
        kept = [line for number, line in enumerate(lines) if not any(start <= number < end for start, end in blocks)]
        if blocks:
            kept.insert(blocks[0][0], block)
        edited = "".join(kept)
    else:
        gap = newline if text and not text.endswith("\n") else ""
        edited = f"{text}{gap}{newline if text.strip() else ''}{block}"
    return edited if _says(edited, data) else _with_tomlkit(text, path, value)


def drop(text: str, path: Sequence[str]) -> str:
    """Remove the table at `path`; comments behind it, and a text without it, stay as they are.

    Raises:
        Broken, ImportError: see `put`.
    """
    data = parse(text)
    holder = data
    for key in path[:-1]:
        holder = holder.get(key) if isinstance(holder, dict) else None
    if not isinstance(holder, dict) or path[-1] not in holder:
        return text
    del holder[path[-1]]
    lines = text.splitlines(keepends=True)
    for start, end in reversed(_blocks(lines, path)):
        first = start - 1 if start and not lines[start - 1].strip() else start  # the empty line that `put` made
        del lines[first:end]
    edited = "".join(lines)
    emptied = {key: each for key, each in data.items() if key != path[0] or each}
    return edited if _says(edited, data) or _says(edited, emptied) else _with_tomlkit(text, path, None)


def _blocks(lines: Sequence[str], path: Sequence[str]) -> list[tuple[int, int]]:
    """The first line, and the one behind the last, of a table and of each table in it; comments behind are not its."""
    steps = r"\s*\.\s*".join(rf"""(?:{re.escape(step)}|"{re.escape(step)}"|'{re.escape(step)}')""" for step in path)
    ours = re.compile(rf"\s*\[\s*{steps}\s*(?:\.[^]]*)?\]")
    blocks = []
    for start, line in enumerate(lines):
        if ours.match(line):
            end = last = start + 1
            while end < len(lines) and not _HEADER.match(lines[end]):
                end += 1
                if lines[end - 1].strip() and not lines[end - 1].lstrip().startswith("#"):
                    last = end
            blocks.append((start, last))
    return blocks


def _written(value: Any) -> str:
    match value:
        case dict():
            return "{ " + ", ".join(f"{json.dumps(key)} = {_written(each)}" for key, each in value.items()) + " }"
        case list():
            return "[" + ", ".join(map(_written, value)) + "]"
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case bool() | int() | float():
            return json.dumps(value)
        case other:
            return str(other)  # dates and times


def _says(text: str, data: Any) -> bool:
    """Whether the text holds exactly this; what it should not have become shows in this too."""
    try:
        return bool(tomllib.loads(text) == data)
    except tomllib.TOMLDecodeError:
        return False


def _with_tomlkit(text: str, path: Sequence[str], value: Any) -> str:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(text)
        holder: Any = document
        for key in path[:-1]:
            holder = holder[key]
        if value is None:
            del holder[path[-1]]
        else:
            holder[path[-1]] = value
        return tomlkit.dumps(document)
    except (TOMLKitError, KeyError, TypeError) as error:
        raise Broken(f"{'.'.join(path)} is written in a way that cannot be edited") from error


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
