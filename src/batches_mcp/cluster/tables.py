"""The door to DuckDB: the rows of a Parquet file in its order, and Parquet that is written.

Only local files are read and written, and DuckDB loads nothing over the network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import duckdb
import msgspec

from batches_mcp.core.errors import UnreadableFile
from batches_mcp.core.redact import excerpt
from batches_mcp.store.rows import loads

VERSION = duckdb.__version__
"""The version of DuckDB: another one may read the same file otherwise."""

# The first is enough for most files. A page of a file that DuckDB wrote may have 100 MB, for which more is taken.
_MEMORY = ("128MB", "256MB", "512MB", "2GB")
# A group of rows is in memory while it is written; with the default of 122,880 rows it may have hundreds of MB.
_GROUP_ROWS = 10_240
_FETCHED_ROWS = 1_024
_LEAST_LINE_BYTES = 1 << 20
# Columns of a copy that `write_lines` makes, beside those of the input: a row as it was, or what is wrong with it.
_ROW, _PROBLEM = "__batches_row", "__batches_problem"
_ROW_NUMBER = "file_row_number"
_PARQUET = f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {_GROUP_ROWS})"
_MOST_COLUMNS = 2_000
# More than a signed number of 64 bits may have.
_LONG_NUMBER = re.compile(rb"[0-9]{19}")
_MOST_WORDS = 300


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
    _database: _Database

    def read(self, first: int, count: int, names: Sequence[str]) -> Iterator[dict[str, Any] | str]:
        """The rows from `first` on, in the order of the file: the values of these fields, as far as there are such.

        Nested values are as in JSON, nulls and numbers that are not finite None; dates, times and bytes are text as
        DuckDB writes it. In place of a row that could not be read there is a text that says why.

        Raises:
            UnreadableFile: the file cannot be read to its end.
        """
        known = [name for name in names if name in self.fields]
        if self._of_lines:
            selected = f"{_ROW}, {_PROBLEM}"
        else:
            packed = ", ".join(f"{_text(name)}: {self.fields[name]}" for name in known)
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
            except _OutOfMemory:
                self._database.take_more_memory()

    def check(self, count: int) -> None:
        """Read every value of the first rows, so that what is damaged shows now.

        Raises:
            UnreadableFile: something is.
        """
        if not self.columns:
            return
        values = ", ".join(_name(column.name) for column in self.columns)
        query = f"SELECT bit_xor(hash({values})) FROM {self._range(0, count)}"  # noqa: S608 - quoted
        while True:
            try:
                list(self._database.rows(query))
                return
            except _OutOfMemory:
                self._database.take_more_memory()

    def write(self, path: Path, first: int, count: int, lines: Path, added: Sequence[Column]) -> None:
        """Write a Parquet file of rows from `first` on: the columns of the table, then those that are added.

        These come from the file `lines`, which has `{"row": number, "cells": [text, ...]}` for each row, in order.

        Raises:
            UnreadableFile: a file cannot be read or written.
        """
        own = [f"i.{_name(column.name)}" for column in self.columns]
        cells = [f"CAST(r.cells[{at}] AS {column.type}) AS {_name(column.name)}" for at, column in enumerate(added, 1)]
        # Joined by their order, which is that of both files; it is checked all the same.
        self._database.copy(
            f"SELECT {', '.join([*own, *cells])} FROM (SELECT *, {_ROW_NUMBER} FROM {self._range(first, count)}) i "  # noqa: S608 - quoted
            f"POSITIONAL JOIN {_json(lines, row='BIGINT', cells='VARCHAR[]')} r "
            f"WHERE CASE WHEN i.{_ROW_NUMBER} IS DISTINCT FROM r.row THEN error('rows out of order') ELSE true END",
            path,
        )

    def _range(self, first: int, count: int) -> str:
        rows = f"{_ROW_NUMBER} >= {first} AND {_ROW_NUMBER} < {first + count}"
        return f"read_parquet({_text(str(self.path))}) WHERE {rows}"


@contextmanager
def opened(path: Path, name: str) -> Iterator[Table]:
    """Open a Parquet file, which messages call `name`.

    Raises:
        UnreadableFile: it is not Parquet, or damaged, or has a column that cannot be told from another.
    """
    with _Database(path, name) as database:
        source = f"read_parquet({_text(str(path))})"
        try:
            names, types = database.columns(f"SELECT * FROM {source}")  # noqa: S608 - quoted
            [(rows,)] = database.rows(f"SELECT count(*) FROM {source}")  # noqa: S608 - quoted
        except _OutOfMemory as error:
            raise UnreadableFile(f"{name}: its description does not fit into {_MEMORY[0]}; it is damaged") from error
        if any(each.lower() == _ROW_NUMBER for each in names):
            raise UnreadableFile(f"{name}: has a column {_ROW_NUMBER}, which DuckDB has as well; rename it")
        of_lines = names[:2] == [_ROW, _PROBLEM]
        own = list(zip(names, types, strict=True))[2 if of_lines else 0 :]
        fields = {field: sql for each, kind in own for field, sql in _fields(each, _name(each), kind)}
        fields |= {each: _name(each) for each, _ in own}
        columns = tuple(Column(each, str(kind)) for each, kind in own)
        yield Table(path, name, columns, rows, fields, of_lines, database)


def write_lines(lines: Path, path: Path, name: str) -> None:
    """Make a Parquet file of rows that are objects, whose keys become columns; what they were is kept for `Table.read`.

    `lines` has `{"row": object, "problem": null}` for each row, or `{"row": null, "problem": text}`.

    Raises:
        UnreadableFile: a file cannot be read or written; messages call it `name`.
    """
    source = _json(lines, row="JSON", problem="VARCHAR")
    with _Database(lines, name) as database:
        [(found,)] = database.rows(f"SELECT json_group_structure(row) FROM {source}")  # noqa: S608 - quoted
        structure = _structure(loads(found.encode()) if found else {}, large=_has_long_numbers(lines))
        columns = structure if isinstance(structure, dict) and len(structure) <= _MOST_COLUMNS else {}
        values = f", from_json(row, {_text(_encoded(columns))}) AS of_row" if columns else ""
        own = [f"of_row.{_name(each)} AS {_name(each)}" for each in columns]
        database.copy(
            f"SELECT {', '.join([f'row AS {_ROW}', f'problem AS {_PROBLEM}', *own])} "  # noqa: S608 - quoted
            f"FROM (SELECT row, problem{values} FROM {source})",
            path,
        )


def write_selected(source: Path, path: Path, columns: Mapping[str, Sequence[str]], unless: tuple[str, str]) -> None:
    """Write the rows of a Parquet file that do not have a certain value in a column to another.

    Each of its columns has the first value that is not null of some columns of the source.

    Raises:
        UnreadableFile: a file cannot be read or written.
    """
    column, value = unless
    wanted = [f"coalesce({', '.join(map(_name, each))}) AS {_name(name)}" for name, each in columns.items()]
    with _Database(source, str(source)) as database:
        database.copy(
            f"SELECT {', '.join(wanted)} FROM read_parquet({_text(str(source))}) "  # noqa: S608 - quoted
            f"WHERE {_name(column)} IS DISTINCT FROM {_text(value)}",
            path,
        )


_OutOfMemory = duckdb.OutOfMemoryException


class _Database:
    """A database in memory, of which only the functions are used."""

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        self._more = list(_MEMORY[1:])
        self._connection = duckdb.connect(
            ":memory:",
            config={
                "threads": 1,
                "memory_limit": _MEMORY[0],
                "preserve_insertion_order": True,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "python_enable_replacements": False,
            },
        )
        self._connection.execute("SET TimeZone = 'UTC'")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def columns(self, query: str) -> tuple[list[str], list[Any]]:
        """The names and the types of what a query selects."""
        with self._explained():
            found = self._connection.sql(query)
            return list(found.columns), list(found.types)

    def rows(self, query: str) -> Iterator[tuple[Any, ...]]:
        """What a query selects, row by row. Raises _OutOfMemory as well."""
        with self._explained(), self._connection.cursor() as cursor:
            found = cursor.execute(query)
            while some := found.fetchmany(_FETCHED_ROWS):
                yield from some

    def copy(self, query: str, path: Path) -> None:
        """Write what a query selects to a Parquet file; what does not fit into memory goes beside it meanwhile."""
        with self._explained():
            self._connection.execute(f"SET temp_directory = {_text(f'{path}.tmp')}")
        while True:
            try:
                with self._explained():
                    self._connection.execute(f"COPY ({query}) TO {_text(str(path))} {_PARQUET}")
                return
            except _OutOfMemory:
                self.take_more_memory()

    def take_more_memory(self) -> None:
        """Raise the limit.

        Raises:
            UnreadableFile: it was raised before as far as it goes.
        """
        if not self._more:
            raise UnreadableFile(f"{self._name}: needs more than {_MEMORY[-1]} of memory; write it with smaller pages")
        self._connection.execute(f"SET memory_limit = {_text(self._more.pop(0))}")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except _OutOfMemory:
            raise
        except duckdb.Error as error:
            said = str(error).partition("\n")[0].replace(str(self._path), self._name)
            raise UnreadableFile(f"{self._name}: cannot be read: {excerpt(said, _MOST_WORDS)}") from error


def _fields(path: str, sql: str, kind: Any) -> Iterator[tuple[str, str]]:
    """The fields of structs in a column, however deep."""
    if kind.id != "struct":
        return
    for name, inner in kind.children:
        field = f"{path}.{name}", f"{sql}.{_name(name)}"
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


def _structure(found: Any, *, large: bool) -> Any:
    """The types of JSON as columns can have them: no type of null, and no two names that differ in case only.

    Numbers have signs, as most readers expect, unless some may be too `large` for that.
    """
    match found:
        case "NULL":
            return "VARCHAR"
        case "UBIGINT":
            return found if large else "BIGINT"
        case list():
            return [_structure(each, large=large) for each in found]
        case dict():
            names = {name.lower() for name in found}
            if len(names) < len(found) or "" in names:
                return "JSON"
            return {name: _structure(each, large=large) for name, each in found.items()} or "JSON"
        case _:
            return found


def _json(path: Path, **columns: str) -> str:
    named = ", ".join(f"{name}: {_text(kind)}" for name, kind in columns.items())
    longest = max(_LEAST_LINE_BYTES, _longest_line_bytes(path))
    return (
        f"read_json({_text(str(path))}, format = 'newline_delimited', columns = {{{named}}}, "
        f"maximum_object_size = {longest})"
    )


def _longest_line_bytes(path: Path) -> int:
    with path.open("rb") as file:
        return max(map(len, file), default=0)


def _has_long_numbers(path: Path) -> bool:
    with path.open("rb") as file:
        return any(map(_LONG_NUMBER.search, file))


def _encoded(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _text(value: str) -> str:
    """A text in SQL."""
    return f"'{value.replace(chr(39), chr(39) * 2)}'"


def _name(value: str) -> str:
    """A name in SQL."""
    return f'"{value.replace(chr(34), chr(34) * 2)}"'
