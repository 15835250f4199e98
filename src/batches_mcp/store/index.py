"""The index of a spool: what it says, and its form on disk, which is written and read here alone.

A line that names the version, and the byte order of the numbers of rows; the length of the head in 4 bytes,
little-endian; the head as JSON; for all rows the offsets (8 bytes each), then the lengths (4), the checks (4) and the
kinds (1); and the CRC-32 of all that, in 4 bytes, little-endian.
"""

from __future__ import annotations

import re
import sys
import zlib
from array import array
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, BinaryIO, TypeAlias

import msgspec

from batches_mcp.api.outcomes import is_one_of
from batches_mcp.requests.tokens import Tariff, Tokens
from batches_mcp.store.causes import Cause
from batches_mcp.store.rows import UNREADABLE, Row

_MAGIC = b"batches-mcp spool 3 " + sys.byteorder.encode() + b"\n"
_NUMBER_BYTES = 4
_ROW_BYTES = 8 + 4 + 4 + 1

Column: TypeAlias = "memoryview | array[int]"
"""Numbers by row."""


class Head(msgspec.Struct, frozen=True):
    """What an index says of the whole.

    `made_s` is when it was written, by the upstream's clock (Unix time; None when it did not tell). `ignored` counts
    lines of the data that are no rows of the batch, or repeat one; `classes` are the kinds of rows, each a type with
    the type of its error or its stop_reason, by which the index names a row's kind, from 1. `changed_ns` is when the
    `data`, a file of `data_bytes`, was written last. `causes` are why rows failed, that of most rows first.
    """

    batch_id: str
    # In the folder of the index, whatever a damaged one says.
    data: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f-]+\.jsonl\Z")]
    data_bytes: int
    changed_ns: int
    made_s: float | None
    rows: int
    ignored: int
    complete: bool
    classes: list[tuple[str, str | None]]
    tokens: list[tuple[Tariff, Tokens]]
    causes: list[Cause]


@dataclass(frozen=True)
class Index:
    """Where each row of a spool is, and what it is; rows are numbered from 0 in the order they came.

    `offsets` and `lengths` are in bytes, `checks` are what `check_of` says of the custom_ids.
    """

    head: Head
    offsets: Column
    lengths: Column
    checks: Column
    kinds: bytes | bytearray

    @property
    def complete(self) -> bool:
        return self.head.complete

    def __len__(self) -> int:
        return self.head.rows

    def matching(self, outcomes: Collection[str], start: int = 0) -> Iterator[int]:
        """The numbers from `start` on of the rows that are `is_one_of` these types."""
        if not outcomes:
            return iter(range(start, len(self)))
        codes = bytes(code for code, kind in enumerate(self.head.classes, 1) if is_one_of(kind, outcomes))
        if not codes:
            return iter(())
        return (found.start() for found in re.compile(b"[" + re.escape(codes) + b"]").finditer(self.kinds, start))

    def kind(self, number: int) -> tuple[str, str | None]:
        """The type of a row, and the type of its error or its stop_reason."""
        return self.head.classes[self.kinds[number] - 1]

    def has(self, number: int, outcomes: Collection[str]) -> bool:
        """Whether a row `is_one_of` these types."""
        return is_one_of(self.kind(number), outcomes)

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


def encode(index: Index) -> bytes:
    """An index as it is on disk."""
    head = msgspec.json.encode(index.head)
    columns = index.offsets.tobytes() + index.lengths.tobytes() + index.checks.tobytes()
    content = b"".join([_MAGIC, _number(len(head)), head, columns, index.kinds])
    return content + _number(zlib.crc32(content))


def decode(content: bytes) -> Index | None:
    """The index that was encoded; None for one that is damaged, or of another version."""
    view = memoryview(content)
    start, end = len(_MAGIC) + _NUMBER_BYTES, len(content) - _NUMBER_BYTES
    if end < start or view[: len(_MAGIC)] != _MAGIC or view[end:] != _number(zlib.crc32(view[:end])):
        return None
    offsets = start + int.from_bytes(view[len(_MAGIC) : start], "little")
    head = _head(view[start:offsets])
    if head is None or end - offsets != _ROW_BYTES * head.rows:
        return None
    lengths, checks, kinds = offsets + 8 * head.rows, offsets + 12 * head.rows, offsets + 16 * head.rows
    return Index(
        head,
        view[offsets:lengths].cast("Q"),
        view[lengths:checks].cast("I"),
        view[checks:kinds].cast("I"),
        bytes(view[kinds:end]),
    )


def read_head(file: BinaryIO) -> Head | None:
    """The head of the index in a file, whose rest may be damaged; None where there is none."""
    if file.read(len(_MAGIC)) != _MAGIC:
        return None
    return _head(file.read(int.from_bytes(file.read(_NUMBER_BYTES), "little")))


def check_of(custom_id: str) -> int:
    """What the index keeps of an id."""
    return zlib.crc32(custom_id.encode())


def order_of(row: Row, before: int = 0) -> int:
    """`Index.order` row by row: what it is after this one."""
    return zlib.crc32(check_of(row.custom_id).to_bytes(4, sys.byteorder), before)


def _head(content: bytes | memoryview) -> Head | None:
    try:
        return msgspec.json.decode(content, type=Head)
    except UNREADABLE:
        return None


def _number(value: int) -> bytes:
    return value.to_bytes(_NUMBER_BYTES, "little")
