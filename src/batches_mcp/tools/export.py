"""`as_file`: the results of a batch as a file of their own, complete or not there at all."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Any, Literal

from batches_mcp.api.outcomes import RESULT_TYPES
from batches_mcp.core.state import create, unusable
from batches_mcp.store.files import NEW_S, SAFE_NAME
from batches_mcp.store.rows import Row, loads, read_row
from batches_mcp.store.spool import Spool, key
from batches_mcp.tools.call import Call
from batches_mcp.tools.cursor import digest
from batches_mcp.tools.view import content_text, error_of

Format = Literal["jsonl", "csv"]

COLUMNS = ("custom_id", "type", "text", "error_type", "error_message", "stop_reason", "input_tokens", "output_tokens")
# The same beside the columns of an input.
RESULT_COLUMNS = (
    "custom_id",
    "outcome",
    "answer",
    "error_type",
    "error_message",
    "stop_reason",
    "input_tokens",
    "output_tokens",
)
# What a spreadsheet takes for a formula, unless it is a plain number:
# https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA = re.compile(r"[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)*%?")


async def export(
    call: Call, spool: Spool, kind: Format, outcomes: Collection[str], ids: Collection[str]
) -> dict[str, str | int]:
    """Write the rows that the filters let through; `{path, rows, bytes}`, over HTTP a `url` in place of the path.

    Raises:
        StateUnusable: there is no room for it, or no access.
        FileNotFoundError: another process has removed the spool meanwhile.
    """
    files = call.account.state.result_files()
    path = files.path(f"{_stem(spool.head.batch_id, outcomes, ids)}.{kind}")
    try:
        new_s = call.forward.upstream.clock.wall_s() - NEW_S
        rows = await call.runtime.long_work(_write, path, spool, kind, outcomes, ids, new_s)
        size_bytes = path.stat().st_size
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unusable(path, error) from error
    if call.server_url is None:
        return {"path": str(path), "rows": rows, "bytes": size_bytes}
    await call.runtime.long_work(files.publish, path)
    return {"url": f"{call.server_url}{files.url_path(path.name)}", "rows": rows, "bytes": size_bytes}


def _stem(batch_id: str, outcomes: Collection[str], ids: Collection[str]) -> str:
    name = batch_id if SAFE_NAME.fullmatch(batch_id) else key(batch_id)
    parts = [each for each in RESULT_TYPES if each in outcomes] + ([digest(ids).hex()] if ids else [])
    return ".".join([name, "-".join(parts)]) if parts else name


def _write(
    path: Path, spool: Spool, kind: Format, outcomes: Collection[str], ids: Collection[str], new_s: float
) -> int:
    """Write the file; how many rows it has. Put in its place only when it is whole."""
    temporary = path.with_name(f"{path.name}.{token_hex(4)}.part")
    try:
        if kind == "jsonl" and not outcomes and not ids and not spool.head.ignored:
            _same(spool.path, temporary, new_s)
            rows = len(spool)
        else:
            numbers = sorted(spool.find(ids).values()) if ids else spool.matching(outcomes)
            chosen = (number for number in numbers if spool.has(number, outcomes))
            rows = _rewrite(temporary, spool.lines(chosen), kind)
        temporary.replace(path)
    finally:
        # It is still there after a failure, and after a rename onto itself, which does nothing.
        with suppress(OSError):
            temporary.unlink()
    return rows


def _same(source: Path, path: Path, new_s: float) -> None:
    """The same bytes under another name: a second name for the file where there can be one, else a copy.

    A copy too when the file is older than `new_s`: all its names have one age, which decides how long they stay.
    """
    try:
        is_new = source.stat().st_mtime >= new_s
        if is_new:
            os.link(source, path)
    except FileNotFoundError:
        raise
    except OSError:
        is_new = False
    if not is_new:
        with source.open("rb") as original, create(path) as copy:
            shutil.copyfileobj(original, copy, 1 << 20)
            _settle(copy)


def _rewrite(path: Path, lines: Iterable[bytes], kind: Format) -> int:
    rows = 0
    with create(path) as file:
        if kind == "jsonl":
            for line in lines:
                file.write(line.removesuffix(b"\r") + b"\n")
                rows += 1
        else:
            text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
            table = csv.writer(text)
            table.writerow(COLUMNS)
            for row in cells(lines):
                table.writerow(row)
                rows += 1
            text.flush()
            text.detach()
        _settle(file)
    return rows


def cells(lines: Iterable[bytes]) -> Iterator[list[str | int | None]]:
    """The cells of each line that is a row, for spreadsheets."""
    for line in lines:
        row = read_row(line)
        if row is not None:
            custom_id, *others = values(row, line)
            yield [custom_id, *(harmless(each) if isinstance(each, str) else each for each in others)]


def values(row: Row, line: bytes) -> list[str | int | None]:
    """What a line, which is a row, has for each of `RESULT_COLUMNS`."""
    found: dict[str, Any] = loads(line)["result"]
    message = found.get("message")
    text = content_text(message.get("content")) if isinstance(message, dict) else None
    stop_reason = row.result.message.stop_reason if row.result.message else None
    usage = row.result.message.usage if row.result.message else None
    tokens = (usage.input_tokens, usage.output_tokens) if usage else (None, None)
    return [row.custom_id, row.result.type, text, *error_of(found), stop_reason, *tokens]


def free_names(names: Sequence[str], taken: Collection[str]) -> list[str]:
    """The names, those that are taken with a number."""
    found = []
    for name in names:
        number, free = 1, name
        while free in taken:
            number += 1
            free = f"{name}_{number}"
        found.append(free)
    return found


def harmless(text: str | None) -> str | None:
    """A text that no spreadsheet takes for a formula: an apostrophe before what begins like one."""
    if text and _FORMULA.match(text) and not _NUMBER.fullmatch(text):
        return f"'{text}"
    return text


def _settle(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
