"""The life of a batch as a pure function of stored facts and an instant.

Instants are microseconds since 1970-01-01 UTC. A batch's end is fixed when it is created (the natural end) and anew
when it is canceled or made to end; nothing has to happen at the end itself, so nothing has to run or sleep.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum

__all__ = [
    "Batch",
    "Counts",
    "Ending",
    "Fate",
    "Status",
    "Terms",
    "Work",
    "accept",
    "archive",
    "archived_us",
    "cancel",
    "counts_at",
    "end",
    "expire",
    "is_done",
    "status_at",
]

_SECOND_US = 1_000_000
_DAY_US = 86_400 * _SECOND_US

# Documented: a batch that is not done after 24 hours expires; captured: expires_at is created_at + 24 h exactly.
EXPIRES_AFTER_US = _DAY_US
# Documented: results are available for 29 days after created_at (not ended_at).
ARCHIVED_AFTER_US = 29 * _DAY_US
# Captured: about 1 s to 25 s between the cancel call and the end; the sandbox always takes one second.
CANCEL_SETTLES_AFTER_US = _SECOND_US


class Fate(IntEnum):
    """What becomes of one request of a batch; small numbers so that a batch's fates are a byte string."""

    SUCCEEDED = 1
    ERRORED = 2
    CANCELED = 3
    EXPIRED = 4


class Status(StrEnum):
    """`processing_status`. Documented: no failed, expired or canceled status exists for a whole batch."""

    IN_PROGRESS = "in_progress"
    CANCELING = "canceling"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Terms:
    """The headers of a create that decide what its requests may contain."""

    version: str
    betas: frozenset[str]
    user_profile: str | None


@dataclass(frozen=True, slots=True)
class Work:
    """What the requests of a batch come to.

    fates: one `Fate` per request, in processing order: what it gets if it is done at all.
    slow_us: how long a request takes at least, by its index; the others take no time of their own.
    """

    fates: bytes
    slow_us: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Counts:
    """`request_counts` without `processing`."""

    succeeded: int
    errored: int
    canceled: int
    expired: int


@dataclass(frozen=True, slots=True)
class Ending:
    """How a batch ends.

    cut_us: how long after the creation work stopped; what was not done by then gets `rest`. None: all is done.
    """

    at_us: int
    cut_us: int | None
    rest: Fate
    counts: Counts


@dataclass(frozen=True, slots=True)
class Batch:
    """Everything stored about a batch but its requests.

    number: position in the store; never used twice, never shown.
    tenant: hash of the credential that owns it.
    archived_early_us: when its results were taken away before their time.
    """

    number: int
    id: str
    tenant: str
    created_us: int
    process_us: int
    total: int
    terms: Terms
    ending: Ending
    cancel_initiated_us: int | None = None
    archived_early_us: int | None = None

    @property
    def expires_us(self) -> int:
        return self.created_us + EXPIRES_AFTER_US


def accept(
    *, number: int, batch_id: str, tenant: str, created_us: int, process_us: int, work: Work, terms: Terms
) -> Batch:
    """A new batch with its natural end: all done, or expired part-way when that would take over 24 hours."""
    needed_us = max(process_us, *work.slow_us.values(), 0)
    lifetime_us = min(needed_us, EXPIRES_AFTER_US)
    cut_us = None if needed_us == lifetime_us else lifetime_us
    return Batch(
        number=number,
        id=batch_id,
        tenant=tenant,
        created_us=created_us,
        process_us=process_us,
        total=len(work.fates),
        terms=terms,
        ending=_ending(created_us + lifetime_us, work, process_us, cut_us, Fate.EXPIRED),
    )


def cancel(batch: Batch, work: Work, now_us: int) -> Batch:
    """The batch after a cancel at `now_us`: unchanged unless it was in progress.

    Inferred: a second cancel changes nothing. Documented: requests already processed keep their outcome, so a canceled
    batch may hold results.
    """
    if status_at(batch, now_us) is not Status.IN_PROGRESS:
        return batch
    ends_us = min(now_us + CANCEL_SETTLES_AFTER_US, batch.ending.at_us)
    ending = _ending(ends_us, work, batch.process_us, now_us - batch.created_us, Fate.CANCELED)
    return replace(batch, ending=ending, cancel_initiated_us=now_us)


def end(batch: Batch, work: Work, now_us: int) -> Batch:
    """The batch made to end at `now_us` with all of its work done; one being canceled only skips its settling."""
    match status_at(batch, now_us):
        case Status.IN_PROGRESS:
            return replace(batch, ending=_ending(now_us, work, batch.process_us, None, Fate.EXPIRED))
        case Status.CANCELING:
            return replace(batch, ending=replace(batch.ending, at_us=now_us))
        case Status.ENDED:
            return batch


def expire(batch: Batch, work: Work, now_us: int) -> Batch:
    """The batch made to end at `now_us` as if its time were over; unchanged unless it was in progress.

    `created_at` and `expires_at` stay what they were: they were told to clients already.
    """
    if status_at(batch, now_us) is not Status.IN_PROGRESS:
        return batch
    ending = _ending(now_us, work, batch.process_us, now_us - batch.created_us, Fate.EXPIRED)
    return replace(batch, ending=ending)


def archive(batch: Batch, now_us: int) -> Batch:
    """The batch with its results gone from `now_us` on; unchanged unless it has ended and still had them."""
    if status_at(batch, now_us) is not Status.ENDED or archived_us(batch, now_us) is not None:
        return batch
    return replace(batch, archived_early_us=now_us)


def status_at(batch: Batch, now_us: int) -> Status:
    """The status of a batch at an instant."""
    if now_us >= batch.ending.at_us:
        return Status.ENDED
    return Status.IN_PROGRESS if batch.cancel_initiated_us is None else Status.CANCELING


def archived_us(batch: Batch, now_us: int) -> int | None:
    """When the results became unavailable; None while they still are, or are yet to come."""
    if batch.archived_early_us is not None:
        return batch.archived_early_us
    archive_us = batch.created_us + ARCHIVED_AFTER_US
    return archive_us if now_us >= archive_us else None


def is_done(batch: Batch, index: int, slow_us: int) -> bool:
    """Whether a request of an ended batch was done before work stopped."""
    cut_us = batch.ending.cut_us
    return cut_us is None or (index < _in_turn(batch.total, batch.process_us, cut_us) and slow_us <= cut_us)


def counts_at(batch: Batch, work: Work, now_us: int) -> Counts:
    """What is done at an instant before the end."""
    elapsed_us = now_us - batch.created_us
    if batch.ending.cut_us is not None:
        elapsed_us = min(elapsed_us, batch.ending.cut_us)
    return _counts(work, batch.process_us, elapsed_us, None)


def _in_turn(total: int, process_us: int, elapsed_us: int) -> int:
    """How many requests had their turn after `elapsed_us`, progress being linear."""
    if elapsed_us >= process_us:
        return total
    return total * max(elapsed_us, 0) // process_us


def _ending(at_us: int, work: Work, process_us: int, cut_us: int | None, rest: Fate) -> Ending:
    return Ending(at_us, cut_us, rest, _counts(work, process_us, cut_us, rest))


def _counts(work: Work, process_us: int, cut_us: int | None, rest: Fate | None) -> Counts:
    total = len(work.fates)
    in_turn = total if cut_us is None else _in_turn(total, process_us, cut_us)
    totals = {fate: work.fates.count(fate, 0, in_turn) for fate in Fate}
    left = total - in_turn
    if cut_us is not None:
        for index, slow_us in work.slow_us.items():
            if index < in_turn and slow_us > cut_us:
                totals[Fate(work.fates[index])] -= 1
                left += 1
    if rest is not None:
        totals[rest] += left
    return Counts(totals[Fate.SUCCEEDED], totals[Fate.ERRORED], totals[Fate.CANCELED], totals[Fate.EXPIRED])
