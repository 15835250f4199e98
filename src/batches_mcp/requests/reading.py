"""Requests from a file, one after the other, in constant memory.

What comes out is `(line, row)`: where in the file it stands, and the request as JSON; or, in place of the JSON, a text
that says why there is none.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath
from typing import Any, cast

import msgspec

from batches_mcp.core.diagnostics import did_you_mean
from batches_mcp.core.redact import excerpt
from batches_mcp.exchange.request import invalid, text

Row = tuple[int, bytes | str]

# One request may be as large as the Messages API takes: 32 MB.
MAX_ROW_BYTES = 32_000_000
_READ_BYTES = 1 << 18

_BOM = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"
_ARRAY = re.compile(rb"\s*\[")
_WRAPPED = re.compile(rb'\s*\{\s*"requests"\s*:\s*\[')
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|"|[\[\]{},]', re.DOTALL)
_OPENING = re.compile(rb'\s*(\{\s*"(?:[^"\\]++|\\.)*+")', re.DOTALL)
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode
_GAP = re.compile(rb"[\s,]*+")
_COLUMN = re.compile(r"\{\{\s*([^{}]+?)\s*\}\}")

csv.field_size_limit(MAX_ROW_BYTES)


# Both are closed by whoever opened the file.
Bytes = io.BufferedReader | io.BufferedRandom | gzip.GzipFile


def unpacked(file: io.BufferedReader) -> Bytes:
    """The file's content, decompressed when it is gzip."""
    return gzip.GzipFile(fileobj=file) if file.peek(2).startswith(_GZIP) else file


def request_rows(file: io.BufferedReader) -> Iterator[Row]:
    """The requests of a JSONL file, of a JSON array, or of `{"requests": [...]}`."""
    source = unpacked(file)
    head = source.peek(_READ_BYTES)
    if head.startswith(_BOM):
        source.read(len(_BOM))
        head = head[len(_BOM) :]
    for form in (_ARRAY, _WRAPPED):
        if opening := form.match(head):
            return _elements(source, opening.end(), head.count(b"\n", 0, opening.end()) + 1, closing=form is _WRAPPED)
    return _lines(source)


def wrapped_rows(source: io.BufferedReader | io.BufferedRandom) -> Iterator[Row] | None:
    """The requests of `{"requests": [...]}`; None for anything else."""
    opening = _WRAPPED.match(source.peek(_READ_BYTES))
    return _elements(source, opening.end(), 1, closing=True) if opening else None


def _lines(source: Bytes) -> Iterator[Row]:
    for number, line in enumerate(iter(partial(source.readline, MAX_ROW_BYTES + 1), b""), 1):
        if len(line) > MAX_ROW_BYTES:
            yield number, f"is longer than {MAX_ROW_BYTES:,} bytes"
            return
        if row := line.strip():
            yield number, row


def _elements(source: Bytes, skip: int, line: int, *, closing: bool) -> Iterator[Row]:
    """The elements of an array that has been opened; their own JSON is checked later.

    Most are split off many at a time. The others, at least the last one and whatever is not JSON, are found by their
    brackets.
    """
    source.read(skip)
    # The window begins with an element, of which the brackets before `position` are known.
    window, position, depth = b"", 0, 0
    while True:
        more = source.read(max(_READ_BYTES, len(window)))
        window += more
        start = 0
        for row in map(bytes, _many(window) if more else ()):
            # Looked for by what is before it: to search for a long text takes long, wherever it is.
            begin = _GAP.match(window, start).end()  # type: ignore[union-attr]  # matches nothing as well
            line += window.count(b"\n", start, begin)
            yield line, row
            line += row.count(b"\n")
            start = begin + len(row)
        if start:
            comma = window.index(b",", start)
            line += window.count(b"\n", start, comma)
            start = position = comma + 1
            depth = 0
        while (token := _TOKEN.search(window, position)) and token[0] != b'"':
            position, mark = token.end(), token[0]
            if mark in b"{[":
                depth += 1
            elif mark in b"}]" and depth:
                depth -= 1
            elif mark in b",]}" and not depth:
                element = window[start : token.start()]
                line += element[: len(element) - len(element.lstrip())].count(b"\n")
                if element.strip() or mark == b",":
                    yield line, element.strip()
                line += element.lstrip().count(b"\n")
                start = position
                if mark != b",":
                    yield from _end(source, window[position:], line, b"}" if closing else b"")
                    return
        # What is known ends within an element: forget what is done, read on, and look at a cut text again.
        position = (token.start() if token else len(window)) - start
        window = window[start:]
        if not more:
            yield line, "the array that holds the requests is not closed"
            return
        if len(window) > MAX_ROW_BYTES:
            yield line, f"is longer than {MAX_ROW_BYTES:,} bytes"
            return


def _many(window: bytes) -> list[msgspec.Raw]:
    """Elements with which the window begins, without those at its end; none when it takes a closer look to tell.

    Elements mostly begin alike, so the last such beginning is taken for one. It is, if all before it is JSON: a cut
    inside of an element or of a text leaves something open.
    """
    opening = _OPENING.match(window)
    comma = window.rfind(b",", 0, window.rfind(opening[1])) if opening else -1
    if comma < 0:
        return []
    try:
        return _split(b"[%b]" % window[:comma])
    except (msgspec.DecodeError, RecursionError):
        return []


def _end(source: Bytes, rest: bytes, line: int, expected: bytes) -> Iterator[Row]:
    found = rest.strip()
    while len(found) <= len(expected) and (more := source.read(_READ_BYTES)):
        found = (found + more).strip()
    if found != expected:
        wanted = "its closing brace" if expected else "nothing"
        yield (
            line,
            f"after the array {wanted} is expected, found {excerpt(found[:80].decode(errors='replace'))!r}",
        )


@dataclass(frozen=True, slots=True)
class Template:
    """A params object whose texts hold `{{column}}`; a text that is one column keeps the type of the value."""

    params: Mapping[str, Any]

    @property
    def columns(self) -> list[str]:
        return sorted(set(_columns(self.params)))

    def fill(self, row: Mapping[str, Any]) -> Any:
        """The params for one row. Values are put in once: what they contain is never looked at again.

        Raises:
            KeyError: the row has no value for a column.
        """
        return _filled(self.params, row)


def template_rows(argument: str, file: io.BufferedReader, name: str, template: Template, mark: str) -> Iterator[Row]:
    """The requests that a template makes of the rows of a CSV, TSV or JSONL file; `mark` ends the ids it makes.

    Raises:
        InvalidArguments: the file has no header, or none of a column that the template names.
    """
    kind = PurePath(name.removesuffix(".gz")).suffix.lower()
    if kind in {".csv", ".tsv"}:
        rows = _csv_rows(argument, file, "\t" if kind == ".tsv" else ",", template)
    else:
        rows = _json_rows(file)
    for number, (where, row) in enumerate(rows, 1):
        if isinstance(row, str):
            yield where, row
            continue
        try:
            params = template.fill(row)
        except KeyError as missing:
            yield where, f"has no column {missing.args[0]!r}, which the template names"
            continue
        custom_id = row.get("custom_id", f"row-{number:06}-{mark}")
        try:
            yield where, msgspec.json.encode({"custom_id": custom_id, "params": params})
        except UnicodeEncodeError:
            yield where, "has half of a surrogate pair, which is no character"


def _csv_rows(
    argument: str, file: io.BufferedReader, delimiter: str, template: Template
) -> Iterator[tuple[int, dict[str, Any] | str]]:
    source = io.TextIOWrapper(
        cast("io.BufferedReader", unpacked(file)), "utf-8-sig", errors="surrogateescape", newline=""
    )
    try:
        reader = csv.reader(source, delimiter=delimiter, strict=True)
        header = next(reader, [])
        _check_header(argument, header, template)
        before = reader.line_num
        for fields in reader:
            where, before = before + 1, reader.line_num
            if not fields:
                continue
            if any("\udc80" <= char <= "\udcff" for field in fields for char in field):
                yield where, "is not UTF-8"
            elif len(fields) > len(header):
                yield where, f"has {len(fields)} fields, and the header {len(header)}"
            else:
                yield where, dict(zip(header, fields, strict=False))
    except csv.Error as error:
        yield reader.line_num, f"is not CSV: {excerpt(str(error), 100)}"
    finally:
        source.detach()


def _check_header(argument: str, header: Sequence[str], template: Template) -> None:
    if not header:
        raise invalid(f"{argument}: the file is empty; its first line must name the columns.")
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise invalid(f"{argument}: the header names {', '.join(map(repr, repeated[:5]))} more than once.")
    for name in template.columns:
        if name not in header:
            raise invalid(
                f"template: {{{{{excerpt(name, 60)}}}}} is no column of the file; {did_you_mean(name, list(header))}"
            )


def _json_rows(file: io.BufferedReader) -> Iterator[tuple[int, dict[str, Any] | str]]:
    for where, line in request_rows(file):
        if isinstance(line, str):
            yield where, line
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            yield where, "is not JSON"
            continue
        yield where, row if isinstance(row, dict) else "is not an object with a value for each column"


def _columns(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield from _COLUMN.findall(value)
        case dict():
            for each in value.values():
                yield from _columns(each)
        case list():
            for each in value:
                yield from _columns(each)
        case _:
            pass


def _filled(value: Any, row: Mapping[str, Any]) -> Any:
    match value:
        case str():
            alone = _COLUMN.fullmatch(value)
            if alone:
                return _value(row, alone[1])
            return _COLUMN.sub(lambda match: text(_value(row, match[1])), value)
        case dict():
            return {name: _filled(each, row) for name, each in value.items()}
        case list():
            return [_filled(each, row) for each in value]
        case _:
            return value


def _value(row: Mapping[str, Any], column: str) -> Any:
    if row.get(column) is None:
        raise KeyError(column)
    return row[column]
