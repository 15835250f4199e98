"""A batch as the API shows it, parsed once: whatever is decided about batches is decided by this. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from batches_mcp.exchange.result import Answer

_ID_PREFIX = "msgbatch_"
ID_FORM = f"{_ID_PREFIX}..."

# https://platform.claude.com/docs/en/api/retrieving-message-batches: each request is counted in one of these states.
# What else may be counted one day may count the same requests again.
_STATES = ("processing", "succeeded", "errored", "canceled", "expired")


# Results stay for 29 days after a batch was created: https://platform.claude.com/docs/en/build-with-claude/batch-processing
RESULTS_KEPT_S = 29 * 86_400.0


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch, however strange the upstream's account of it is: what cannot be read is empty or None.

    `counts` are its requests by state; together they are all it has. Times are Unix time. `raw` is the account itself.
    """

    id: str
    status: str
    counts: Mapping[str, int]
    created_s: float | None
    ended_s: float | None
    archived: bool
    raw: Mapping[str, Any]

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Batch:
        """Parse what the API says of a batch."""
        return cls(
            id=_text(raw, "id"),
            status=_text(raw, "processing_status"),
            counts=_counts(raw),
            created_s=_time_s(raw, "created_at"),
            ended_s=_time_s(raw, "ended_at"),
            archived=bool(raw.get("archived_at")),
            raw=raw,
        )

    @property
    def ended(self) -> bool:
        return self.status == "ended"

    @property
    def was_canceled(self) -> bool:
        """Whether somebody asked for it to be canceled; what had been processed by then stays, and is billed."""
        return bool(self.raw.get("cancel_initiated_at") or self.counts.get("canceled"))

    @property
    def total(self) -> int:
        """How many requests it has, in whatever state they are; its results have as many rows."""
        return sum(self.counts.values())


def is_id(text: str) -> bool:
    """Whether a text has the form of a batch's id."""
    return text.startswith(_ID_PREFIX)


def batches_in(page: Mapping[str, Any]) -> list[Batch]:
    """The batches of a page of the list; rows that are none are left out."""
    rows = page.get("data")
    found = [Batch.of(row) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return [batch for batch in found if batch.id]


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the list, newest first. `complete` tells that each of its rows is a batch."""

    batches: Sequence[Batch]
    has_more: bool
    complete: bool
    answer: Answer

    @classmethod
    def of(cls, content: Mapping[str, Any], answer: Answer) -> Page:
        rows, batches = content.get("data"), batches_in(content)
        complete = isinstance(rows, list) and len(rows) == len(batches)
        return cls(batches, bool(content.get("has_more")), complete, answer)


def _text(raw: Mapping[str, Any], name: str) -> str:
    found = raw.get(name)
    return found if isinstance(found, str) else ""


def _counts(raw: Mapping[str, Any]) -> dict[str, int]:
    found = raw.get("request_counts")
    if not isinstance(found, dict):
        return {}
    return {name: number for name in _STATES if type(number := found.get(name)) is int and number >= 0}


def _time_s(raw: Mapping[str, Any], name: str) -> float | None:
    try:
        time = datetime.fromisoformat(_text(raw, name))
        return time.replace(tzinfo=time.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        return None
