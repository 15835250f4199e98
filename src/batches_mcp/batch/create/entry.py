"""What is remembered of a create, and what may come of beginning one. Data, without the file it is kept in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic_core import from_json

# How long the API keeps results: https://platform.claude.com/docs/en/build-with-claude/batch-processing
KEPT_DAYS = 29


class State(StrEnum):
    """What is known of a create. SENDING and AMBIGUOUS are unsettled: a batch of it may exist."""

    SENDING = "sending"
    AMBIGUOUS = "ambiguous"
    ACCEPTED = "accepted"
    ADOPTED = "adopted"
    REFUSED = "refused"
    NONE_FOUND = "none_found"


@dataclass(frozen=True, slots=True)
class Draft:
    """A create that is to be. `content` stands for its body and betas; `estimate_usd` is the most it may cost."""

    content: str
    rows: int
    body_bytes: int
    source: str | None = None
    label: str | None = None
    part: int | None = None
    parent: str | None = None
    betas: str = ""
    estimate_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Entry(Draft):
    """A row of the ledger.

    `started_s` is Unix time by this machine's clock, `since_s` by the upstream's: the batch cannot be older than that.
    `batch` is the batch as the upstream showed it last. An adopted one is `confirmed` once its results were seen to be
    those of the requests. A batch is `told` once a caller was given it.
    """

    key: int = 0
    state: State = State.SENDING
    owner: str | None = None
    started_s: float = 0.0
    since_s: float | None = None
    batch_id: str | None = None
    batch: str | None = None
    cost_usd: float | None = None
    confirmed: bool = False
    told: bool = False
    deleted: bool = False

    @property
    def settled(self) -> bool:
        """Whether it is known which batch there is, or that there is none."""
        return self.state not in (State.SENDING, State.AMBIGUOUS)

    @property
    def shown(self) -> dict[str, Any]:
        """The batch as the upstream showed it last."""
        shown: dict[str, Any] = from_json(self.batch) if self.batch else {}
        return shown

    def job(self) -> dict[str, Any]:
        """What the list of jobs says of it; times are RFC 3339, costs in USD."""
        batch = self.shown
        created_at = batch.get("created_at")
        expire_at = None
        if isinstance(created_at, str):
            expire_at = (datetime.fromisoformat(created_at) + timedelta(days=KEPT_DAYS)).isoformat()
        return {
            "batch_id": self.batch_id,
            "label": self.label,
            "source": self.source,
            "rows": self.rows,
            "status": "deleted" if self.deleted else batch.get("processing_status", str(self.state)),
            "created_at": created_at,
            "results_expire_at": expire_at.replace("+00:00", "Z") if expire_at else None,
            "estimate_usd": self.estimate_usd,
            "cost_usd": self.cost_usd,
            "parent": self.parent,
            "part": self.part,
        }


@dataclass(frozen=True, slots=True)
class Begun:
    """The create is in the ledger, and the caller's to send."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Busy:
    """A living process is at work on a create of this content."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A batch of this content may exist; the caller now owns the entry, and is to look."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Made:
    """A batch of this content was made not long ago."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class OverCap:
    """It might cost more than is left of the cap.

    `spent_usd` is what the last 24 hours came to, or `unknown` a create of them whose cost nobody knows.
    """

    spent_usd: float = 0.0
    unknown: Entry | None = None


Claim = Begun | Busy | Unsettled | Made | OverCap
