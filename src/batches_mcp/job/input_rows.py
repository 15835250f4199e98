"""The rows of an input once more, for what is written at the end; memory grows with the names of columns only."""

from __future__ import annotations

import io
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple

import msgspec

from batches_mcp.job.intake import spooled_input
from batches_mcp.requests.reading import Row
from batches_mcp.requests.source import in_file
from batches_mcp.requests.template import Template


class _WholeRow(Template):
    """In place of params, the row itself."""

    def fill(self, row: Mapping[str, Any]) -> Any:
        return row


class _Read(NamedTuple):
    """What a template that fills in nothing makes of a row."""

    custom_id: Any
    params: Mapping[str, Any]


class InputRows:
    """The rows of an input, each asked for by its number from 0, which never goes down.

    They are read from a copy, since FILE may have changed, or be gone, when the results are there. `columns` are those
    of all rows, in the order in which they come; requests have none. `names_ids` tells that rows have their custom_ids
    in a column of that name.
    """

    def __init__(self, file: io.BufferedReader, name: str, template: Mapping[str, Any] | None, folder: Path) -> None:
        """Copy an open file to `folder`; its `name` and `template` say how it is read.

        Raises:
            StateUnusable: it cannot be copied.
            InvalidArguments: it cannot be read.
        """
        file.seek(0)
        self.file = spooled_input(file, folder / f"input-{token_hex(8)}")
        self.has_columns = template is not None
        self.names_ids = template is not None
        self._source = in_file("FILE", name, self.file, None if template is None else _WholeRow(template))
        columns: dict[str, None] = {}
        if self.has_columns:
            for _, line in self._source.rows():
                if row := _read(line):
                    columns |= dict.fromkeys(row.params)
                    self.names_ids = self.names_ids and row.custom_id == row.params.get("custom_id")
        self.columns = list(columns)
        self._reading = self._source.rows()
        self._rows: Iterator[tuple[int, Row]] = enumerate(self._reading)
        self._latest = -1
        self._line: bytes | str = ""

    def request(self, number: int) -> bytes:
        """A row that is a request, as it stands in the input.

        Raises:
            InvalidArguments: the copy cannot be read.
        """
        while self._latest < number:
            self._latest, (_, self._line) = next(self._rows)
        return self._line if isinstance(self._line, bytes) else b""

    def row(self, number: int) -> Mapping[str, Any]:
        """The values of a row that has columns, by their names.

        Raises:
            InvalidArguments: the copy cannot be read.
        """
        row = _read(self.request(number))
        return {} if row is None else row.params

    def close(self) -> None:
        if isinstance(self._reading, Generator):
            self._reading.close()
        self.file.close()


def _read(line: bytes | str) -> _Read | None:
    if not isinstance(line, bytes) or not line:
        return None
    found = msgspec.json.decode(line)
    return _Read(found["custom_id"], found["params"])
