"""Where the requests of a create come from: the one source that its arguments name."""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from batches_mcp.core.limits import LIMITS, Limits
from batches_mcp.core.redact import excerpt
from batches_mcp.exchange import result
from batches_mcp.exchange.request import invalid
from batches_mcp.requests.checks import OPENAI, is_openai
from batches_mcp.requests.files import identity, opened
from batches_mcp.requests.kinds import ROWS, no_requests, unreadable
from batches_mcp.requests.parts import canonical
from batches_mcp.requests.reading import Piece, Row, beginning, each_row, request_pieces, request_rows
from batches_mcp.requests.shape import UNREADABLE, value_of
from batches_mcp.requests.template import Template
from batches_mcp.requests.templated import template_rows

_MARK_CHARS = 4

# The argument that names the input of `run`, at whose shell other words help.
_RUN = "FILE"
_ROWS_IN_RUN = "--template T.json says"
_ROWS_IN_TOOL = "name the file as rows_file, and let template say"

SOURCES = ("requests", "requests_file", "rows_file")


@dataclass(frozen=True, slots=True)
class Source:
    """Where requests come from.

    `pieces` reads them, `place` says where the one with a number stands, and `unchanged` tells whether they are still
    the same. `file` is the name the caller gave, if they are in a file; `template` is what makes them of its rows. Of a
    source that has only the first rows of another, `total` tells how many that has, once they were read.
    """

    file: str | None
    place: Callable[[int], str]
    pieces: Callable[[], Iterator[Piece]]
    unchanged: Callable[[], bool]
    template: Template | None = None
    total: Callable[[], int | None] = lambda: None

    def rows(self) -> Iterator[Row]:
        """Read them one by one."""
        return each_row(self.pieces())


def first_rows(source: Source, limit: int) -> Source:
    """The first `limit` rows of a source, as one of its own; it counts the others."""
    total = 0

    def rows() -> Iterator[Row]:
        nonlocal total
        total = 0
        for total, row in enumerate(source.rows(), 1):
            if total <= limit:
                yield row

    return replace(source, pieces=rows, total=lambda: total)


@contextmanager
def source_of(arguments: Mapping[str, Any], roots: Sequence[Path], limits: Limits = LIMITS) -> Iterator[Source]:
    """The one source that the arguments name.

    Raises:
        InvalidArguments: they name none or several, or a file that cannot be read.
    """
    names = [name for name in SOURCES if name in arguments]
    if len(names) != 1:
        given = f"{', '.join(names)} are given" if names else "none is given"
        raise invalid(f"exactly one of requests, requests_file and rows_file is needed; {given}.")
    if ("template" in arguments) != (names == ["rows_file"]):
        raise invalid(
            "template: goes with rows_file, and rows_file needs it. It is the params of each request, with {{column}} "
            'for the value of a row: {"model": "claude-haiku-5-5", "max_tokens": 300, "messages": [{"role": "user", '
            '"content": "Summarise: {{column}}"}]}.'
        )
    if names == ["requests"]:
        yield Source(None, "requests[{}]".format, partial(_inline, arguments["requests"]), lambda: True)
        return
    name = arguments[names[0]]
    with opened(names[0], name, roots) as file:
        template = Template(arguments["template"]) if "template" in arguments else None
        yield in_file(names[0], name, file, template, limits)


def in_file(
    argument: str, name: str, file: io.BufferedReader, template: Template | None, limits: Limits = LIMITS
) -> Source:
    """The requests in an open file, or those that a template makes of its rows; `argument` names it in errors."""
    before = identity(file)
    mark = "" if template is None else _mark(file, template)

    def pieces() -> Iterator[Piece]:
        try:
            _check_kind(argument, name, file, template)
            if template is None:
                yield from request_pieces(file, limits)
            else:
                yield from template_rows(argument, file, name, template, mark, limits)
        except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
            raise invalid(f"{argument}: the file cannot be read to its end: {error}.") from error

    return Source(name, "line {}".format, pieces, lambda: identity(file) == before, template)


def _check_kind(argument: str, name: str, file: io.BufferedReader, template: Template | None) -> None:
    """That a file may hold what it is named for; it is at its beginning then.

    Raises:
        InvalidArguments: it cannot; the message says what it is, and what to do with it.
    """
    file.seek(0)
    head = beginning(file)
    problem = unreadable(head, name)
    if not problem and template is None:
        problem = no_requests(head, name)
        if problem.startswith(ROWS):
            problem += f"; {_ROWS_IN_RUN if argument == _RUN else _ROWS_IN_TOOL} what request to make of each"
        file.seek(0)
        if not problem and _first_is_openai(file):
            problem = OPENAI
    if problem:
        raise invalid(f"{argument}: {excerpt(name, 200)!r} {problem}.")
    file.seek(0)


def _first_is_openai(file: io.BufferedReader) -> bool:
    _, row = next(request_rows(file), (0, ""))
    try:
        return isinstance(row, bytes) and is_openai(value_of(row))
    except UNREADABLE:
        return False


def _mark(file: io.BufferedReader, template: Template) -> str:
    """What tells the ids that are made for these rows and this template from those made for others."""
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256")
    digest.update(canonical(result.encode(template.given).encode()))
    return digest.hexdigest()[:_MARK_CHARS]


def _inline(requests: Sequence[Any]) -> Iterator[Row]:
    for index, each in enumerate(requests):
        yield index, result.encode(each).encode()
