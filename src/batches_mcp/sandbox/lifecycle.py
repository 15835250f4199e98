"""The life of a batch as a pure function of stored facts and an instant.

Instants are microseconds since 1970-01-01 UTC. A batch's end is fixed when it is created (the natural end) and once
more when it is canceled; nothing has to happen at the end itself, so nothing has to run or sleep.
"""

from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum

__all__ = ["Batch", "Counts", "Ending", "Fate", "Status", "Terms", "accept", "archived_us", "cancel", "status_at"]

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
class Counts:
    """The final `request_counts`, without `processing`."""

    succeeded: int
    errored: int
    canceled: int
    expired: int


@dataclass(frozen=True, slots=True)
class Ending:
    """How a batch ends: the first `processed` requests get their own fate, all others get `rest`."""

    at_us: int
    processed: int
    rest: Fate
    counts: Counts


@dataclass(frozen=True, slots=True)
class Batch:
    """Everything stored about a batch but its requests.

    number: position in the store; never used twice, never shown.
    tenant: hash of the credential that owns it.
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

    @property
    def expires_us(self) -> int:
        return self.created_us + EXPIRES_AFTER_US


def accept(
    *,
    number: int,
    batch_id: str,
    tenant: str,
    created_us: int,
    process_us: int,
    fates: bytes,
    terms: Terms,
) -> Batch:
    """A new batch with its natural end: all processed, or expired part-way when that would take over 24 hours.

    `fates` holds one `Fate` per request, in processing order: what it gets if it is processed at all.
    """
    lifetime_us = min(process_us, EXPIRES_AFTER_US)
    processed = _processed(len(fates), process_us, lifetime_us)
    return Batch(
        number=number,
        id=batch_id,
        tenant=tenant,
        created_us=created_us,
        process_us=process_us,
        total=len(fates),
        terms=terms,
        ending=_ending(created_us + lifetime_us, fates, processed, Fate.EXPIRED),
    )


def cancel(batch: Batch, fates: bytes, now_us: int) -> Batch:
    """The batch after a cancel at `now_us`: unchanged unless it was in progress.

    Inferred: a second cancel changes nothing. Documented: requests already processed keep their outcome, so a canceled
    batch may hold results.
    """
    if status_at(batch, now_us) is not Status.IN_PROGRESS:
        return batch
    processed = min(_processed(batch.total, batch.process_us, now_us - batch.created_us), batch.ending.processed)
    ends_us = min(now_us + CANCEL_SETTLES_AFTER_US, batch.ending.at_us)
    return replace(batch, ending=_ending(ends_us, fates, processed, Fate.CANCELED), cancel_initiated_us=now_us)


def status_at(batch: Batch, now_us: int) -> Status:
    """The status of a batch at an instant."""
    if now_us >= batch.ending.at_us:
        return Status.ENDED
    return Status.IN_PROGRESS if batch.cancel_initiated_us is None else Status.CANCELING


def archived_us(batch: Batch, now_us: int) -> int | None:
    """When the results became unavailable; None while they still are, or are yet to come."""
    archive_us = batch.created_us + ARCHIVED_AFTER_US
    return archive_us if now_us >= archive_us else None


def _processed(total: int, process_us: int, elapsed_us: int) -> int:
    """How many requests are done after `elapsed_us`, progress being linear."""
    if elapsed_us >= process_us:
        return total
    return total * max(elapsed_us, 0) // process_us


def _ending(at_us: int, fates: bytes, processed: int, rest: Fate) -> Ending:
    done = fates[:processed]
    left = len(fates) - processed
    totals = {fate: done.count(fate) + (left if fate is rest else 0) for fate in Fate}
    return Ending(
        at_us,
        processed,
        rest,
        Counts(totals[Fate.SUCCEEDED], totals[Fate.ERRORED], totals[Fate.CANCELED], totals[Fate.EXPIRED]),
    )
