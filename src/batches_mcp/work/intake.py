"""The one pass over the requests of a create: checked, counted, cut into parts, and written down as they are sent.

Rows come from a tool's arguments, a file, an earlier batch or the body of a REST request. When something goes wrong on
the way, what was written until then is removed with its draft.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from batches_mcp.api.body import Frame
from batches_mcp.core.errors import CallError, ErrorReport
from batches_mcp.core.state import StateFolder, create
from batches_mcp.exchange.request import invalid
from batches_mcp.requests.cost import estimate
from batches_mcp.requests.parts import SEPARATOR, content_of
from batches_mcp.requests.reading import Rows, each_row, wrapped_rows
from batches_mcp.requests.received import Received
from batches_mcp.requests.scan import Scan
from batches_mcp.requests.source import Source
from batches_mcp.store.entry import Draft
from batches_mcp.store.kept import Copy, KeptRequests, name_of
from batches_mcp.store.records import ABANDONED_S
from batches_mcp.work.runtime import Runtime

# In the state folder, for all accounts: whose a credential is may be known only after the requests were read.
_FOLDER = "incoming"


@dataclass(frozen=True, slots=True)
class Body:
    """The body of one create, on disk: `content` identifies it (`Part.content`), `estimate` is of `cost.estimate`."""

    copy: Copy
    content: str
    rows: int
    estimate: dict[str, Any]

    @property
    def high_usd(self) -> float | None:
        """The most it may cost; None when that is not known."""
        high: float | None = self.estimate["cost_usd"]["high"]
        return high

    def draft(self, betas: str, **about: Any) -> Draft:
        """What the ledger is to hold of it; `about` are the fields that say where it comes from."""
        size, name = self.copy.length_bytes, self.copy.name
        return Draft(self.content, self.rows, size, betas=betas, estimate_usd=self.high_usd, body=name, **about)


class Drafts(Protocol):
    """Where bodies are written before it is decided whether they are sent."""

    def draft(self) -> AbstractContextManager[Path]:
        """A name for one; whatever has it at the end is removed."""

    def write(self, path: Path, pieces: Iterable[bytes], betas: str) -> Copy:
        """Write one; raises CallError when that cannot be done."""


class Temporary:
    """Bodies that are not kept: among the system's temporary files until they have been sent."""

    @contextmanager
    def draft(self) -> Iterator[Path]:
        try:
            folder = TemporaryDirectory(ignore_cleanup_errors=True)
        except OSError as error:
            raise _no_room(error) from error
        with folder as name:
            yield Path(name, "body.json")

    def write(self, path: Path, pieces: Iterable[bytes], betas: str) -> Copy:  # noqa: ARG002 - as of `Drafts`
        try:
            with create(path) as file:
                length_bytes = sum(map(file.write, pieces))
        except OSError as error:
            raise _no_room(error) from error
        return Copy(path, "", length_bytes)


def drafts(runtime: Runtime) -> Drafts:
    """Where a server's bodies are written: from where they can be kept by a new name alone, if they are kept at all.

    Raises:
        StateUnusable: the state folder cannot be used.
    """
    return Temporary() if runtime.all_records is None else KeptRequests(runtime.state.local.folder(_FOLDER))


def remove_abandoned(state: StateFolder, now_s: float) -> None:
    """Remove what processes that died have left of bodies, at the time `now_s` (Unix).

    Raises:
        StateUnusable: the state folder cannot be used.
    """
    KeptRequests(state.folder(_FOLDER)).tidy((), now_s - ABANDONED_S)


def take(
    source: Source,
    around: Frame,
    place: Callable[[int], Path | None],
    write: Callable[[Path, Iterable[bytes], str], Copy],
    each: Callable[[int, bytes], object] | None = None,
    leave_out: Callable[[int, bytes], bool] | None = None,
    refused: Callable[[int, str], object] | None = None,
) -> tuple[Scan, dict[int, Body]]:
    """Read a source once: what was found, and the bodies of the parts, from 0, that have a `place`.

    `each` is called with every request that can be sent and its part, from 0; see `Scan` for `leave_out` and `refused`.

    Raises:
        CallError: the source cannot be read to its end or changed meanwhile, or a body cannot be written.
    """
    found = Scan(around.rules, source.place, source.template, leave_out, refused)
    copies = {
        number: write(path, around.around(map(itemgetter(1), rows)), around.beta)
        for number, rows in groupby(_sendable(source, found, each), itemgetter(0))
        if (path := place(number)) is not None
    }
    if not source.unchanged():
        raise invalid(f"{source.file}: the file changed while it was being read. Nothing was sent.")
    parts = [(copy, found.parts[number]) for number, copy in copies.items()]
    bodies = [Body(copy, part.content(around.beta), part.count, estimate(part.demand)) for copy, part in parts]
    return found, dict(zip(copies, bodies, strict=True))


def take_received(received: Received, around: Frame) -> tuple[Scan, Body]:
    """Read a body that is sent as it came, in whatever state its requests are: what was found, and the body.

    With requests in it that only the upstream can judge, its content is its very bytes.

    Raises:
        InvalidArguments: it has another form, so that nobody could say what it asks for.
    """
    found = Scan(around.rules, "requests[{}]".format)
    with received.path.open("rb") as file:
        pieces = wrapped_rows(file)
        if pieces is None:
            raise invalid('the body: expected {"requests": [...]}.')
        for piece in pieces:
            first = found.requests
            if isinstance(piece, Rows):
                indexes = range(first, first + len(piece.rows))
                if found.add_all(indexes, piece.rows, piece.text) is not None:
                    continue
            for index, (_, row) in enumerate(each_row([piece]), first):
                if isinstance(row, str):
                    raise invalid(f"requests[{index}]: {row}.")
                found.add(index, row)
    copy = Copy(received.path, name_of(received.digest, around.beta), received.length_bytes)
    content = copy.name if found.invalid else content_of(found.parts, around.beta)
    return found, Body(copy, content, found.requests, estimate(found.demand))


def _sendable(source: Source, found: Scan, each: Callable[[int, bytes], object] | None) -> Iterator[tuple[int, bytes]]:
    """The requests that are sent, one or many with separators between them, each with the part they go into."""
    for piece in source.pieces():
        if isinstance(piece, Rows) and (together := found.add_all(*piece)) is not None:
            if each is not None:
                for row in piece.rows:
                    each(together, row)
            yield together, SEPARATOR.join(piece.rows)
            continue
        for number, one in each_row([piece]):
            part = found.add(number, one)
            if part is not None and isinstance(one, bytes):
                if each is not None:
                    each(part, one)
                yield part, one


def _no_room(error: OSError) -> CallError:
    message = f"the requests cannot be written to the system's folder for temporary files: {error.strerror or error}."
    next_step = "Nothing was sent. Tell the user to make room or give access there, or to set TMPDIR to another folder."
    return CallError(ErrorReport("state_unusable", message, next_step))
