"""The rows of a shard as requests: what the template makes of them, in the order of the file."""

from __future__ import annotations

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


def custom_id(row: int) -> str:
    """The custom_id of a row, by its number from 0 within its shard."""
    return f"r{row:09}"


def row_of(custom_id: str) -> int | None:
    """The number of the row that has this custom_id; None when no row has."""
    digits = custom_id[1:]
    if not custom_id.startswith("r") or not (digits.isascii() and digits.isdecimal()):
        return None
    row = int(digits)
    return row if custom_id == f"r{row:09}" else None


def requests(table: Table, template: Template, first: int, count: int) -> Iterator[Row]:
    """The requests of the rows from `first` on, each with its row's number; or, in place of one, why there is none.

    Raises:
        UnreadableFile: the table cannot be read to its end.
    """
    for number, row in enumerate(table.read(first, count, template.columns), first):
        yield number, row if isinstance(row, str) else _request(number, row, template)


def _request(number: int, row: dict[str, object], template: Template) -> bytes | str:
    try:
        params = template.fill(row)
    except KeyError as lacking:
        return f"has no value in column {excerpt(lacking.args[0], 60)!r}, which the template names"
    return msgspec.json.encode({"custom_id": custom_id(number), "params": params})
