"""One answer's rows: as many as were asked for and fit. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from batches_mcp.exchange import result
from batches_mcp.tools.view import CUT_CHARS, View, view

# A row that is cut to this still names itself, and always fits.
_LEAST_CHARS = 16


@dataclass(slots=True)
class Page:
    """Rows as they are added; `room_chars` and `room_bytes` are what an answer has left for them."""

    limit: int
    view: View
    most_chars: int | None
    room_chars: int
    room_bytes: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)

    @property
    def full(self) -> bool:
        return len(self.rows) == self.limit

    def add(self, number: int, line: bytes) -> bool:
        """Add the line with this number; false, and nothing is added, when there is no room for it.

        The first one is always added, cut until it fits.
        """
        if self.full:
            return False
        row = view(line, self.view, self.most_chars)
        fits = self._put(number, row)
        most_chars = CUT_CHARS if self.most_chars is None else self.most_chars
        while not fits and not self.rows:
            fits = self._put(number, view(line, self.view, most_chars), always=most_chars <= _LEAST_CHARS)
            most_chars //= 2
        return fits

    def _put(self, number: int, row: dict[str, Any], *, always: bool = False) -> bool:
        encoded = result.encode(row)
        chars = len(encoded) + 1
        size = chars if encoded.isascii() else len(encoded.encode()) + 1
        if (chars > self.room_chars or size > self.room_bytes) and not always:
            return False
        self.room_chars -= chars
        self.room_bytes -= size
        self.rows.append(row)
        self.numbers.append(number)
        return True
