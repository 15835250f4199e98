"""Parquet for tests, made and read with DuckDB itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb


def made(path: Path, query: str, group_rows: int = 2_048) -> Path:
    """A file of what a query selects."""
    path.parent.mkdir(parents=True, exist_ok=True)
    duckdb.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet, ROW_GROUP_SIZE {group_rows})")
    return path


def made_of(path: Path, column: str, values: Sequence[str | None]) -> Path:
    """A file with one column of text."""
    with duckdb.connect() as database:
        database.execute(f'CREATE TABLE t ("{column}" VARCHAR)')
        if values:
            database.executemany("INSERT INTO t VALUES (?)", [[each] for each in values])
        database.execute(f"COPY t TO '{path}' (FORMAT parquet)")
    return path


def read(path: Path, columns: str = "*") -> list[dict[str, Any]]:
    """The rows of a file, in its order."""
    found = duckdb.connect().sql(f"SELECT {columns} FROM read_parquet('{path}')")  # noqa: S608 - a test's own text
    return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


def largest_group_bytes(path: Path) -> int:
    """The size of the largest group of rows, not compressed."""
    [(found,)] = duckdb.connect().execute(f"SELECT max(row_group_bytes) FROM parquet_metadata('{path}')").fetchall()  # noqa: S608 - a test's own text
    return int(found)


def types(path: Path) -> dict[str, str]:
    """The columns of a file, each with its type."""
    found = duckdb.connect().sql(f"SELECT * FROM read_parquet('{path}')")  # noqa: S608 - a test's own text
    return {name: str(kind) for name, kind in zip(found.columns, found.types, strict=True)}
