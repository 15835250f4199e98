"""Requests that a template makes of the rows of a table: of CSV, TSV, or JSONL."""

from __future__ import annotations

import io
import json
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any

import msgspec

from batches_mcp.core.limits import LIMITS, Limits
from batches_mcp.requests.checks import NOT_UTF_8
from batches_mcp.requests.kinds import is_table, suffix
from batches_mcp.requests.reading import Bytes, Row, each_row, requests_in, unpacked
from batches_mcp.requests.table import table_rows
from batches_mcp.requests.template import Template, missing

# So many rows of a JSONL file show which columns there are.
_ROWS_LOOKED_AT = 100
_MOST_COLUMNS = 10_000


def template_rows(
    argument: str, file: io.BufferedReader, name: str, template: Template, mark: str, limits: Limits = LIMITS
) -> Iterator[Row]:
    """The requests that a template makes of the rows of a CSV, TSV or JSONL file; `mark` ends the ids it makes.

    Raises:
        InvalidArguments: the file has no header, or none of a column that the template names.
    """
    source = unpacked(file, limits)
    if is_table(source.peek(limits.read_bytes), name):
        rows = table_rows(argument, source, name, suffix(name), template)
    else:
        rows = _json_rows(source, template, limits)
    with closing(rows):
        for number, (where, row) in enumerate(rows, 1):
            if isinstance(row, str):
                yield where, row
                continue
            try:
                params, custom_id = template.fill(row), template.custom_id(row)
            except KeyError as lacking:
                yield where, missing(row, lacking.args[0])
                continue
            if custom_id is None:
                custom_id = row.get("custom_id", f"row-{number:06}-{mark}")
            try:
                yield where, msgspec.json.encode({"custom_id": custom_id, "params": params})
            except UnicodeEncodeError:
                yield where, "has half of a surrogate pair, which is not a character"


def has_made_up_id(row: bytes) -> bool:
    """Whether a request that a template made has, as the first of its source, an id that was made up for it."""
    return row.startswith(b'{"custom_id":"row-0')


def _json_rows(
    source: Bytes, template: Template, limits: Limits
) -> Generator[tuple[int, dict[str, Any] | str], None, None]:
    """Rows as objects; the first of them tell whether the template can be meant for them."""
    rows = map(_json_row, each_row(requests_in(source, limits)))
    first: list[tuple[int, dict[str, Any] | str]] = []
    columns: dict[str, None] = {}
    while len(first) < _ROWS_LOOKED_AT and len(columns) < _MOST_COLUMNS and (found := next(rows, None)):
        first.append(found)
        columns |= dict.fromkeys(found[1] if isinstance(found[1], dict) else ())
    if columns:
        template.check(list(columns))
    yield from first
    yield from rows


def _json_row(found: Row) -> tuple[int, dict[str, Any] | str]:
    where, line = found
    if isinstance(line, str):
        return where, line
    try:
        row = json.loads(line)
    except UnicodeDecodeError:
        return where, NOT_UTF_8
    except (ValueError, RecursionError):
        return where, "is not JSON"
    return where, row if isinstance(row, dict) else "is not an object with a value for each column"
