"""Why rows failed: errors that differ in ids and numbers only are one cause. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

import msgspec

from batches_mcp.core.redact import excerpt
from batches_mcp.store.rows import Row

FAILED = frozenset({"errored", "expired"})

_MOST_CHARS = 300
_MOST_TYPE_CHARS = _MOST_ID_CHARS = 100
# What no API ever had so many causes of is counted together.
_MOST_CAUSES = 200
_OTHERS = ("other causes",)
_EXPIRED = ("not processed before the batch expired",)
_VARIES = "…"
# A word with a digit in it: `req_011CT`, `row-000001-3f9c`, `1,204,551`, `5.5`, a UUID.
_VARIABLE = re.compile(
    r"((?<![A-Za-z0-9])(?=[A-Za-z_-]*[0-9])[A-Za-z0-9](?:[_-]*[A-Za-z0-9]|(?<=[0-9])[,.](?=[0-9]))*)"
)


class Cause(msgspec.Struct):
    """Why `count` rows failed, the first of which is `custom_id`.

    `parts` are the message cut at what may vary, which is every second one, and is `…` once it has varied.
    """

    type: str
    parts: list[str]
    count: int
    custom_id: str

    @property
    def message(self) -> str:
        return "".join(self.parts)


class Causes:
    """The causes of rows as they come."""

    def __init__(self, begun: Iterable[Cause] = ()) -> None:
        """`begun` are those of the rows before."""
        self._found = {kind_of(each): Cause(each.type, [*each.parts], each.count, each.custom_id) for each in begun}

    def add(self, row: Row) -> None:
        """Count a row that failed."""
        found = row.result
        if found.type == "errored":
            kind = (found.error_type or "unknown")[:_MOST_TYPE_CHARS]
            parts = _parts(found.error_message)
        else:
            kind, parts = found.type, _EXPIRED
        cause = self._found.get((kind, parts[::2]))
        if cause is None:
            if len(self._found) >= _MOST_CAUSES:
                kind, parts = "other", _OTHERS
            key = (kind, parts[::2])
            cause = self._found.setdefault(key, Cause(kind, list(parts), 0, row.custom_id[:_MOST_ID_CHARS]))
        cause.count += 1
        for place in range(1, len(parts), 2):
            if parts[place] != cause.parts[place]:
                cause.parts[place] = _VARIES

    def all(self) -> list[Cause]:
        """The causes, that of most rows first."""
        return sorted(self._found.values(), key=lambda cause: -cause.count)


def kind_of(cause: Cause) -> tuple[str, tuple[str, ...]]:
    """What causes have in common that are one: the type, and the message without what may vary."""
    return cause.type, tuple(cause.parts[::2])


def together(causes: Iterable[Cause]) -> list[Cause]:
    """The causes of rows that were counted apart, that of most rows first."""
    found: dict[tuple[str, tuple[str, ...]], Cause] = {}
    for each in causes:
        known = found.get(kind_of(each))
        if known is None:
            found[kind_of(each)] = Cause(each.type, [*each.parts], each.count, each.custom_id)
            continue
        known.count += each.count
        known.parts = [one if one == other else _VARIES for one, other in zip(known.parts, each.parts, strict=True)]
    return sorted(found.values(), key=lambda cause: -cause.count)


@lru_cache(maxsize=1024)
def _parts(message: str) -> tuple[str, ...]:
    return tuple(_VARIABLE.split(excerpt(message[: 2 * _MOST_CHARS], _MOST_CHARS)))
