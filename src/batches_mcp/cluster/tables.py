"""The rows of a Parquet file in its order, and Parquet that is written beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from batches_mcp.cluster.columns import PROBLEM, ROW
from batches_mcp.cluster.database import (
    GROUP_ROWS,
    LITTLE_MEMORY,
    MEMORY,
    Database,
    OutOfMemory,
    json_lines,
    name_of,
    text,
)
from batches_mcp.core.errors import UnreadableFile
from batches_mcp.store.rows import loads

_ROW_NUMBER = "file_row_number"
# A group of rows that is to be read often has about so much, and at least as many rows as DuckDB reads at a time.
_GROUP_BYTES = 32_000_000
_LEAST_GROUP_ROWS = 2_048


class Column(NamedTuple):
    """A column, and its type as DuckDB names it."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Table:
    """A Parquet file, which messages call `name`.

    `fields` are its columns, and the fields of structs in them by their path (`address.city`), as SQL.
    """

    path: Path
    name: str
    columns: tuple[Column, ...]
    rows: int
    fields: Mapping[str, str]
    _of_lines: bool
    _database: Database

    def read(self, first: int, count: int, names: Sequence[str]) -> Iterator[dict[str, Any] | str]:
        """The rows from `first` on, in the order of the file: the values of these fields, as far as there are such.

        Nested values are as in JSON, nulls and numbers that are not finite None; dates, times and bytes are text as
        DuckDB writes it. In place of a row that could not be read there is a text that says why.

        Raises:
            UnreadableFile: the file cannot be read to its end.
        """
        known = [name for name in names if name in self.fields]
        if self._of_lines:
            selected = f"{ROW}, {PROBLEM}"
        else:
            packed = ", ".join(f"{text(name)}: {self.fields[name]}" for name in known)
            selected = f"to_json({{{packed}}}), NULL" if packed else "'{}', NULL"
        done = 0
        while done < count:
            try:
                for row, problem in self._database.rows(
                    f"SELECT {selected} FROM {self._range(first + done, count - done)}"  # noqa: S608 - quoted
                ):
                    done += 1
                    if problem is not None:
                        yield problem
                        continue
                    values = loads(row.encode())
                    yield {name: _at(values, name) for name in known} if self._of_lines else values
                return
            except OutOfMemory:
                self._database.take_more_memory()

    def check(self, count: int) -> None:
        """Read every value of the first rows, so that what is damaged shows now.

        Raises:
            UnreadableFile: something is.
        """
        if self._of_lines:  # made from what was read just now
            return
        values = ", ".join(name_of(column.name) for column in self.columns)
        query = f"SELECT bit_xor(hash({values})) FROM {self._range(0, count)}"  # noqa: S608 - quoted
        while True:
            try:
                list(self._database.rows(query))
                return
            except OutOfMemory:
                self._database.take_more_memory()

    def write(self, path: Path, first: int, count: int, lines: Path, added: Sequence[Column]) -> None:
        """Write a Parquet file of rows from `first` on: the columns of the table, then those that are added.

        These come from the file `lines`, which has `{"row": number, "cells": [text, ...]}` for each row, in order.

        Raises:
            UnreadableFile: the table is damaged.
            OSError: a file cannot be read or written.
        """
        own = [f"i.{name_of(column.name)}" for column in self.columns]
        cells = [
            f"CAST(r.cells[{at}] AS {column.type}) AS {name_of(column.name)}" for at, column in enumerate(added, 1)
        ]
        # Joined by their order, which is that of both files; it is checked nevertheless.
        self._database.copy(
            f"SELECT {', '.join([*own, *cells])} FROM (SELECT *, {_ROW_NUMBER} FROM {self._range(first, count)}) i "  # noqa: S608 - quoted
            f"POSITIONAL JOIN {json_lines(lines, row='BIGINT', cells='VARCHAR[]')} r "
            f"WHERE CASE WHEN i.{_ROW_NUMBER} IS DISTINCT FROM r.row THEN error('rows out of order') ELSE true END",
            path,
        )

    def _range(self, first: int, count: int) -> str:
        rows = f"{_ROW_NUMBER} >= {first} AND {_ROW_NUMBER} < {first + count}"
        return f"read_parquet({text(str(self.path))}) WHERE {rows}"


@contextmanager
def opened(path: Path, name: str) -> Iterator[Table]:
    """Open a Parquet file, which messages call `name`.

    Raises:
        UnreadableFile: it is not Parquet, or damaged, or has a column that cannot be told from another.
    """
    with Database(path, name) as database:
        source = f"read_parquet({text(str(path))})"
        try:
            names, types = database.columns(f"SELECT * FROM {source}")  # noqa: S608 - quoted
            [(rows,)] = database.rows(f"SELECT count(*) FROM {source}")  # noqa: S608 - quoted
        except OutOfMemory as error:
            raise UnreadableFile(f"{name}: its description does not fit into {MEMORY[0]}; it is damaged") from error
        if any(each.lower() == _ROW_NUMBER for each in names):
            raise UnreadableFile(f"{name}: has a column {_ROW_NUMBER}, which DuckDB has as well; rename it")
        of_lines = names[:2] == [ROW, PROBLEM]
        own = list(zip(names, types, strict=True))[2 if of_lines else 0 :]
        fields = {field: sql for each, kind in own for field, sql in _fields(each, name_of(each), kind)}
        fields |= {each: name_of(each) for each, _ in own}
        columns = tuple(Column(each, str(kind)) for each, kind in own)
        yield Table(path, name, columns, rows, fields, of_lines, database)


def regrouped(source: Path, name: str, path: Path) -> bool:
    """Write a Parquet file to another in small groups of rows, if it has pages that take much memory to read.

    DuckDB itself writes a column of a group as one page of up to 100 MB, which is in memory twice while it is read. The
    other file has the same rows and columns. False: there is none, since none is needed, or it would not be the same.

    Raises:
        OSError: it cannot be written.
    """
    rows = f"read_parquet({text(str(source))})"
    groups = (
        f"SELECT DISTINCT row_group_id, row_group_bytes, row_group_num_rows FROM parquet_metadata({text(str(source))})"  # noqa: S608
    )
    with suppress(UnreadableFile), Database(source, name) as database:  # whoever opens it says what is wrong
        try:
            found = list(database.rows(groups))
        except OutOfMemory:
            return False
        total_bytes, total_rows = sum(each[1] for each in found), sum(each[2] for each in found)
        if max((each[1] for each in found), default=0) <= _GROUP_BYTES or _is_read_with_little_memory(source, name):
            return False
        group_rows = min(GROUP_ROWS, max(_LEAST_GROUP_ROWS, _GROUP_BYTES * total_rows // total_bytes))
        database.copy(f"SELECT * FROM {rows}", path, group_rows)  # noqa: S608 - quoted
        same = database.columns(f"SELECT * FROM {rows}") == database.columns(  # noqa: S608 - quoted
            f"SELECT * FROM read_parquet({text(str(path))})"  # noqa: S608 - quoted
        )
        if same:
            return True
    path.unlink(missing_ok=True)
    return False


def _is_read_with_little_memory(source: Path, name: str) -> bool:
    """Whether the first page of each column is."""
    try:
        with Database(source, name, [LITTLE_MEMORY]) as database:
            list(database.rows(f"SELECT * FROM read_parquet({text(str(source))}) LIMIT 1"))  # noqa: S608 - quoted
    except OutOfMemory:
        return False
    return True


def write_selected(source: Path, path: Path, columns: Mapping[str, Sequence[str]], unless: tuple[str, str]) -> None:
    """Write the rows of a Parquet file that do not have a certain value in a column to another.

    Each of its columns has the first value that is not null of some columns of the source.

    Raises:
        OSError: a file cannot be read or written.
    """
    column, value = unless
    wanted = [f"coalesce({', '.join(map(name_of, each))}) AS {name_of(name)}" for name, each in columns.items()]
    with Database(source, str(source)) as database:
        database.copy(
            f"SELECT {', '.join(wanted)} FROM read_parquet({text(str(source))}) "  # noqa: S608 - quoted
            f"WHERE {name_of(column)} IS DISTINCT FROM {text(value)}",
            path,
        )


def _fields(path: str, sql: str, kind: Any) -> Iterator[tuple[str, str]]:
    """The fields of structs in a column, however deep."""
    if kind.id != "struct":
        return
    for name, inner in kind.children:
        field = f"{path}.{name}", f"{sql}.{name_of(name)}"
        yield field
        yield from _fields(*field, inner)


def _at(row: Mapping[str, Any], name: str) -> Any:
    """The value of a field, by its name or by its path."""
    if name in row or "." not in name:
        return row.get(name)
    value: Any = row
    for step in name.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value
