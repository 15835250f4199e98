"""What a whole batch came to, and what is to be done about it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batches_mcp.api.batch import Batch
from batches_mcp.api.outcomes import unfinished_of
from batches_mcp.core.text import count
from batches_mcp.work.retryable import PASSING, kind_of

if TYPE_CHECKING:
    from batches_mcp.store.spool import Spool

_MOST_FAILURES = 20
# Attention is named as in `needs_attention` of a row.
_ATTENTION = {"truncated": "truncated", "refusal": "refused", "paused": "paused"}


@dataclass(frozen=True, slots=True)
class Totals:
    """All rows of a batch. `retryable` failed for a passing reason; `low_credit` are some of those that `need_fixing`.

    `failures` are `{type, message, count, custom_id, retryable}`, that of most rows first; `more` counts the rows of
    the others.
    """

    attention: Mapping[str, int]
    failures: Sequence[Mapping[str, Any]]
    more: int
    retryable: int
    need_fixing: int
    low_credit: int

    @classmethod
    def of(cls, spool: Spool) -> Totals:
        """The totals of a spool that holds every row."""
        unfinished = Counter[str]()
        for row_kind, number in spool.by_kind.items():
            unfinished[unfinished_of(row_kind) or ""] += number
        kinds = Counter[str]()
        failures: list[dict[str, Any]] = []
        for cause in spool.head.causes:
            outcome = "expired" if cause.type == "expired" else "errored"
            kind = kind_of(outcome, cause.type, cause.message) or ""
            kinds[kind] += cause.count
            failures.append(
                {
                    "type": cause.type,
                    "message": cause.message,
                    "count": cause.count,
                    "custom_id": cause.custom_id,
                    "retryable": kind in PASSING,
                }
            )
        retryable = sum(kinds[kind] for kind in PASSING)
        return cls(
            attention={shown: unfinished[name] for shown, name in _ATTENTION.items()},
            failures=failures[:_MOST_FAILURES],
            more=sum(each["count"] for each in failures[_MOST_FAILURES:]),
            retryable=retryable,
            need_fixing=kinds.total() - retryable,
            low_credit=kinds["billing"],
        )

    def counts(self) -> dict[str, Any]:
        """What the counts of an answer say of them."""
        more = {"failures_not_shown": self.more} if self.more else {}
        return {"failures": list(self.failures), **more, "attention": dict(self.attention)}


def advice(batch: Batch, totals: Totals, *, ours: bool, retries: Sequence[str]) -> str:
    """What to do about the rows of a batch that are not done, with the calls that do it; empty when all are done.

    A retry needs the requests, which are kept of `ours` only; `retries` are the batches that sent some of them again.
    """
    said: list[str] = []
    if totals.retryable:
        how = (
            f"create with retry_of {batch.id}"
            if ours
            else "create a batch of their original requests, whose custom_ids result_types [errored, expired] gives"
        )
        said.append(f"{totals.retryable:,} can be sent again: {how}.")
    if retries:
        said.append(f"Rows of it were sent again already, as {', '.join(retries)}: look at the results of that first.")
    if totals.need_fixing:
        need = count(totals.need_fixing, "needs", "need")
        said.append(f"{need} fixing first: counts.failures of the results says why.")
    if totals.low_credit:
        again = ": with credit, retry_types [billing] sends them again" if ours else ""
        said.append(f"{totals.low_credit:,} of these failed because the credit is used up{again}.")
    truncated, refused, paused = totals.attention.values()
    if truncated:
        again = "retry_types [truncated] with a higher retry_max_tokens" if ours else "a higher max_tokens"
        said.append(f"{_was(truncated)} truncated: {again} gives whole answers.")
    if refused:
        said.append(f"{_was(refused)} refused (result_types [refused]).")
    if paused:
        said.append(f"{_was(paused)} paused (result_types [paused]): the answer goes on when it is sent back.")
    if canceled := batch.counts.get("canceled", 0):
        again = " Only if the user wants them after all: retry_types [canceled]." if ours else ""
        said.append(f"{_was(canceled)} canceled.{again}")
    return " ".join(said)


def billed(batch: Batch, cost_usd: float | None) -> dict[str, Any]:
    """What of a canceled batch is billed, as `{billed: {requests, cost_usd?}}`; nothing of any other batch."""
    if not batch.was_canceled:
        return {}
    cost = {} if cost_usd is None else {"cost_usd": cost_usd}
    return {"billed": {"requests": batch.counts.get("succeeded", 0), **cost}}


def billed_words(batch: Batch) -> str:
    """The same in words."""
    if not batch.was_canceled:
        return ""
    succeeded = batch.counts.get("succeeded", 0)
    are = "is" if succeeded == 1 else "are"
    return (
        f"It was canceled: {succeeded:,} of its {batch.total:,} requests succeeded and {are} billed; the others cost "
        "nothing."
    )


def _was(number: int) -> str:
    return count(number, "was", "were")
