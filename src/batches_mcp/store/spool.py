"""Results on disk: the upstream's bytes as they came, and beside them an index, so that any row is one read away.

Two files for a batch. The data has a name of its own each time it is written; the index is renamed into place and names
its data, so that several processes can write the same spool, and what is half written is never found. Data that no
index names any longer stays for a while, since somebody may be reading it. An index whose data has changed since counts
as none.
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

from batches_mcp.requests.tokens import Tariff, Tokens
from batches_mcp.store.rows import Row, read_row

OUTCOMES = ("succeeded", "errored", "canceled", "expired")

# All spools of an account together; what was read least recently goes first.
MOST_BYTES = 4_000_000_000
# Results stay for 29 days after a batch was created, upstream as well as here:
# https://platform.claude.com/docs/en/build-with-claude/batch-processing
KEPT_S = 29 * 86_400.0
# One that was read so recently may be being read now, by whichever process.
_IN_USE_S = 600.0
# What a process that was killed has left behind.
_ABANDONED_S = 86_400.0

MAGIC = b"batches-mcp spool 2 " + sys.byteorder.encode() + b"\n"


class Head(msgspec.Struct, frozen=True):
    """What an index says of the whole.

    `made_s` is when it was written, by the upstream's clock (Unix time; None when it did not tell). `ignored` counts
    lines of the data that are no rows of the batch, or repeat one; `classes` are the kinds of rows, each a type with
    the type of its error or its stop_reason, by which the index names a row's kind, from 1.
    """

    batch_id: str
    data: str
    data_bytes: int
    changed_ns: int
    made_s: float | None
    rows: int
    ignored: int
    complete: bool
    classes: list[tuple[str, str | None]]
    tokens: list[tuple[Tariff, Tokens]]


@dataclass(frozen=True)
class Spool:
    """The results of a batch on disk, each once, by number from 0 in the order they came."""

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
        return self.head.rows

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
        """The numbers from `start` on of the rows of these types; all when none is named."""
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
        """The type of a row, and the type of its error or its stop_reason."""
        return self.head.classes[self.kinds[number] - 1]

    def has(self, number: int, outcomes: Collection[str]) -> bool:
        """Whether a row is of one of these types; of any when none is named."""
        return not outcomes or self.kind(number)[0] in outcomes

    def order(self, lines: int) -> int:
        """A number that differs when the ids of the first `lines` rows, or their order, do."""
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
        spool = parse(folder, index.read_bytes())
        found = spool.path.stat() if spool is not None else None
        if spool is None or found is None or spool.head.batch_id != batch_id:
            return None
        if (found.st_size, found.st_mtime_ns) != (spool.head.data_bytes, spool.head.changed_ns):
            return None
        os.utime(index)
    except OSError:
        return None
    return spool


def parse(folder: Path, index: bytes) -> Spool | None:
    """The spool that an index is of; None for one that is damaged, or of another version."""
    content = memoryview(index)
    start = len(MAGIC) + 4
    if len(content) < start + 4 or content[: len(MAGIC)] != MAGIC:
        return None
    if zlib.crc32(content[:-4]) != int.from_bytes(content[-4:], "little"):
        return None
    end = start + int.from_bytes(content[len(MAGIC) : start], "little")
    try:
        head = msgspec.json.decode(content[start:end], type=Head)
    except msgspec.DecodeError:
        return None
    rows = head.rows
    if len(content) - 4 - end != 17 * rows:
        return None
    lengths, checks, kinds = end + 8 * rows, end + 12 * rows, end + 16 * rows
    return Spool(
        folder,
        head,
        content[end:lengths].cast("Q"),
        content[lengths:checks].cast("I"),
        content[checks:kinds].cast("I"),
        bytes(content[kinds:-4]),
    )


def forget(folder: Path, batch_id: str) -> None:
    """Remove the spool of a batch, if there is one, and what an earlier one has left."""
    remove(index_path(folder, batch_id))
    for path in list(folder.glob(f"{key(batch_id)}-*.jsonl")):
        remove(path)


def make_room(folder: Path, now_s: float, most_bytes: int = MOST_BYTES) -> None:
    """Remove the spools that were read least recently until the rest fit; and what nobody needs any longer.

    Nothing is removed that may be in use, by whichever process.
    """
    indexes: list[tuple[float, Path, Path]] = []
    found: dict[Path, os.stat_result] = {}
    for path in list(folder.iterdir()):
        with suppress(OSError):
            found[path] = path.stat()
            if path.suffix == ".index":
                indexes.append((found[path].st_mtime, path, folder / _data_name(path)))
    named = {data for _, _, data in indexes}
    for path in found.keys() - named:
        unused_s = now_s - found[path].st_mtime
        if path.suffix != ".index" and unused_s > (_IN_USE_S if path.suffix == ".jsonl" else _ABANDONED_S):
            remove(path)
            del found[path]
    total = sum(each.st_size for each in found.values())
    for used_s, index, data in sorted(indexes):
        if total <= most_bytes or now_s - used_s < _IN_USE_S:
            break
        total -= sum(found[path].st_size for path in (index, data) if path in found)
        remove(index)
        remove(data)


def remove_expired(folder: Path, now_s: float) -> None:
    """Remove the spools that are as old as results get, and those that cannot be read, unless they may be in use."""
    for index in list(folder.glob("*.index")):
        with suppress(OSError):
            head, used_s = _head(index), index.stat().st_mtime
            made_s = max(head.made_s or 0.0, (folder / head.data).stat().st_mtime) if head is not None else 0.0
            if now_s - used_s > _IN_USE_S and now_s - made_s > KEPT_S:
                remove(index)
                if head is not None:
                    remove(folder / head.data)


def _data_name(index: Path) -> str:
    """The data that an index names; of a damaged one none."""
    head = _head(index)
    return "" if head is None else head.data


def _head(index: Path) -> Head | None:
    with index.open("rb") as file:
        magic, size = file.read(len(MAGIC)), int.from_bytes(file.read(4), "little")
        try:
            return msgspec.json.decode(file.read(size), type=Head) if magic == MAGIC else None
        except msgspec.DecodeError:
            return None


def key(batch_id: str) -> str:
    """The beginning of the names of a batch's files."""
    return hashlib.sha256(batch_id.encode()).hexdigest()[:32]


def index_path(folder: Path, batch_id: str) -> Path:
    """Where the index of a batch is, if it has one."""
    return folder / f"{key(batch_id)}.index"


def order_of(row: Row, before: int = 0) -> int:
    """`Spool.order` row by row: what it is after this one."""
    return zlib.crc32(check_of(row.custom_id).to_bytes(4, sys.byteorder), before)


def check_of(custom_id: str) -> int:
    """What the index keeps of an id."""
    return zlib.crc32(custom_id.encode())


def remove(path: Path) -> None:
    """Remove a file; one that cannot be removed now is left for `make_room`."""
    with suppress(OSError):  # gone already, or, on Windows, open somewhere
        path.unlink()
