"""What can be known of a create that was not answered, from what the upstream shows afterwards. Pure.

The API has no way to ask for "the batch of this request": https://platform.claude.com/docs/en/api/creating-message-batches
knows no idempotency key. A batch of the right size that is newer than the create's beginning may be its batch; the
custom_ids of its results, once there are any, prove it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from batches_mcp.api.batch import Batch, Page
from batches_mcp.core.errors import CallError, Retry, UnusableAnswer, UpstreamUnreachable
from batches_mcp.exchange.failure import time_of
from batches_mcp.store.claim_rules import Baseline
from batches_mcp.store.entry import Entry

# What is newer cannot be seen in the list: then by the time of day, which may be off by so much.
_UNMEASURED_S = 120.0


def maybe_accepted(error: CallError) -> bool:
    """Whether a create that ended so may have made a batch, if its body was sent to the end."""
    if isinstance(error, UpstreamUnreachable):
        return error.maybe_accepted
    # A success that cannot be read is a success.
    return isinstance(error, UnusableAnswer) or error.report.retry is Retry.UNSAFE


def upstream_now_s(date: str | None, wall_s: float) -> float:
    """The time as the upstream has it, by the `Date` of an answer of just now; else `wall_s`, our own."""
    found_s = time_of(date)
    return wall_s if found_s is None else found_s


def baseline(page: Page, wall_s: float) -> Baseline:
    """The upstream as the first page of its list shows it, in an answer of just now; `wall_s` is our own time."""
    now_s = upstream_now_s(page.answer.headers.get("date"), wall_s)
    if not page.complete:
        return unmeasured(now_s)
    if not page.batches:
        return Baseline(now_s)
    newest = page.batches[0]
    return unmeasured(now_s) if newest.created_s is None else Baseline(now_s, newest.created_s, newest.id)


def unmeasured(now_s: float) -> Baseline:
    """The upstream when its list could not be read."""
    return Baseline(now_s, now_s - _UNMEASURED_S)


def created_s(batch: Batch) -> float:
    """When a batch was made (Unix time); a time that cannot be read counts as just now."""
    return float("inf") if batch.created_s is None else batch.created_s


def candidates(batches: Sequence[Batch], entry: Entry, known: Collection[str]) -> list[Batch]:
    """Of batches newer than an entry, those that may be its own: of its size, and not known as another's."""
    return [batch for batch in batches if batch.total == entry.rows and batch.id not in known]


@dataclass(frozen=True, slots=True)
class Adopt:
    """This is the batch: its results have our custom_ids."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class Candidates:
    """It may be any of these, or none."""

    batches: Sequence[Batch]


@dataclass(frozen=True, slots=True)
class InDoubt:
    """None is listed, but one may still come to be for `left_s`."""

    left_s: float


@dataclass(frozen=True, slots=True)
class NoneFound:
    """There is no batch of it, and will be none."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The list could not be read to where it would have to be."""

    error: CallError


Verdict = Adopt | Candidates | InDoubt | NoneFound | Unknown


def verdict(ours: Sequence[Batch], possible: Sequence[Batch], doubt_left_s: float, alike: int = 1) -> Verdict:
    """What to make of the candidates: `ours` have our custom_ids, of `possible` that cannot be seen yet.

    So many unsettled creates are of the same content, `alike`, each of which may have made one of `ours`; which of them
    is whose makes no difference. Batches come newest first.
    """
    if 0 < len(ours) <= alike:
        return Adopt(ours[-1])
    if found := [*ours, *possible]:
        return Candidates(found)
    return InDoubt(doubt_left_s) if doubt_left_s > 0 else NoneFound()
