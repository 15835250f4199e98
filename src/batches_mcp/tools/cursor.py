"""Where a page continues: opaque to the caller, valid as long as the results keep their order. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Collection, Sequence
from itertools import accumulate, pairwise

import msgspec

from batches_mcp.core.errors import InvalidArguments
from batches_mcp.exchange.request import invalid

_VERSION = 1
_CHECK_BYTES = 4
_START_AGAIN = "start again without a cursor"


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """The next page begins at line `start` of the results.

    `order` is what `Spool.order` says of the first `lines` lines. `outcomes` and `ids` (their digest) are the filters;
    with the latter, `gaps` leads from `start` to the other lines that are still to come, each from the one before it.
    """

    version: int
    batch_id: str
    start: int
    lines: int
    order: int
    outcomes: tuple[str, ...] = ()
    ids: bytes = b""
    gaps: tuple[int, ...] = ()

    def numbers(self) -> list[int]:
        """With `ids`: the lines that are still to come."""
        return list(accumulate(self.gaps, initial=self.start))


def cursor_to(batch_id: str, rest: Sequence[int], lines: int, order: int, outcomes: Collection[str], ids: bytes) -> str:
    """The text of a cursor to the first of the lines `rest`; the others count only with `ids`, a digest."""
    gaps = tuple(after - before for before, after in pairwise(rest)) if ids else ()
    cursor = Cursor(_VERSION, batch_id, rest[0], lines, order, tuple(sorted(outcomes)), ids, gaps)
    packed = msgspec.msgpack.encode(cursor)
    check = zlib.crc32(packed).to_bytes(_CHECK_BYTES, "little")
    return base64.urlsafe_b64encode(check + packed).decode().rstrip("=")


def read_cursor(text: str, batch_id: str, outcomes: Collection[str], ids: Collection[str]) -> Cursor:
    """The cursor that a text is; filters that are given beside it must be its own.

    Raises:
        InvalidArguments: it is none of ours, was changed, or belongs to something else.
    """
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        cursor = msgspec.msgpack.decode(data[_CHECK_BYTES:], type=Cursor)
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise _refused("is not one that this tool gave") from error
    sound = zlib.crc32(data[_CHECK_BYTES:]).to_bytes(_CHECK_BYTES, "little") == data[:_CHECK_BYTES]
    if not sound or cursor.version != _VERSION:
        raise _refused("is not one that this tool gave, or it was changed")
    if cursor.batch_id != batch_id:
        raise _refused("belongs to another batch")
    if outcomes and set(outcomes) != set(cursor.outcomes):
        raise _refused("was given for other result_types; leave them out beside it, or")
    if ids and digest(ids) != cursor.ids:
        raise _refused("was given for other custom_ids; leave them out beside it, or")
    return cursor


def other_order() -> InvalidArguments:
    """The error for a cursor into results that have come in another order since."""
    return _refused("does not fit the results any more, whose order has changed")


def digest(ids: Collection[str]) -> bytes:
    """The same for the same ids in any order; nothing for none."""
    return hashlib.blake2b("\n".join(sorted(set(ids))).encode(), digest_size=8).digest() if ids else b""


def _refused(problem: str) -> InvalidArguments:
    joint = " " if problem.endswith("or") else "; "
    return invalid(f"cursor: it {problem}{joint}{_START_AGAIN}.")
