"""The rows of a shard as requests: what the template makes of them, in the order of the file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import msgspec

from batches_mcp.cluster.tables import Table
from batches_mcp.core.redact import excerpt
from batches_mcp.requests.reading import Row
from batches_mcp.requests.template import Template

OWN_IDS = (
    "template.custom_id: a job numbers its requests itself, and writes each answer beside its row's columns; "
    "leave custom_id out"
)


# So many rows at the beginning of a shard tell it from others, with how many there are.
_MARKED_ROWS = 20
_MARK_CHARS = 4


def custom_id(row: int, mark: str = "") -> str:
    """The custom_id of a row, by its number from 0 within its shard; `mark` is the shard's.

    Without marks all shards would have the same ids, and of a create that was not answered nobody could tell by the
    results which batch is its own.
    """
    return f"r{row:09}{mark and f'-{mark}'}"


def row_of(custom_id: str) -> int | None:
    """The number of the row that has this custom_id; None when no row has."""
    name = custom_id.partition("-")[0]
    digits = name[1:]
    if not name.startswith("r") or not (digits.isascii() and digits.isdecimal()):
        return None
    row = int(digits)
    return row if name == f"r{row:09}" else None


def requests(table: Table, template: Template, first: int, count: int) -> Iterator[Row]:
    """The requests of the rows from `first` on, each with its row's number; or, in place of one, why there is none.

    Raises:
        UnreadableFile: the table cannot be read to its end.
    """
    mark = _mark(table, template)
    for number, row in enumerate(table.read(first, count, template.columns), first):
        yield number, row if isinstance(row, str) else _request(number, row, template, mark)


def _mark(table: Table, template: Template) -> str:
    """What tells the requests of a shard from those of others."""
    digest = hashlib.sha256(f"{table.rows}".encode())
    for row in table.read(0, min(_MARKED_ROWS, table.rows), template.columns):
        made = row if isinstance(row, str) else _request(0, row, template, "")
        digest.update(made.encode() if isinstance(made, str) else made)
    return digest.hexdigest()[:_MARK_CHARS]


def _request(number: int, row: dict[str, object], template: Template, mark: str) -> bytes | str:
    try:
        params = template.fill(row)
    except KeyError as lacking:
        return f"has no value in column {excerpt(lacking.args[0], 60)!r}, which the template names"
    return msgspec.json.encode({"custom_id": custom_id(number, mark), "params": params})
