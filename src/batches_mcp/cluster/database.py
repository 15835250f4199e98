"""The door to DuckDB: a database in memory, of which only the functions are used, on local files.

Nothing is loaded over the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import duckdb

from batches_mcp.core.errors import UnreadableFile
from batches_mcp.core.redact import excerpt

VERSION = duckdb.__version__
"""The version of DuckDB: another one may read the same file otherwise."""

OutOfMemory = duckdb.OutOfMemoryException

# The first is enough for most files. A page of a file that DuckDB wrote may have 100 MB, which takes 128 MiB at once,
# and as much again if it can hardly be compressed.
MEMORY = ("128MB", "256MB", "288MB", "512MB", "2GB")
# Into which what is read has to fit that is read often.
LITTLE_MEMORY = "64MB"
# A group of rows is in memory while it is written; with the default of 122,880 rows it may have hundreds of MB.
GROUP_ROWS = 10_240
_FETCHED_ROWS = 1_024
_LEAST_LINE_BYTES = 1 << 20
_MOST_WORDS = 300


class Database:
    """A database in memory, of which only the functions are used."""

    def __init__(self, path: Path, name: str, memory: Sequence[str] = MEMORY) -> None:
        self._path, self._name = path, name
        self._more = list(memory[1:])
        self._connection = duckdb.connect(
            ":memory:",
            config={
                "threads": 1,
                "memory_limit": memory[0],
                "preserve_insertion_order": True,
                "temp_directory": "",
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "python_enable_replacements": False,
            },
        )
        self._connection.execute("SET TimeZone = 'UTC'")
        # It would have a column of a whole group of rows in memory once more; and the files are local.
        self._connection.execute("SET disable_parquet_prefetching = true")

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
        """What a query selects, row by row. Raises OutOfMemory as well."""
        with self._explained(), self._connection.cursor() as cursor:
            found = cursor.execute(query)
            while some := found.fetchmany(_FETCHED_ROWS):
                yield from some

    def copy(self, query: str, path: Path, group_rows: int = GROUP_ROWS) -> None:
        """Write what a query selects to a Parquet file; what does not fit into memory goes beside it meanwhile.

        Raises:
            UnreadableFile: what it reads is damaged.
            OSError: the file cannot be written, or one that it reads is gone.
        """
        options = f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {group_rows})"
        with self._explained():
            self._connection.execute(f"SET temp_directory = {text(f'{path}.tmp')}")
        while True:
            try:
                with self._explained(but=duckdb.IOException):
                    self._connection.execute(f"COPY ({query}) TO {text(str(path))} {options}")
                return
            except duckdb.IOException as error:
                raise OSError(excerpt(str(error).partition("\n")[0], _MOST_WORDS)) from error
            except OutOfMemory:
                self.take_more_memory()

    def take_more_memory(self) -> None:
        """Raise the limit.

        Raises:
            UnreadableFile: it was raised before as far as it goes.
        """
        if not self._more:
            raise UnreadableFile(f"{self._name}: needs more than {MEMORY[-1]} of memory; write it with smaller pages")
        self._connection.execute(f"SET memory_limit = {text(self._more.pop(0))}")

    @contextmanager
    def _explained(self, but: type[duckdb.Error] = OutOfMemory) -> Iterator[None]:
        try:
            yield
        except (OutOfMemory, but):
            raise
        except duckdb.Error as error:
            said = str(error).partition("\n")[0].replace(str(self._path), self._name)
            raise UnreadableFile(f"{self._name}: cannot be read: {excerpt(said, _MOST_WORDS)}") from error


def json_lines(path: Path, **columns: str) -> str:
    """The objects in the lines of a file as a table in SQL; these are its columns, each with its type."""
    named = ", ".join(f"{name}: {text(kind)}" for name, kind in columns.items())
    longest = max(_LEAST_LINE_BYTES, _longest_line_bytes(path))
    return (
        f"read_json({text(str(path))}, format = 'newline_delimited', columns = {{{named}}}, "
        f"maximum_object_size = {longest})"
    )


def text(value: str) -> str:
    """A text in SQL."""
    return f"'{value.replace(chr(39), chr(39) * 2)}'"


def name_of(value: str) -> str:
    """A name in SQL."""
    return f'"{value.replace(chr(34), chr(34) * 2)}"'


def _longest_line_bytes(path: Path) -> int:
    with path.open("rb") as file:
        return max(map(len, file), default=0)
