"""The files that the results of a job are written to, row by row: lines, a table, and the rows that failed."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any, BinaryIO, NamedTuple, Protocol

import msgspec

from batches_mcp.exchange.request import text
from batches_mcp.job.input_rows import InputRows
from batches_mcp.job.steps import InputRow, Kind, LeftOutRow
from batches_mcp.requests.kinds import SEPARATORS
from batches_mcp.store.rows import loads
from batches_mcp.tools.export import COLUMNS, RESULT_COLUMNS, Format, cells, free_names, harmless
from batches_mcp.tools.view import error_of

_WRITE_BYTES = 1 << 18
_ERROR_COLUMNS = ("error_type", "error_message")


class Result(NamedTuple):
    """A row with the line of its result."""

    row: InputRow
    kind: Kind
    line: bytes


class Sink(Protocol):
    """Where results go, in the order of the input."""

    def add(self, result: Result) -> None:
        """The next one; an OSError when it cannot be written, a CallError when its input cannot be read."""


class ResultLines:
    """Results as they are, one in each line."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def add(self, result: Result) -> None:
        self._file.write(result.line)
        self._file.write(b"\n")


class ResultTable:
    """Results as a table: the columns that rows of the input have first, then those of results."""

    def __init__(self, file: BinaryIO, inputs: InputRows | None) -> None:
        columns = inputs.columns if inputs is not None else []
        # Rows that name their ids have that column already.
        self._first = 1 if inputs is not None and inputs.names_ids else 0
        self._inputs = inputs
        self._table = csv.writer(_Encoded(file))
        self._table.writerow([*columns, *free_names(RESULT_COLUMNS[self._first :], columns)])

    def add(self, result: Result) -> None:
        own: list[str | None] = []
        if self._inputs is not None:
            row = self._inputs.row(result.row.index)
            own = [harmless(cell(row.get(name))) for name in self._inputs.columns]
        for found in cells([result.line]):
            self._table.writerow([*own, *found[self._first :]])


class FailedRows:
    """The rows that failed, in the form of an input: requests as they were, rows with what went wrong.

    Among them are those that were `left_out`, in the order of the input, once the rows after them are added.
    """

    def __init__(self, file: BinaryIO, name: str, inputs: InputRows, left_out: Iterator[LeftOutRow]) -> None:
        self.count = 0
        self._left_out = left_out
        self._next_left_out = next(left_out, None)
        self._file = file
        self._inputs = inputs
        self._table: Any = None
        self._added: list[str] = []
        if is_table(name):
            self._table = csv.writer(_Encoded(file), delimiter=SEPARATORS[PurePath(name).suffix.lower()])
            self._added = [name for name in _ERROR_COLUMNS if name not in inputs.columns]
            self._table.writerow([*inputs.columns, *self._added])

    def add(self, result: Result) -> None:
        self.add_left_out(result.row.index)
        outcome, _ = result.kind
        if outcome != "succeeded":
            error_type, message = error_of(loads(result.line)["result"])
            self._add(result.row.index, error_type or outcome, message)

    def add_left_out(self, before: float) -> None:
        """Add the rows that were left out before the one with this index."""
        while (row := self._next_left_out) and row.index < before:
            self._add(row.index, "left_out", row.message)
            self._next_left_out = next(self._left_out, None)

    def _add(self, index: int, error_type: str, message: str | None) -> None:
        self.count += 1
        if not self._inputs.has_columns:
            self._file.write(self._inputs.request(index) + b"\n")
            return
        row = {**self._inputs.row(index), "error_type": error_type, "error_message": message}
        if self._table is None:
            self._file.write(msgspec.json.encode(row) + b"\n")
        else:
            self._table.writerow([cell(row.get(name)) for name in [*self._inputs.columns, *self._added]])


def is_table(name: str) -> bool:
    """Whether a file of this name is written as a table."""
    return PurePath(name).suffix.lower() in SEPARATORS


def writer(file: BinaryIO, kind: Format) -> Callable[[Iterator[bytes]], None]:
    """What writes lines of results to a file: as they are, or as a table, whose head is written at once."""
    if kind == "csv":
        return _table(file)

    def write(lines: Iterator[bytes]) -> None:
        piece = bytearray()
        for line in lines:
            piece += line
            piece += b"\n"
            if len(piece) >= _WRITE_BYTES:
                file.write(piece)
                piece.clear()
        file.write(piece)

    return write


def _table(file: BinaryIO) -> Callable[[Iterator[bytes]], None]:
    text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
    table = csv.writer(text)
    table.writerow(COLUMNS)

    def write(lines: Iterator[bytes]) -> None:
        table.writerows(cells(lines))
        text.flush()

    return write


class _Encoded:
    """Text for a file that is someone else's to close; its byte order mark tells spreadsheets that it is UTF-8."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        file.write(codecs.BOM_UTF8)

    def write(self, row: str) -> int:
        return self._file.write(row.encode(errors="replace"))


def cell(value: Any) -> str:
    """A value as it stands in a table."""
    return "" if value is None else text(value)
