"""What a call for results asks for, and the page that answers it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batches_mcp.api.operations import BATCH_ID
from batches_mcp.exchange.request import invalid
from batches_mcp.tools.cursor import Cursor, read_cursor
from batches_mcp.tools.page import Page
from batches_mcp.tools.view import View

DEFAULT_LIMIT = 20
# About two pages of a book; a model that needs more asks for it.
_DEFAULT_TEXT_CHARS = 4_000


@dataclass(frozen=True, slots=True)
class Asked:
    """The arguments of a call, with what its cursor carries."""

    batch_id: str
    limit: int
    view: View
    most_chars: int | None
    outcomes: frozenset[str]
    ids: tuple[str, ...]
    cursor: Cursor | None
    cursor_text: str | None

    @property
    def start(self) -> int:
        """The line with which the page begins."""
        return self.cursor.start if self.cursor else 0

    @property
    def is_first_page(self) -> bool:
        """Whether it is the first page of all rows."""
        return self.cursor is None and not self.outcomes and not self.ids

    @property
    def chosen(self) -> list[int] | None:
        """The lines still to come of those chosen by id, as the cursor carries them; None without such a cursor."""
        return self.cursor.numbers() if self.cursor and self.cursor.ids else None

    def page(self, room_chars: int, room_bytes: int) -> Page:
        return Page(self.limit, self.view, self.most_chars, room_chars, room_bytes)


@dataclass(frozen=True, slots=True)
class Found:
    """The rows of a page, and how it goes on.

    `rest` are lines that come after it, of which the first is where the next page begins; `lines` and `order` are what
    a cursor remembers. `unknown` are custom_ids that no row has. `cut` tells that the stream ended before its time.
    """

    page: Page
    rest: Sequence[int]
    lines: int
    order: int
    unknown: Sequence[str] = ()
    cut: bool = False


def read_arguments(arguments: Mapping[str, Any]) -> Asked:
    """What the arguments of a call ask for.

    Raises:
        InvalidArguments: the cursor does not fit them.
    """
    batch_id, text = arguments[BATCH_ID], arguments.get("cursor")
    outcomes, ids = arguments.get("result_types", []), arguments.get("custom_ids", [])
    view: View = arguments.get("view", "text")
    if text is not None and "as_file" in arguments:
        raise invalid("as_file, cursor: only one of the two can be given; a file holds all the rows asked for.")
    cursor = None if text is None else read_cursor(text, batch_id, outcomes, ids)
    return Asked(
        batch_id,
        arguments.get("limit", DEFAULT_LIMIT),
        view,
        arguments.get("max_chars_per_row", _DEFAULT_TEXT_CHARS if view == "text" else None),
        frozenset(cursor.outcomes if cursor else outcomes),
        () if cursor else tuple(dict.fromkeys(ids)),
        cursor,
        text,
    )
