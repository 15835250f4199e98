"""Results on disk: the upstream's bytes as they came, and beside them an index, so that any row is one read away.

Two files for a batch. The data has a name of its own each time it is written; the index is renamed into place and names
its data, so that several processes can write the same spool, and what is half written is never found. An index whose
data has changed since counts as none.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import zlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec

from batches_mcp.batch.results.rows import Row, read_row
from batches_mcp.batch.tokens import Tariff, Tokens

OUTCOMES = ("succeeded", "errored", "canceled", "expired")

# All spools of an account together; what was read least recently goes first.
MOST_BYTES = 4_000_000_000
# One that was read so recently may be being read now, by whichever process.
_IN_USE_S = 600.0
# What a process that was killed has left behind.
_ABANDONED_S = 86_400.0

MAGIC = b"batches-mcp spool 2 " + sys.byteorder.encode() + b"\n"


class Head(msgspec.Struct, frozen=True):
    """What an index says of the whole.

    `rows` counts the lines that are rows; `classes` are the kinds of rows, each a type with the type of its error or
    its stop_reason, by which the index names a row's kind, from 1.
    """

    batch_id: str
    data: str
    data_bytes: int
    changed_ns: int
    lines: int
    rows: int
    complete: bool
    classes: list[tuple[str, str | None]]
    tokens: list[tuple[Tariff, Tokens]]


@dataclass(frozen=True)
class Spool:
    """The results of a batch on disk, by number from 0 in the order they came; lines that are no rows count as well."""

    folder: Path
    head: Head
    offsets: memoryview
    lengths: memoryview
    checks: memoryview
    kinds: bytes

    @property
    def path(self) -> Path:
        return self.folder / self.head.data

    @property
    def complete(self) -> bool:
        return self.head.complete

    def __len__(self) -> int:
        return self.head.lines

    def lines(self, numbers: Iterable[int]) -> Iterator[bytes]:
        """The lines with these numbers, as they came but for their line ends.

        Raises:
            OSError: the data cannot be read.
        """
        with self.path.open("rb") as file:
            for number in numbers:
                file.seek(self.offsets[number])
                yield file.read(self.lengths[number])

    def matching(self, outcomes: Collection[str], start: int = 0) -> Iterator[int]:
        """The numbers from `start` on of the rows of these types; all lines when none is named."""
        if not outcomes:
            return iter(range(start, len(self)))
        codes = bytes(code for code, (outcome, _) in enumerate(self.head.classes, 1) if outcome in outcomes)
        if not codes:
            return iter(())
        return (found.start() for found in re.compile(b"[" + re.escape(codes) + b"]").finditer(self.kinds, start))

    def find(self, custom_ids: Collection[str]) -> dict[str, int]:
        """The number of the row of each of these ids that has one."""
        wanted = {check_of(custom_id) for custom_id in custom_ids}
        candidates = [number for number, check in enumerate(self.checks) if check in wanted]
        found: dict[str, int] = {}
        for number, line in zip(candidates, self.lines(candidates), strict=True):
            row = read_row(line)
            if row is not None and row.custom_id in custom_ids:
                found.setdefault(row.custom_id, number)
        return found

    def kind(self, number: int) -> tuple[str, str | None]:
        """The type of a row, and the type of its error or its stop_reason; ("", None) for a line that is no row."""
        code = self.kinds[number]
        return self.head.classes[code - 1] if code else ("", None)

    def has(self, number: int, outcomes: Collection[str]) -> bool:
        """Whether a line is of one of these types; of any, and none, when none is named."""
        return not outcomes or self.kind(number)[0] in outcomes

    def order(self, lines: int) -> int:
        """A number that differs when the ids of the first `lines` lines, or their order, do."""
        return zlib.crc32(self.checks[:lines])

    @property
    def by_kind(self) -> dict[tuple[str, str | None], int]:
        """How many rows there are of each kind."""
        return {kind: self.kinds.count(code) for code, kind in enumerate(self.head.classes, 1)}

    @cached_property
    def errors(self) -> dict[str, int]:
        """How many rows are errored, by type of error."""
        classes = enumerate(self.head.classes, 1)
        return {detail or "unknown": self.kinds.count(code) for code, (kind, detail) in classes if kind == "errored"}

    @property
    def tokens(self) -> dict[Tariff, Tokens]:
        """The tokens of all rows, by what decides their price."""
        return dict(self.head.tokens)


def load(folder: Path, batch_id: str) -> Spool | None:
    """The spool of a batch; None when there is none that can be relied on. Marks it as used just now."""
    index = index_path(folder, batch_id)
    try:
        content = memoryview(index.read_bytes())
        start = len(MAGIC) + 4
        if len(content) < start + 4 or content[: len(MAGIC)] != MAGIC:
            return None
        if zlib.crc32(content[:-4]) != int.from_bytes(content[-4:], "little"):
            return None
        end = start + int.from_bytes(content[len(MAGIC) : start], "little")
        head = msgspec.json.decode(content[start:end], type=Head)
        found = (folder / head.data).stat()
        same = (found.st_size, found.st_mtime_ns) == (head.data_bytes, head.changed_ns)
        if head.batch_id != batch_id or not same or len(content) - 4 - end != 17 * head.lines:
            return None
        os.utime(index)
    except (OSError, msgspec.DecodeError):
        return None
    lines = head.lines
    lengths, checks, kinds = end + 8 * lines, end + 12 * lines, end + 16 * lines
    return Spool(
        folder,
        head,
        content[end:lengths].cast("Q"),
        content[lengths:checks].cast("I"),
        content[checks:kinds].cast("I"),
        bytes(content[kinds:-4]),
    )


def forget(folder: Path, batch_id: str) -> None:
    """Remove the spool of a batch, if there is one."""
    spool = load(folder, batch_id)
    remove(index_path(folder, batch_id))
    if spool is not None:
        remove(spool.path)


def make_room(folder: Path, now_s: float, most_bytes: int = MOST_BYTES) -> None:
    """Remove the spools that were read least recently until the rest fit; and what killed processes have left."""
    indexes: list[tuple[float, Path, Path]] = []
    sizes: dict[Path, int] = {}
    for path in list(folder.iterdir()):
        with suppress(OSError):
            found = path.stat()
            sizes[path] = found.st_size
            if path.suffix == ".index":
                indexes.append((found.st_mtime, path, folder / _data_name(path)))
            elif path.suffix != ".jsonl" and now_s - found.st_mtime > _ABANDONED_S:
                remove(path)
    total = sum(sizes.values())
    for used_s, index, data in sorted(indexes):
        if total <= most_bytes or now_s - used_s < _IN_USE_S:
            break
        total -= sizes.get(index, 0) + sizes.get(data, 0)
        remove(index)
        remove(data)
    named = {data for _, _, data in indexes}
    for path in sizes.keys() - named:
        with suppress(OSError):
            if path.suffix == ".jsonl" and now_s - path.stat().st_mtime > _ABANDONED_S:
                remove(path)


def _data_name(index: Path) -> str:
    """The data that an index names; of a damaged one none."""
    with index.open("rb") as file:
        size = int.from_bytes(file.read(len(MAGIC) + 4)[len(MAGIC) :], "little")
        try:
            return msgspec.json.decode(file.read(size), type=Head).data
        except msgspec.DecodeError:
            return ""


def key(batch_id: str) -> str:
    """The beginning of the names of a batch's files."""
    return hashlib.sha256(batch_id.encode()).hexdigest()[:32]


def index_path(folder: Path, batch_id: str) -> Path:
    """Where the index of a batch is, if it has one."""
    return folder / f"{key(batch_id)}.index"


def order_of(row: Row | None, before: int = 0) -> int:
    """`Spool.order` line by line: what it is after this one."""
    check = check_of(row.custom_id) if row is not None else 0
    return zlib.crc32(check.to_bytes(4, sys.byteorder), before)


def check_of(custom_id: str) -> int:
    """What the index keeps of an id."""
    return zlib.crc32(custom_id.encode())


def remove(path: Path) -> None:
    """Remove a file; one that cannot be removed now is left for `make_room`."""
    with suppress(OSError):  # gone already, or, on Windows, open somewhere
        path.unlink()
