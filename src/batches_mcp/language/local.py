"""Local files that a capability names: values to bind, and texts of resources and prompts; read once, at the start."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pydantic import SecretStr

from batches_mcp.core.diagnostics import Diagnostic, Mark, Problems, did_you_mean, quote
from batches_mcp.core.errors import CapabilityError, UnreadableFile
from batches_mcp.language import model, source

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_TEXT = "a text of at most 64 KiB, UTF-8"
_MAX_TEXT_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class LocalFiles:
    """What was read: bound values by the name of their variable, and texts by their `location`."""

    values: Mapping[str, SecretStr]
    texts: Mapping[str, str]
    problems: tuple[Diagnostic, ...]


def read_local(document: model.Document, file: str) -> LocalFiles:
    """Read every local file that a document names, relative to the folder of the capability file `file`."""
    problems, folder = Problems(file), Path(file).parent
    values: dict[str, SecretStr] = {}
    for bind in document.binds:
        if bind.location is not None:
            values |= _values(bind, _path(bind.location, folder, bind.place("location"), problems), problems)
    texts = {}
    for location, mark in _locations(document):
        with problems.within(model.McpExpose.part):
            path = _path(location, folder, mark, problems)
            if path is not None:
                texts[location] = _text(path, mark, problems)
    return LocalFiles(values, texts, tuple(problems.found))


def _locations(document: model.Document) -> Iterator[tuple[str, Mark]]:
    for expose in document.capability.exposes:
        if isinstance(expose, model.McpExpose):
            named: tuple[model.McpResource | model.Prompt, ...] = (*expose.resources, *expose.prompts)
            for each in named:
                if each.location is not None:
                    yield each.location, each.place("location")


def _path(location: str, folder: Path, mark: Mark, problems: Problems) -> Path | None:
    """The path that a location names: a path, or a `file:` URL; None after reporting that it is neither."""
    scheme = _SCHEME.match(location)
    if scheme and scheme[1].lower() != "file":
        hint = "only the environment and local files are read: leave `location` out, or write file:./NAME"
        problems.error(mark, "unsupported", f"{quote(scheme[0] + '...')} is not supported here", hint)
        return None
    path = location if scheme is None else unquote(location[len(scheme[0]) :].removeprefix("//"))
    # file:///C:/..., and file:///./..., as the original's own files write a path beside them.
    path = path[1:] if re.match(r"/([A-Za-z]:|\.\.?/)", path) else path
    found = folder / path
    # Whatever else can be opened, a pipe for one, might never end.
    if not path or "\0" in path or (found.exists() and not found.is_file()):
        problems.error(mark, "file", f"{quote(location)} names no file", "for example file:./secrets.yaml")
        return None
    return found


def _values(bind: model.Bind, path: Path | None, problems: Problems) -> dict[str, SecretStr]:
    if path is None:
        return {}
    mark = bind.place("location")
    try:
        content = source.content(path)
        data = json.loads(content) if path.suffix == ".json" else source.parse(content, path.name).root.plain()
    except UnreadableFile as error:
        problems.error(mark, "file", str(error), "it is read when the server starts")
        return {}
    except (CapabilityError, ValueError, RecursionError):
        # What it says is secret, and so is what is wrong with it.
        problems.error(
            mark, "file", f"the file {quote(path.name)} is neither YAML nor JSON", "write `KEY: value` lines"
        )
        return {}
    if not isinstance(data, dict):
        problems.error(mark, "file", f"the file {quote(path.name)} holds no mapping", "write `KEY: value` lines")
        return {}
    return dict(_bound(bind, path.name, data, problems))


def _bound(bind: model.Bind, name: str, data: dict[str, Any], problems: Problems) -> Iterator[tuple[str, SecretStr]]:
    for variable, key in bind.keys.items():
        mark = bind.node.entries()["keys"].entries()[variable].mark
        value = data.get(key)
        if key not in data:
            near = did_you_mean(key, list(data))
            hint = near if near.startswith("did") else "add it there"
            problems.error(mark, "file", f"the file {quote(name)} has no key {quote(key)}", hint)
        elif isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
            problems.error(mark, "file", f"{quote(key)} in the file {quote(name)} is not a text", "write it in quotes")
        else:
            yield bind.source(variable), SecretStr(str(value))


def _text(path: Path, mark: Mark, problems: Problems) -> str:
    try:
        content = source.content(path)
        if len(content) <= _MAX_TEXT_BYTES:
            return content.decode("utf-8-sig")
    except UnreadableFile as error:
        problems.error(mark, "file", str(error), "it is read when the server starts")
        return ""
    except UnicodeDecodeError:
        pass
    problems.error(mark, "file", f"the file {quote(path.name)} is not {_TEXT}")
    return ""
