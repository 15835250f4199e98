"""A job: the requests of one input, in as many batches as they need, and what is to be done next for it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from batches_mcp.work.retryable import PASSING, kind_of

# The API ends every batch by then: https://platform.claude.com/docs/en/build-with-claude/batch-processing
_LONGEST_BATCH_S = 86_400.0

Kind = tuple[str, str | None]
"""The type of a row, with the type of its error or its stop_reason."""


class JobPart(msgspec.Struct, frozen=True):
    """What one batch takes, as `work.intake.Body` has it; `name` is that of its copy."""

    content: str
    rows: int
    body_bytes: int
    estimate: dict[str, Any]
    name: str


class Job(msgspec.Struct, frozen=True):
    """A job as it was cut. `id` stands for its input and all that decides what is made of it; `rows` are those sent.

    `known` counts the rows that were answered before, by the batch that has the answer. `models` are those that
    requests name, with their number; a trial is of the first of `source_rows`.
    """

    id: str
    source: str
    left_out: int
    parts: list[JobPart]
    rows_bytes: int
    known: dict[str, int] = {}
    models: dict[str, int] = {}
    source_rows: int | None = None

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    @property
    def known_rows(self) -> int:
        return sum(self.known.values())

    @property
    def trial_of(self) -> int | None:
        """How many rows the input has, if the job is a trial of the first of them."""
        whole = self.source_rows is None or self.source_rows <= self.rows + self.known_rows + self.left_out
        return None if whole else self.source_rows


class InputRow(msgspec.Struct, frozen=True, array_like=True):
    """A row of a job: which of its input, from 0; and where its answer is, when it was answered before."""

    custom_id: str
    index: int
    batch_id: str | None = None
    answered_as: str | None = None


class LeftOutRow(msgspec.Struct, frozen=True, array_like=True):
    """A row of an input that has errors and is in no part: which, from 0, and what is wrong, with its place."""

    index: int
    message: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """A batch of a part: the first one has all of its rows, each other those that were to be sent again.

    `retryable` is how many rows of the part are then still to be sent again; None until its results are on disk. `lost`
    is the type of the error for which results of it will never come. `created_s` is when it was created, a Unix time of
    the upstream's, once that is known. One that is `earlier` was made before this run, and is none of its retries.
    """

    batch_id: str
    rows: int
    ended: bool = False
    retryable: int | None = None
    lost: str | None = None
    created_s: float | None = None
    earlier: bool = False

    @property
    def saved(self) -> bool:
        return self.retryable is not None


@dataclass(frozen=True, slots=True)
class PartState:
    """Where a part of a job stands."""

    attempts: tuple[Attempt, ...] = ()

    @property
    def open(self) -> bool:
        """Whether a batch of it is in progress, as far as is known."""
        return bool(self.attempts) and not self.attempts[-1].ended

    @property
    def retries(self) -> int:
        """How often rows of it were sent again."""
        return sum(not each.earlier for each in self.attempts[1:])

    @property
    def done_rows(self) -> int:
        """How many of its rows have an outcome, be it one that a retry may change."""
        first, *others = self.attempts or (Attempt("", 0),)
        if not first.ended:
            return 0
        return first.rows - sum(each.rows for each in others if not each.ended)

    @property
    def missing(self) -> str:
        """Why a row of it has no result, in one word that stays."""
        if not self.attempts:
            return "no_batch"
        if lost := next((each.lost for each in self.attempts if each.lost), None):
            return lost
        if self.open:
            return "in_progress"
        return "results_incomplete" if self.attempts[-1].saved else "not_fetched"

    def with_last(self, **changes: Any) -> PartState:
        """The same with its latest batch changed."""
        return PartState((*self.attempts[:-1], replace(self.attempts[-1], **changes)))


@dataclass(frozen=True, slots=True)
class Submit:
    """Send the part with this number, from 0: all of it, or `again`, the rows of its latest batch that may be."""

    part: int
    again: bool


@dataclass(frozen=True, slots=True)
class Save:
    """Get the results of the latest batch of a part."""

    part: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can be done before a batch ends, or a create is taken."""


@dataclass(frozen=True, slots=True)
class Done:
    """Every row has its last outcome, and is on disk."""


def next_step(parts: Sequence[PartState], max_open: int, retries: int) -> Submit | Save | Wait | Done:
    """What is to be done next: get what has ended, else fill the room, whole parts before rows sent again."""
    for number, part in enumerate(parts):
        if part.attempts and part.attempts[-1].ended and not part.attempts[-1].saved:
            return Save(number)
    unsent = [number for number, part in enumerate(parts) if not part.attempts]
    failed = [
        number
        for number, part in enumerate(parts)
        if part.attempts and part.attempts[-1].retryable and part.retries < retries
    ]
    in_flight = sum(part.open for part in parts)
    if (unsent or failed) and in_flight < max_open:
        return Submit(unsent[0], again=False) if unsent else Submit(failed[0], again=True)
    return Wait() if unsent or failed or in_flight else Done()


def began_s(parts: Sequence[PartState]) -> float | None:
    """When the first batch of a job was created, in this run or an earlier one; None as long as none is known."""
    known = [each.created_s for part in parts for each in part.attempts if each.created_s is not None]
    return min(known, default=None)


def deadline_s(parts: Sequence[PartState]) -> float | None:
    """When the last batch that is in progress ends at the latest; None when there is none of which that is known."""
    known = [part.attempts[-1].created_s for part in parts if part.open]
    return max((created_s + _LONGEST_BATCH_S for created_s in known if created_s is not None), default=None)


def retryable(kind: Kind) -> bool:
    """Whether a row of this kind is sent again: what was not done, through no fault of the request."""
    return kind_of(*kind, "") in PASSING
