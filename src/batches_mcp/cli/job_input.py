"""FILE of a run: what requests are made of."""

from __future__ import annotations

import io
import json
import os
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from secrets import token_hex
from typing import Any

from batches_mcp.core.errors import UnreadableFile, UsageError
from batches_mcp.core.limits import Limits
from batches_mcp.job.intake import spooled_input
from batches_mcp.requests.checks import OPENAI
from batches_mcp.requests.reading import request_rows
from batches_mcp.requests.source import Source, first_rows, in_file
from batches_mcp.requests.template import Template

_READ_BYTES = 1 << 18
_MOST_NAMED = 5
_OPENAI_KEYS = {"custom_id", "method", "url", "body"}
_ENDINGS = (".csv", ".tsv", ".jsonl", ".json")


@dataclass(frozen=True, slots=True)
class JobSource:
    """The input of a job: the open file, which decides what job it is, and the requests it makes."""

    file: io.BufferedReader
    source: Source


def check_file(name: str) -> None:
    """That FILE can be read, and holds something.

    Raises:
        UsageError: it is a folder, or empty.
        UnreadableFile: it cannot be read.
    """
    if name == "-":
        return
    path = Path(name)
    if path.is_dir():
        found = _inputs_in(path)
        named = ", ".join(str(path / each) for each in found[:_MOST_NAMED])
        hint = f"such as {named}" if found else f"and it holds none that ends in {', '.join(_ENDINGS)}"
        raise UsageError(f"FILE: {name} is a folder; name a file of requests or rows, {hint}")
    if not os.access(path, os.R_OK):
        problem = "there is no access to it" if path.exists() else f"it is not there{_hint(path)}"
        raise UnreadableFile(f"FILE: cannot read {name}: {problem}")
    if path.is_file() and not path.stat().st_size:
        raise UsageError(f"FILE: {name} is empty")


def near_names(path: Path) -> str:
    """A hint at a file beside this path whose name is like it; empty when there is none."""
    try:
        names = [each.name for each in path.parent.iterdir() if each.is_file()]
    except OSError:
        return ""
    near = get_close_matches(path.name, names, n=1)
    return f"did you mean {path.with_name(near[0])}?" if near else ""


def _hint(path: Path) -> str:
    if not path.parent.is_dir():
        return f", and neither is the folder {path.parent}"
    if near := near_names(path):
        return f"; {near}"
    found = _inputs_in(path.parent)
    more = ", ..." if len(found) > _MOST_NAMED else ""
    return f"; there are {', '.join(found[:_MOST_NAMED])}{more}" if found else ""


def _inputs_in(folder: Path) -> list[str]:
    """The names in a folder that an input of a run may have."""
    try:
        return sorted(
            each.name
            for each in folder.iterdir()
            if each.name.removesuffix(".gz").lower().endswith(_ENDINGS) and not each.name.startswith(".")
        )
    except OSError:
        return []


@contextmanager
def job_source(
    name: str, spooled: Path, template: Mapping[str, Any] | None, limit: int | None, limits: Limits
) -> Iterator[JobSource]:
    """FILE, open, and the requests that it and a `template` make, only those of its first `limit` rows if that is set.

    What can be read only once is written down first, in the folder `spooled`.

    Raises:
        UnreadableFile: it cannot be opened.
        UsageError: it is empty, or of another kind than the template.
    """
    with _opened(name, spooled) as file:
        if not file.peek(1):
            raise UsageError(f"FILE: {'standard input' if name == '-' else name} is empty")
        if template is not None:
            _check_rows(name, file, Template(template))
        made = None if template is None else Template(template)
        source = in_file("FILE", _row_name(name, file), file, made, limits)
        yield JobSource(file, source if limit is None else first_rows(source, limit))


def _check_rows(name: str, file: io.BufferedReader, template: Template) -> None:
    """That FILE may hold rows for a template.

    Raises:
        UsageError: it holds whole requests, or such of OpenAI's batches.
    """
    file.seek(0)
    try:
        _, first = next(request_rows(file), (0, ""))
        row = json.loads(first)
    except (ValueError, RecursionError, EOFError, OSError, zlib.error):  # what is wrong is said when it is read
        return
    if isinstance(row, dict) and row.keys() == _OPENAI_KEYS and isinstance(row["body"], dict):
        raise UsageError(f"FILE: {name} {OPENAI}")
    if isinstance(row, dict) and row.keys() == {"custom_id", "params"} and not row.keys() & set(template.columns):
        raise UsageError(
            f"FILE: {name} holds whole requests, each with params of its own; leave --prompt, --template and what goes "
            "with them out"
        )


def _opened(name: str, spooled: Path) -> io.BufferedReader:
    try:
        if name != "-" and Path(name).is_file():
            return io.BufferedReader(io.FileIO(name), _READ_BYTES)
        source = sys.stdin.buffer if name == "-" else Path(name).open("rb")  # noqa: SIM115 - read to its end, once
    except OSError as error:
        raise UnreadableFile(f"FILE: cannot read {name}: {error.strerror or error}") from error
    return spooled_input(source, spooled / f"input-{token_hex(8)}")


def _row_name(name: str, file: io.BufferedReader) -> str:
    """The name of the input, whose ending says how rows are read; for standard input, its first characters do."""
    if name != "-":
        return name
    file.seek(0)
    start = file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
    return "standard input" if start.startswith((b"{", b"[", b"\x1f\x8b")) else "standard input.csv"
