"""Requests from a file, one after the other, in constant memory.

What comes out is `(line, row)`: where in the file it stands, and the request as JSON; or, in place of the JSON, a text
that says why there is none.
"""

from __future__ import annotations

import codecs
import gzip
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from batches_mcp.core.limits import LIMITS, Limits
from batches_mcp.core.redact import excerpt
from batches_mcp.requests.kinds import UTF_8_BOM, UTF_16_BOMS, UTF_32_BOMS

Row = tuple[int, bytes | str]


class Rows(NamedTuple):
    """Requests that follow each other, each as JSON that begins and ends with a brace, in a line of `text`."""

    numbers: Sequence[int]
    rows: Sequence[bytes]
    text: bytes


Piece = Row | Rows

_GZIP = b"\x1f\x8b"
_ARRAY = re.compile(rb"\s*\[")
_WRAPPED = re.compile(rb'\s*\{\s*"requests"\s*:\s*\[')
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|"|[\[\]{},]', re.DOTALL)
_OPENING = re.compile(rb'\s*(\{\s*"(?:[^"\\]++|\\.)*+")', re.DOTALL)
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode
_GAP = re.compile(rb"[\s,]*+")

# Both are closed by whoever opened the file.
Bytes = io.BufferedReader | io.BufferedRandom | gzip.GzipFile


def unpacked(file: io.BufferedReader, limits: Limits = LIMITS) -> Bytes:
    """The file's content, decompressed when it is gzip, and as UTF-8 when it begins as UTF-16."""
    source = gzip.GzipFile(fileobj=file) if file.peek(2).startswith(_GZIP) else file
    head = source.peek(4)
    if head.startswith(UTF_16_BOMS) and not head.startswith(UTF_32_BOMS):
        return io.BufferedReader(_FromUtf16(source, limits.read_bytes), limits.read_bytes)
    return source


def beginning(file: io.BufferedReader) -> bytes:
    """The first bytes of a file's content, if they are text as UTF-8."""
    return unpacked(file).peek(LIMITS.read_bytes)


class _FromUtf16(io.RawIOBase):
    """UTF-16 with a byte order mark, read as UTF-8."""

    def __init__(self, source: Bytes, read_bytes: int) -> None:
        self._source, self._read_bytes = source, read_bytes
        self._decoder = codecs.getincrementaldecoder("utf-16")()
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        ended = False
        while not self._ready and not ended:
            piece = self._source.read(self._read_bytes)
            ended = not piece
            self._ready = self._decoder.decode(piece, ended).encode()
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size


def each_row(pieces: Iterable[Piece]) -> Iterator[Row]:
    """The requests of pieces, one by one."""
    for piece in pieces:
        if isinstance(piece, Rows):
            yield from zip(piece.numbers, piece.rows, strict=True)
        else:
            yield piece


def request_rows(file: io.BufferedReader, limits: Limits = LIMITS) -> Iterator[Row]:
    """The requests of a JSONL file, of a JSON array, or of `{"requests": [...]}`."""
    return each_row(request_pieces(file, limits))


def request_pieces(file: io.BufferedReader, limits: Limits = LIMITS) -> Iterator[Piece]:
    """The same, many at a time where they are written close together."""
    return requests_in(unpacked(file, limits), limits)


def requests_in(source: Bytes, limits: Limits) -> Iterator[Piece]:
    """The same, of content that is unpacked."""
    head = source.peek(limits.read_bytes)
    if head.startswith(UTF_8_BOM):
        source.read(len(UTF_8_BOM))
        head = head[len(UTF_8_BOM) :]
    for form in (_ARRAY, _WRAPPED):
        if opening := form.match(head):
            line = head.count(b"\n", 0, opening.end()) + 1
            return _elements(source, opening.end(), line, limits, closing=form is _WRAPPED)
    return _lines(source, limits)


def wrapped_rows(source: io.BufferedReader | io.BufferedRandom) -> Iterator[Piece] | None:
    """The requests of `{"requests": [...]}`; None for anything else."""
    opening = _WRAPPED.match(source.peek(LIMITS.read_bytes))
    return _elements(source, opening.end(), 1, LIMITS, closing=True) if opening else None


def _lines(source: Bytes, limits: Limits) -> Iterator[Piece]:
    number, rest = 1, b""
    while more := source.read(limits.read_bytes):
        text, found, rest = (rest + more).rpartition(b"\n")
        if found:
            lines = text.split(b"\n")
            yield from _in_lines(number, lines, text, limits)
            number += len(lines)
        if len(rest) > limits.row_bytes:
            break
    yield from _in_lines(number, [rest], rest, limits)


def _in_lines(first: int, lines: Sequence[bytes], text: bytes, limits: Limits) -> Iterator[Piece]:
    if all(line[:1] == b"{" and line[-1:] == b"}" for line in lines) and max(map(len, lines)) <= limits.row_bytes:
        yield Rows(range(first, first + len(lines)), lines, text)
        return
    for number, line in enumerate(lines, first):
        if len(line) > limits.row_bytes:
            yield number, f"is longer than {limits.row_bytes:,} bytes"
            return
        if row := line.strip():
            yield number, row


def _elements(source: Bytes, skip: int, line: int, limits: Limits, *, closing: bool) -> Iterator[Piece]:
    """The elements of an array that has been opened; their own JSON is checked later.

    Most are split off many at a time. The others, at least the last one and whatever is not JSON, are found by their
    brackets.
    """
    source.read(skip)
    # The window begins with an element, of which the brackets before `position` are known.
    window, position, depth = b"", 0, 0
    while True:
        more = source.read(max(limits.read_bytes, len(window)))
        window += more
        start = 0
        rows = list(map(bytes, _many(window))) if more else []
        text = b"\n".join(rows)
        if rows and text.count(b"\n") == len(rows) - 1 and window.startswith(text.replace(b"\n", b",")):
            # With nothing but a comma between them.
            yield Rows([line] * len(rows), rows, text)
            start, rows = len(text), []
        for row in rows:
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
                    yield from _end(source, window[position:], line, b"}" if closing else b"", limits)
                    return
        # What is known ends within an element: forget what is done, read on, and look at a cut text again.
        position = (token.start() if token else len(window)) - start
        window = window[start:]
        if not more:
            yield line, "the array that holds the requests is not closed"
            return
        if len(window) > limits.row_bytes:
            yield line, f"is longer than {limits.row_bytes:,} bytes"
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


def _end(source: Bytes, rest: bytes, line: int, expected: bytes, limits: Limits) -> Iterator[Row]:
    found = rest.strip()
    while len(found) <= len(expected) and (more := source.read(limits.read_bytes)):
        found = (found + more).strip()
    if found != expected:
        wanted = "its closing brace" if expected else "nothing"
        yield (
            line,
            f"after the array {wanted} is expected, found {excerpt(found[:80].decode(errors='replace'))!r}",
        )
