"""FILE and --template of a run: what requests are made of."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any

from batches_mcp.core.errors import UnreadableFile, UsageError
from batches_mcp.job.intake import spooled_input

_READ_BYTES = 1 << 18


def check_file(name: str) -> None:
    """That FILE can be read.

    Raises:
        UsageError: it is a folder.
        UnreadableFile: it cannot be read.
    """
    if name == "-":
        return
    if Path(name).is_dir():
        raise UsageError(f"FILE: {name} is a folder; name one file of requests, or of rows with --template")
    if not os.access(name, os.R_OK):
        problem = "no access" if Path(name).exists() else "it is not there"
        raise UnreadableFile(f"FILE: cannot read {name}: {problem}")


def template_of(file: str, path: Path | None) -> Mapping[str, Any] | None:
    """The params that rows of FILE fill in; None when FILE holds requests.

    Raises:
        UsageError: rows need one, or it is none.
        UnreadableFile: it cannot be read.
    """
    if path is None:
        if file.removesuffix(".gz").lower().endswith((".csv", ".tsv")):
            raise UsageError(f"{file} holds rows: --template T.json says what request to make of each")
        return None
    try:
        value = json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise UnreadableFile(f"--template: cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"--template: {path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise UsageError(f"--template: {path}: expected a JSON object, the params of each request")
    return value


def opened(name: str, jobs: Path) -> io.BufferedReader:
    """FILE, open; what can be read only once is written down first, in the folder of `jobs`.

    Raises:
        UnreadableFile: it cannot be opened.
    """
    try:
        if name != "-" and Path(name).is_file():
            return io.BufferedReader(io.FileIO(name), _READ_BYTES)
        source = sys.stdin.buffer if name == "-" else Path(name).open("rb")  # noqa: SIM115 - read to its end, once
    except OSError as error:
        raise UnreadableFile(f"FILE: cannot read {name}: {error.strerror or error}") from error
    return spooled_input(source, jobs / f"input-{token_hex(8)}")


def row_name(name: str, file: io.BufferedReader) -> str:
    """The name of the input, whose ending says how rows are read; for standard input, its first characters do."""
    if name != "-":
        return name
    file.seek(0)
    start = file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
    return "standard input" if start.startswith((b"{", b"[", b"\x1f\x8b")) else "standard input.csv"
