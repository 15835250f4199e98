"""A batch that has ended: what must be known before its results are asked for, or shown from a copy. Pure.

Retrieving it with the current key comes first, always: it says that the key may see the batch, and how many rows there
are to be.
"""

from __future__ import annotations

from dataclasses import dataclass

from batches_mcp.api.batch import RESULTS_KEPT_S, Batch
from batches_mcp.core.errors import CallError, ErrorReport, Retry, UnusableAnswer
from batches_mcp.core.redact import excerpt
from batches_mcp.exchange.failure import retry_after_s, time_of
from batches_mcp.exchange.result import Answer

# Right after the end, the results of some batches were answered 404:
# https://github.com/anthropics/anthropic-sdk-python/issues/1432
_SETTLING_S = 60.0
# The upstream's own hint is 10 s; most batches take minutes, and every look costs an agent a turn.
_ASK_AGAIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Ended:
    """A batch that has ended. `settling` tells that its results may not be there yet; `old`, that they may be gone.

    `upstream_s` is when that was so by the upstream's clock (Unix time), if it said so.
    """

    id: str
    batch: Batch
    settling: bool
    old: bool
    upstream_s: float | None

    @property
    def total(self) -> int:
        """How many rows its results have."""
        return self.batch.total


def ended(batch_id: str, batch: Batch, answer: Answer, *, fresh: bool, wall_s: float) -> Ended:
    """The batch as an `answer` of just now shows it; `fresh` if it may have been created a moment ago.

    Raises:
        CallError: it has not ended, or its results are gone.
    """
    if not batch.ended:
        raise _not_ended(batch_id, batch, answer)
    upstream_s = time_of(answer.headers.get("date"))
    now_s = wall_s if upstream_s is None else upstream_s
    if batch.archived:
        raise _gone(batch_id)
    if not batch.counts:
        message = "the batch has ended, and its request_counts, which say how many results there are, cannot be read."
        raise UnusableAnswer(ErrorReport("unusable_answer", message, "Tell the user: that is not the API."))
    old = batch.created_s is not None and now_s - batch.created_s > RESULTS_KEPT_S
    just_ended = batch.ended_s is not None and abs(now_s - batch.ended_s) < _SETTLING_S
    return Ended(batch_id, batch, fresh or just_ended, old, upstream_s)


def none_there(batch: Ended) -> CallError:
    """The error for an ended batch of which the upstream has no results."""
    if batch.old:
        return _gone(batch.id)
    return CallError(
        ErrorReport(
            "results_gone",
            f"batch {excerpt(batch.id, 100)} has ended, but the upstream has no results of it.",
            "If it has ended just now, call again in a minute. Else they were deleted.",
            Retry.HELPS,
            retry_after_s=_ASK_AGAIN_S,
            status=404,
        )
    )


def _gone(batch_id: str) -> CallError:
    message = (
        f"the results of batch {excerpt(batch_id, 100)} are gone: they are removed 29 days after a batch was created."
    )
    return CallError(ErrorReport("results_gone", message, "Tell the user; the requests would have to be sent anew."))


def _not_ended(batch_id: str, batch: Batch, answer: Answer) -> CallError:
    status = excerpt(batch.status, 40)
    wait_s = retry_after_s(answer.headers) or _ASK_AGAIN_S
    return CallError(
        ErrorReport(
            "batch_not_ended",
            f"batch {excerpt(batch_id, 100)} has no results before it ends; its processing_status is {status}.",
            f"Look at its state again in {wait_s:.10g} s at the earliest, and get the results once it says ended. "
            "Most batches take minutes to an hour: rather tell the user, and come back later, than ask in a loop.",
            Retry.HELPS,
            retry_after_s=wait_s,
        )
    )
