"""Where the requests of a create come from: the one source that its arguments name."""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from batches_mcp.exchange import result
from batches_mcp.exchange.request import invalid
from batches_mcp.requests.files import identity, opened
from batches_mcp.requests.reading import Row, Template, request_rows, template_rows
from batches_mcp.requests.scan import canonical

_MARK_CHARS = 4

SOURCES = ("requests", "requests_file", "rows_file")


@dataclass(frozen=True, slots=True)
class Source:
    """Where requests come from.

    `rows` reads them, `place` says where the one with a number stands, and `unchanged` tells whether they are still the
    same. `file` is the name the caller gave, if they are in a file.
    """

    file: str | None
    place: Callable[[int], str]
    rows: Callable[[], Iterator[Row]]
    unchanged: Callable[[], bool]


@contextmanager
def source_of(arguments: Mapping[str, Any], roots: Sequence[Path]) -> Iterator[Source]:
    """The one source that the arguments name.

    Raises:
        InvalidArguments: they name none or several, or a file that cannot be read.
    """
    names = [name for name in SOURCES if name in arguments]
    if len(names) != 1:
        given = f"{', '.join(names)} are given" if names else "none is given"
        raise invalid(f"exactly one of requests, requests_file and rows_file is needed; {given}.")
    if ("template" in arguments) != (names == ["rows_file"]):
        raise invalid("template: goes with rows_file, and rows_file needs it.")
    if names == ["requests"]:
        yield Source(None, "requests[{}]".format, partial(_inline, arguments["requests"]), lambda: True)
        return
    name = arguments[names[0]]
    with opened(names[0], name, roots) as file:
        template = Template(arguments["template"]) if "template" in arguments else None
        yield in_file(names[0], name, file, template)


def in_file(argument: str, name: str, file: io.BufferedReader, template: Template | None) -> Source:
    """The requests in an open file, or those that a template makes of its rows; `argument` names it in errors."""
    before = identity(file)
    mark = "" if template is None else _mark(file, template)

    def rows() -> Iterator[Row]:
        file.seek(0)
        try:
            if template is None:
                yield from request_rows(file)
            else:
                yield from template_rows(argument, file, name, template, mark)
        except (OSError, EOFError, zlib.error) as error:
            raise invalid(f"{argument}: the file cannot be read to its end: {error}.") from error

    return Source(name, "line {}".format, rows, lambda: identity(file) == before)


def _mark(file: io.BufferedReader, template: Template) -> str:
    """What tells the ids that are made for these rows and this template from those made for others."""
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256")
    digest.update(canonical(result.encode(template.params).encode()))
    return digest.hexdigest()[:_MARK_CHARS]


def _inline(requests: Sequence[Any]) -> Iterator[Row]:
    for index, each in enumerate(requests):
        yield index, result.encode(each).encode()
