"""A host's file as bytes: read in its format, and edited in one entry, which is checked by reading it again."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from enum import StrEnum
from importlib import import_module
from types import ModuleType
from typing import Any

from batches_mcp.core.errors import BatchesMcpError
from batches_mcp.hosts import jsonc
from batches_mcp.hosts.jsonc import Broken, Dialect


class CannotEdit(BatchesMcpError):
    """A host's file cannot be edited safely, so it was left as it is."""


class Format(StrEnum):
    """The formats of hosts' files."""

    JSON = "JSON"
    JSON_WITH_COMMENTS = "JSON with comments"
    JSONC = "JSON with comments and trailing commas"
    TOML = "TOML"
    YAML = "YAML"


_DIALECTS = {
    Format.JSON: jsonc.JSON,
    Format.JSON_WITH_COMMENTS: Dialect(trailing_commas=False),
    Format.JSONC: jsonc.JSONC,
}
# Extra libraries, imported only when such a file is edited.
_MODULES = {Format.TOML: "batches_mcp.hosts.toml", Format.YAML: "batches_mcp.hosts.yaml"}


def parse(content: bytes | None, form: Format) -> Any:
    """The data of a file; of one that is not there an empty object.

    Raises:
        CannotEdit: it cannot be read as its host reads it.
    """
    text = _text(content)
    try:
        return jsonc.parse(text, _DIALECTS[form]) if form in _DIALECTS else _module(form).parse(text)
    except Broken as error:
        raise CannotEdit(f"the file is not {form}: {error}") from error


def entry_at(data: Any, path: Sequence[str]) -> Any:
    """What stands at `path`; None when nothing does."""
    for key in path:
        if not isinstance(data, dict) or key not in data:
            return None
        data = data[key]
    return data


def put(content: bytes | None, form: Format, path: Sequence[str], value: Any) -> bytes:
    """The bytes with `value` at `path`, all else as it is.

    Raises:
        CannotEdit: the file cannot be read, or would not say what it should.
    """
    return _edited(content, form, path, value)


def drop(content: bytes, form: Format, path: Sequence[str]) -> bytes:
    """The bytes without what is at `path`, all else as it is.

    Raises:
        CannotEdit: see `put`.
    """
    return _edited(content, form, path, None)


def _edited(content: bytes | None, form: Format, path: Sequence[str], value: Any) -> bytes:
    before = parse(content, form)
    text = _text(content)
    module = jsonc if form in _DIALECTS else _module(form)
    try:
        edited: str = module.drop(text, path) if value is None else module.put(text, path, value)
    except Broken as error:
        raise CannotEdit(f"the file cannot be edited: {error}") from error
    except ModuleNotFoundError as error:
        raise _not_installed(form, error) from error
    result = edited.encode()
    expected = _expected(before, path, value)
    # A format without empty tables loses the one that an entry was alone in.
    emptied = {key: each for key, each in expected.items() if value is not None or key != path[0] or each}
    if parse(result, form) not in (expected, emptied):
        raise CannotEdit("the file would not say the same after the edit")
    return result


def _expected(data: Any, path: Sequence[str], value: Any) -> Any:
    expected = copy.deepcopy(data)
    holder = expected
    for key in path[:-1]:
        holder = holder.get(key) if value is None else holder.setdefault(key, {})
        if holder is None:
            return expected
    if value is None:
        holder.pop(path[-1], None)
    else:
        holder[path[-1]] = value
    return expected


def _text(content: bytes | None) -> str:
    try:
        return (content or b"").decode()
    except UnicodeDecodeError as error:
        raise CannotEdit(
            f"the file is not UTF-8: byte {error.start} is {content[error.start] if content else 0:#04x}"
        ) from error


def _module(form: Format) -> ModuleType:
    try:
        return import_module(_MODULES[form])
    except ModuleNotFoundError as error:
        raise _not_installed(form, error) from error


def _not_installed(form: Format, error: ModuleNotFoundError) -> CannotEdit:
    return CannotEdit(
        f"this {form} file is edited with {error.name}; install it with: pip install 'batches-mcp[install]'"
    )
