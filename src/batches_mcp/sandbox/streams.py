"""Streams of result rows that are not what they should be. Pure.

Each takes and gives blocks of bytes that end with a line.
"""

import json
from collections.abc import Callable, Generator
from contextlib import closing
from itertools import count

__all__ = ["endless", "garbled", "repeated", "with_foreign"]

_FILLER = b"x" * 64 * 1024


def repeated(blocks: Generator[bytes], rows: int, lines: int) -> Generator[bytes]:
    """After `rows` rows, the next `lines` rows twice each."""
    return _changed(blocks, rows, lines, lambda row: row + row)


def with_foreign(blocks: Generator[bytes], rows: int, lines: int) -> Generator[bytes]:
    """After `rows` rows, a row that no request of the batch asked for before each of the next `lines` rows."""
    numbers = count(1)

    def change(row: bytes) -> bytes:
        foreign = {"custom_id": f"foreign-{next(numbers)}", "result": {"type": "expired"}}
        return json.dumps(foreign).encode() + b"\n" + row

    return _changed(blocks, rows, lines, change)


def garbled(blocks: Generator[bytes], rows: int, lines: int) -> Generator[bytes]:
    """After `rows` rows, half of each of the next `lines` rows and a byte that is no UTF-8."""
    return _changed(blocks, rows, lines, lambda row: row[: len(row) // 2] + b"\xff\n")


def endless(blocks: Generator[bytes], *, mid_row: bool) -> Generator[bytes]:
    """All rows, and then the first ones again and again, or one row that never ends if `mid_row`."""
    again = b""
    with closing(blocks):
        for block in blocks:
            again = again or block
            yield block
    if mid_row:
        again = _FILLER
        yield b'{"custom_id":"'
    while True:
        yield again


def _changed(blocks: Generator[bytes], rows: int, lines: int, change: Callable[[bytes], bytes]) -> Generator[bytes]:
    seen = 0
    with closing(blocks):
        for block in blocks:
            block_rows = block.splitlines(keepends=True)  # CR and LF inside of JSON strings are escaped
            for place in range(max(rows - seen, 0), min(rows + lines - seen, len(block_rows))):
                block_rows[place] = change(block_rows[place])
            seen += len(block_rows)
            yield b"".join(block_rows)
