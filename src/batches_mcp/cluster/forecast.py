"""What a job may cost and how long it may take, from its plans. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from batches_mcp.cluster.plan import ShardPlan
from batches_mcp.requests.cost import together

# Most batches end within an hour, and all within a day:
# https://platform.claude.com/docs/en/build-with-claude/batch-processing
_USUAL_H, _MOST_H = 1, 24


class Forecast(msgspec.Struct, frozen=True):
    """An estimate: dollars as of `requests.cost.estimate`, and the hours that batches take one queue after the other.

    `low_usd` is None when no price is known, `high_usd` when one is not (`unknown_models`) or when requests ask for
    something that has no limit (`unbounded` says what).
    """

    requests: int
    batches: int
    input_tokens: int
    max_output_tokens: int
    low_usd: float | None
    high_usd: float | None
    usual_hours: int
    most_hours: int
    unknown_models: tuple[str, ...] = ()
    unbounded: tuple[str, ...] = ()


def forecast(plans: Sequence[ShardPlan], queue_requests: int) -> Forecast:
    """The estimate of an input; at most `queue_requests` wait in the API at a time."""
    parts = [part for plan in plans for part in plan.parts if part.requests]
    found = together(part.estimate for part in parts)
    requests = sum(part.requests for part in parts)
    fills = math.ceil(requests / queue_requests)
    return Forecast(
        requests,
        len(parts),
        found["input_tokens"],
        found["max_output_tokens"],
        found["cost_usd"]["low"],
        found["cost_usd"]["high"],
        fills * _USUAL_H,
        fills * _MOST_H,
        tuple(found["unknown_models"]),
        tuple(each["reason"] for each in found["unbounded"]),
    )
