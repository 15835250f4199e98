"""A batch that has ended: what must be known before its results are asked for, or shown from a copy.

Retrieving it with the current key comes first, always: it says that the key may see the batch, and how many rows there
are to be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batches_mcp.api.account import Desk
from batches_mcp.api.facts import counts, time_s
from batches_mcp.api.siblings import BATCH_ID, Siblings
from batches_mcp.core.errors import CallError, ErrorReport, Retry, UnusableAnswer
from batches_mcp.core.plan import ToolPlan
from batches_mcp.core.redact import excerpt
from batches_mcp.exchange import result
from batches_mcp.exchange.failure import retry_after_s, time_of
from batches_mcp.exchange.result import Answer

# https://platform.claude.com/docs/en/build-with-claude/batch-processing: results stay for 29 days after creation.
_KEPT_S = 29 * 86_400.0
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
    counts: Mapping[str, int]
    settling: bool
    old: bool
    upstream_s: float | None
    shown: Mapping[str, Any]

    @property
    def total(self) -> int:
        """How many rows its results have."""
        return sum(self.counts.values())


async def ended(desk: Desk, tool: ToolPlan, batch_id: str) -> Ended:
    """The batch, retrieved with the current key.

    Raises:
        CallError: it has not ended, its results are gone, or it cannot be retrieved.
    """
    retrieve, arguments = Siblings(tool).retrieve, {BATCH_ID: batch_id}
    fresh = desk.forward.recent.settling(retrieve.request, arguments, desk.forward.upstream.clock.now_s())
    answer = await desk.forward.answer(retrieve, arguments)
    batch = result.whole(retrieve.result, answer)
    if batch.get("processing_status") != "ended":
        raise _not_ended(batch_id, batch, answer)
    upstream_s = time_of(answer.headers.get("date"))
    now_s = desk.forward.upstream.clock.wall_s() if upstream_s is None else upstream_s
    created_s, over_s = time_s(batch, "created_at"), time_s(batch, "ended_at")
    old = created_s is not None and now_s - created_s > _KEPT_S
    if batch.get("archived_at"):
        raise _gone(batch_id)
    by_state = counts(batch)
    if not by_state:
        message = "the batch has ended, and its request_counts, which say how many results there are, cannot be read."
        raise UnusableAnswer(ErrorReport("unusable_answer", message, "Tell the user: that is not the API."))
    just_ended = over_s is not None and abs(now_s - over_s) < _SETTLING_S
    return Ended(batch_id, by_state, fresh or just_ended, old, upstream_s, batch)


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


def _not_ended(batch_id: str, batch: Mapping[str, Any], answer: Answer) -> CallError:
    status = excerpt(str(batch.get("processing_status")), 40)
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
