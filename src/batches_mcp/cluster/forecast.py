"""What a job may cost and how long it may take, from its plans or those of a sample. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from batches_mcp.cluster.plan import PartPlan, ShardPlan

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
    requests = sum(part.requests for part in parts)
    fills = math.ceil(requests / queue_requests)
    return Forecast(
        requests,
        len(parts),
        _sum(parts, "input_tokens"),
        _sum(parts, "max_output_tokens"),
        _usd(parts, "low"),
        _usd(parts, "high"),
        fills * _USUAL_H,
        fills * _MOST_H,
        tuple(sorted({model for part in parts for model in part.estimate["unknown_models"]})),
        tuple(dict.fromkeys(each["reason"] for part in parts for each in part.estimate["unbounded"])),
    )


def _sum(parts: Iterable[PartPlan], name: str) -> int:
    return sum(part.estimate[name] for part in parts)


def _usd(parts: Sequence[PartPlan], bound: str) -> float | None:
    """The sum of a bound: the low one leaves out what has no price, the high one is not known then."""
    amounts: list[Any] = [part.estimate["cost_usd"][bound] for part in parts]
    known = [Decimal(str(each)) for each in amounts if each is not None]
    if len(known) < len(amounts) and (bound == "high" or not known):
        return None
    return round(float(sum(known, Decimal(0))), 6)
