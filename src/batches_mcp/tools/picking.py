"""Picking the rows of a page: from a spool, where each is one read away, or from a stream as it comes."""

from __future__ import annotations

from itertools import islice

from batches_mcp.api.outcomes import is_one_of
from batches_mcp.store.index import order_of
from batches_mcp.store.rows import Lines, Row, read_row
from batches_mcp.store.spool import Spool
from batches_mcp.tools.asked import Asked, Found
from batches_mcp.tools.cursor import other_order
from batches_mcp.tools.page import Page


def from_spool(asked: Asked, page: Page, spool: Spool) -> Found:
    """Fill the page from a spool.

    Raises:
        InvalidArguments: the cursor was given for another order of the results.
        OSError: the spool cannot be read.
    """
    cursor = asked.cursor
    if cursor and (max(cursor.start + 1, cursor.lines) > len(spool) or spool.order(cursor.lines) != cursor.order):
        raise other_order()
    unknown: list[str] = []
    numbers = asked.chosen
    if numbers is not None:
        if numbers[-1] >= len(spool):
            raise other_order()
    elif asked.ids:
        places = spool.find(asked.ids)
        unknown = [custom_id for custom_id in asked.ids if custom_id not in places]
        numbers = sorted(number for number in places.values() if spool.has(number, asked.outcomes))
    else:
        numbers = list(islice(spool.matching(asked.outcomes, asked.start), asked.limit + 1))
    for number, line in zip(numbers, spool.lines(numbers), strict=False):
        if not page.add(number, line):
            break
    return Found(page, numbers[len(page.rows) :], len(spool), spool.order(len(spool)), unknown)


class Picker:
    """Fills a page from a stream: `take` its pieces until it has enough, then `end`.

    `total` is how many rows the stream has, each of up to `line_bytes`. Lines that are not rows, or repeat one, do not
    count.
    """

    def __init__(self, asked: Asked, page: Page, total: int, line_bytes: int) -> None:
        self._asked, self._page, self._total = asked, page, total
        self._lines = Lines(total, line_bytes)
        self._seen: set[str] = set()
        self._count = 0
        self._order = 0
        self._rest: list[int] = []
        self._ids = set(asked.ids)
        self._numbers = set(asked.chosen or ())
        self._enough = False

    def take(self, chunk: bytes) -> bool:
        """The next bytes; false when no more are needed, or the stream is longer than it can be.

        Raises:
            InvalidArguments: the cursor was given for another order of the results.
        """
        for line in self._lines.feed(chunk):
            self._add(line)
            if self._enough:
                return False
        return not self._lines.too_long

    def end(self, *, complete: bool) -> Found:
        """What was found. `complete` tells that the stream came to its own end.

        Raises:
            InvalidArguments: the cursor was given for another order of the results.
        """
        if not self._enough:
            self._add(self._lines.rest())
        whole = complete or self._count >= self._total
        if self._asked.cursor and not self._enough and whole and self._count < self._asked.cursor.lines:
            raise other_order()
        cut = not self._enough and self._count < self._total
        by_id = bool(self._asked.ids) or self._asked.chosen is not None
        if not self._rest and not by_id and self._count < self._total:
            self._rest = [self._count]
        return Found(self._page, self._rest, self._count, self._order, [] if cut else sorted(self._ids), cut)

    def _add(self, line: bytes) -> None:
        row = read_row(line)
        if row is None or row.custom_id in self._seen:
            return
        self._seen.add(row.custom_id)
        number, self._count = self._count, self._count + 1
        self._order = order_of(row, self._order)
        cursor = self._asked.cursor
        if cursor and self._count == cursor.lines and self._order != cursor.order:
            raise other_order()
        if self._is_asked_for(number, row) and (self._rest or not self._page.add(number, line)):
            self._rest.append(number)
        self._enough = self._count >= (cursor.lines if cursor else 0) and self._has_enough()

    def _is_asked_for(self, number: int, row: Row) -> bool:
        if self._asked.chosen is not None:
            wanted = number in self._numbers
            self._numbers.discard(number)
            return wanted
        if self._asked.ids:
            if row.custom_id not in self._ids:
                return False
            self._ids.discard(row.custom_id)
        stop_reason = row.result.message.stop_reason if row.result.message else None
        return number >= self._asked.start and is_one_of((row.result.type, stop_reason), self._asked.outcomes)

    def _has_enough(self) -> bool:
        if self._asked.chosen is not None:
            return not self._numbers
        if self._asked.ids:
            return not self._ids
        # That a batch has more rows than those of a first page is known from its counts.
        return bool(self._rest) or (self._asked.is_first_page and self._page.full)
