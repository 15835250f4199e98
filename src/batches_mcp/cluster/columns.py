"""Rows of lines -> Parquet: which columns there are, and of which types."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from batches_mcp.cluster.database import Database, json_lines, name_of, text
from batches_mcp.core.errors import UnreadableFile
from batches_mcp.store.rows import loads

# Columns of the copy beside those of the input: a row as it was, or what is wrong with it.
ROW, PROBLEM = "__batches_row", "__batches_problem"
_MOST_COLUMNS = 2_000
# May be more than a signed number of 64 bits has.
_LONG_NUMBER = re.compile(rb"[:,\[]-?[0-9]{19}")


def write_lines(lines: Path, path: Path, name: str) -> None:
    """Make a Parquet file of rows that are objects, whose keys become columns; what they were is kept for `Table.read`.

    Of keys that differ in case only, the first becomes one. `lines` has `{"row": object, "problem": null}` for each
    row, or `{"row": null, "problem": text}`.

    Raises:
        UnreadableFile: no columns can be made of them; the message calls the file `name`.
        OSError: a file cannot be read or written.
    """
    source = json_lines(lines, row="JSON", problem="VARCHAR")
    with Database(lines, name) as database:
        [(found,)] = database.rows(f"SELECT json_group_structure(row) FROM {source}")  # noqa: S608 - quoted
        structure = loads(found.encode()) if found else None
        keys = structure if isinstance(structure, dict) else {}  # no row could be read
        if len(keys) > _MOST_COLUMNS:
            raise UnreadableFile(f"{name}: its rows have {len(keys):,} keys; at most {_MOST_COLUMNS:,} make columns")
        large = _has_long_numbers(lines)
        first = {each.lower(): each for each in reversed(keys) if each}
        columns = {each: _structure(keys[each], large=large) for each in keys if first.get(each.lower()) == each}
        values = f", from_json(row, {text(_encoded(columns))}) AS of_row" if columns else ""
        own = [f"of_row.{name_of(each)} AS {name_of(each)}" for each in columns]
        database.copy(
            f"SELECT {', '.join([f'row AS {ROW}', f'problem AS {PROBLEM}', *own])} "  # noqa: S608 - quoted
            f"FROM (SELECT row, problem{values} FROM {source})",
            path,
        )


def _structure(found: Any, *, large: bool) -> Any:
    """The types of JSON as columns can have them: no type of null, and no two names that differ in case only.

    Numbers have signs, as most readers expect, unless some may be too `large` for that.
    """
    match found:
        case "NULL":
            return "VARCHAR"
        case "UBIGINT":
            return found if large else "BIGINT"
        case "HUGEINT":  # of both signs; Parquet has no such type
            return "DECIMAL(38,0)" if large else "BIGINT"
        case list():
            return [_structure(each, large=large) for each in found]
        case dict():
            names = {name.lower() for name in found}
            if len(names) < len(found) or "" in names:
                return "JSON"
            return {name: _structure(each, large=large) for name, each in found.items()} or "JSON"
        case _:
            return found


def _has_long_numbers(path: Path) -> bool:
    with path.open("rb") as file:
        return any(map(_LONG_NUMBER.search, file))


def _encoded(value: Any) -> str:
    return msgspec.json.encode(value).decode()
