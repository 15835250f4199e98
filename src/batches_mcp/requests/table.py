"""Rows of separated values: CSV, TSV, and what spreadsheets write under these names."""

from __future__ import annotations

import csv
import io
from collections.abc import Generator, Sequence
from itertools import chain
from typing import Any, cast

from batches_mcp.core.redact import excerpt
from batches_mcp.exchange.request import invalid
from batches_mcp.requests.checks import NOT_UTF_8
from batches_mcp.requests.kinds import separator_of
from batches_mcp.requests.template import Template

csv.field_size_limit(32_000_000)


def table_rows(
    argument: str, source: io.BufferedIOBase, name: str, ending: str, template: Template
) -> Generator[tuple[int, dict[str, Any] | str], None, None]:
    """The rows of a table by their columns, each with its line; or a text that says what is wrong with one.

    `ending` is that of the file's name, and tells how the columns are separated when the header does not.

    Raises:
        InvalidArguments: the header cannot be used, or lacks a column that the template names.
    """
    text = io.TextIOWrapper(cast("io.BufferedReader", source), "utf-8-sig", errors="surrogateescape", newline="")
    try:
        first = text.readline()
        separator = separator_of(first.rstrip("\r\n"), ending, template.columns)
        reader = csv.reader(chain([first], text), delimiter=separator, strict=True)
        header = next(reader, [])
        _check_header(argument, name, header)
        template.check(header)
        before = reader.line_num
        for fields in reader:
            where, before = before + 1, reader.line_num
            if not fields:
                continue
            if any(map(_undecoded, fields)):
                yield where, NOT_UTF_8
            elif len(fields) > len(header):
                yield where, f"has {len(fields)} fields, and the header {len(header)}"
            else:
                yield where, dict(zip(header, fields, strict=False))
    except csv.Error as error:
        yield reader.line_num, f"is not CSV: {excerpt(str(error), 100)}"
    finally:
        text.detach()


def _undecoded(field: str) -> bool:
    return any("\udc80" <= char <= "\udcff" for char in field)


def _check_header(argument: str, name: str, header: Sequence[str]) -> None:
    if not header:
        raise invalid(f"{argument}: the file is empty; its first line must name the columns.")
    if any(map(_undecoded, header)):
        raise invalid(f"{argument}: {excerpt(name, 200)!r} {NOT_UTF_8}.")
    repeated = sorted({column for column in header if header.count(column) > 1})
    if repeated:
        raise invalid(f"{argument}: the header names {', '.join(map(repr, repeated[:5]))} more than once.")
