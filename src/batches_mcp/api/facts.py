"""What an upstream batch says of itself, however it says it. Pure; times are Unix time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from batches_mcp.exchange.failure import time_of

# https://platform.claude.com/docs/en/api/retrieving-message-batches: each request is counted in one of these states.
# What else may be counted one day may count the same requests again.
_STATES = ("processing", "succeeded", "errored", "canceled", "expired")


def time_s(batch: Mapping[str, Any], name: str) -> float | None:
    """One of a batch's times; None when there is none, or none that can be read."""
    text = batch.get(name)
    if not isinstance(text, str):
        return None
    try:
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=time.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        return None


def counts(batch: Mapping[str, Any]) -> dict[str, int]:
    """Its requests by state; together they are all it has. Counts that the API does not document are left out."""
    found = batch.get("request_counts")
    if not isinstance(found, dict):
        return {}
    return {name: number for name in _STATES if type(number := found.get(name)) is int and number >= 0}


def upstream_now_s(date: str | None, wall_s: float) -> float:
    """The time as the upstream has it, by the `Date` of an answer of just now; else `wall_s`, our own."""
    found_s = time_of(date)
    return wall_s if found_s is None else found_s
