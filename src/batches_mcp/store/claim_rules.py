"""What a claim is made under, and what may come of it: data, without the ledger in which it is made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from batches_mcp.core.limits import LIMITS
from batches_mcp.store.entry import DAY_S, Approval, Draft, Entry, Origin


@dataclass(frozen=True, slots=True)
class Baseline:
    """The upstream just before a create: whatever is newer in its list may be the create's batch.

    `now_s` is the upstream's time (Unix). `newest_s` and `newest_id` are when its newest batch was created, by the
    clock that dates batches, and which that is; without an id every batch since `newest_s` counts as newer.
    """

    now_s: float
    newest_s: float = 0.0
    newest_id: str | None = None


class Window(StrEnum):
    """The time that a cap is for: the last 24 hours, or the calendar month (UTC) so far."""

    DAY = "day"
    MONTH = "month"

    def since_s(self, now_s: float) -> float:
        """Where it begins, at the time `now_s` (both Unix time)."""
        if self is Window.DAY:
            return now_s - DAY_S
        now = datetime.fromtimestamp(now_s, UTC)
        return datetime(now.year, now.month, 1, tzinfo=UTC).timestamp()


@dataclass(frozen=True, slots=True)
class Cap:
    """The most that the creates of a team may cost within a window, in USD; without a `team`, those of everybody."""

    usd: float
    window: Window = Window.DAY
    team: str | None = None


@dataclass(frozen=True, slots=True)
class ClaimRules:
    """What stands against a create.

    To `attach` is to take the batch there is of the same content and parent, however old, if it was not deleted.
    `again` lets the same content be sent a second time, also while it is not known what became of the first;
    `repeated` only when that is known. Only entries whose key is higher than `after` count as the same. Under `caps`,
    of which all must leave room, what the create may cost is reserved. An `unconfirmed` create is not begun: the user
    has to be asked first; one that may cost more than `approve_over_usd` waits for an approval, unless it has got one.
    `approval_id` is that of the approval by which it is begun, whatever the caps are by now. With `queue_requests`, no
    more requests of the account than that may be in progress, unless the create's are the only ones.

    A create of a `job` waits for that of the whole job, and is begun as long as there is room in what was approved.

    No more than `open_approvals` of a team wait at a time. `repeats` tells that a duplicate will be `repeated`.
    `origin` is the call that it is made for.
    """

    again: bool = False
    attach: bool = False
    repeated: bool = False
    caps: tuple[Cap, ...] = ()
    after: int = 0
    unconfirmed: bool = False
    queue_requests: int | None = None
    repeats: bool = False
    approve_over_usd: float | None = None
    approval_id: str | None = None
    open_approvals: int = LIMITS.open_approvals
    origin: Origin | None = None
    job: JobTotal | None = None

    def needs_approval(self, draft: Draft) -> bool:
        """Whether a create, or the job that it is of, may cost more than may be spent without an approval."""
        limit_usd = self.approve_over_usd
        estimate_usd = draft.estimate_usd if self.job is None else self.job.estimate_usd
        return limit_usd is not None and (estimate_usd is None or estimate_usd > limit_usd)


@dataclass(frozen=True, slots=True)
class JobTotal:
    """All that a job is to send: so many `requests` in so many `batches`, for these models.

    `estimate_usd` is the most they may cost, None when that is not known. `source` names the job's input.
    """

    id: str
    requests: int
    batches: int
    estimate_usd: float | None
    source: str
    label: str | None = None
    models: str = ""


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
class Changed:
    """The source has changed since a part of it was sent; `entry` is the latest of those."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class OverCap:
    """It might cost more than is left of the cap.

    `spent_usd` is what the cap's window came to, or `unknown` a create in it whose cost nobody knows.
    """

    cap: Cap
    spent_usd: float = 0.0
    unknown: Entry | None = None


@dataclass(frozen=True, slots=True)
class QueueFull:
    """With the create, more requests would be in progress than may be; `requests` are."""

    requests: int


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """Nothing stands against the create but that the user has not been asked."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The create waits for an approval, or, when that was denied, is notified of it once."""

    approval: Approval


@dataclass(frozen=True, slots=True)
class TooManyWaiting:
    """The create needs an approval, and so many of its team wait for one already that no more may."""

    waiting: int


Claim = Begun | Unconfirmed | Waiting | Busy | Unsettled | Made | Changed | OverCap | QueueFull | TooManyWaiting
