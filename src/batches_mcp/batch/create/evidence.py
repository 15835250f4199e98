"""What can be told of a create that was not answered, from what the upstream shows afterwards. Pure.

The API has no way to ask for "the batch of this request": https://platform.claude.com/docs/en/api/creating-message-batches
knows no idempotency key. What is left is its size, its time, and the custom_ids of its results once there are any.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batches_mcp.batch.facts import counts, time_s, upstream_now_s
from batches_mcp.errors import CallError, Retry, UnusableAnswer, UpstreamUnreachable

Batch = Mapping[str, Any]

# `Date` has whole seconds, and what says it need not be the machine that dates the batches.
_SLACK_S = 60.0
# Between processes only the time of day is known, which may have been set in between.
_WALL_SLACK_S = 3_600.0
_DAY_S = 86_400.0


def maybe_accepted(error: CallError) -> bool:
    """Whether a create that ended so may have made a batch all the same."""
    if isinstance(error, UpstreamUnreachable):
        return error.maybe_accepted
    # A success that cannot be read is a success.
    return isinstance(error, UnusableAnswer) or error.report.retry is Retry.UNSAFE


def since_s(date: str | None, wall_s: float, elapsed_s: float, *, measured: bool) -> float:
    """The upstream's time (Unix) before which the batch cannot have been made.

    `date` is the `Date` of an answer of just now, `wall_s` our own time of day in case there is none. `elapsed_s` tells
    how long ago the create began: `measured` by a clock that nobody sets, or else taken from the time of day.
    """
    now_s = upstream_now_s(date, wall_s)
    if measured:
        return now_s - elapsed_s - _SLACK_S
    return now_s - (elapsed_s + _WALL_SLACK_S if elapsed_s >= 0 else _DAY_S)


def created_s(batch: Batch) -> float:
    """When a batch was made (Unix time); a time that cannot be read counts as just now."""
    created = time_s(batch, "created_at")
    return float("inf") if created is None else created


def size(batch: Batch) -> int:
    """How many requests a batch has, in whatever state they are."""
    return sum(counts(batch).values())


def candidates(batches: Sequence[Batch], rows: int, oldest_s: float, known: Collection[str]) -> list[Batch]:
    """Those that may be of a create of so many rows: of its size, not older than it, and not known as another's."""
    return [
        batch
        for batch in batches
        if size(batch) == rows and created_s(batch) >= oldest_s and batch.get("id") not in known
    ]


@dataclass(frozen=True, slots=True)
class Adopt:
    """This is the batch, for certain when `confirmed`."""

    batch: Batch
    confirmed: bool


@dataclass(frozen=True, slots=True)
class Several:
    """It may be any of these, or none."""

    batches: Sequence[Batch]


@dataclass(frozen=True, slots=True)
class NoneFound:
    """There is no batch of it."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The list could not be read to where it would have to be."""

    error: CallError


Verdict = Adopt | Several | NoneFound | Unknown


def verdict(ours: Sequence[Batch], possible: Sequence[Batch], rivals: int) -> Verdict:
    """What to make of the candidates.

    `ours` are those whose results have our custom_ids, `possible` those without results as yet. `rivals` is how many
    other creates of the same size are looking for their batch: with any, size alone proves nothing.
    """
    if len(ours) == 1:
        return Adopt(ours[0], confirmed=True)
    if not ours and len(possible) == 1 and not rivals:
        return Adopt(possible[0], confirmed=False)
    found = [*ours, *possible]
    return Several(found) if found else NoneFound()
