"""What an upstream batch says of itself, however it says it. Pure; times are Unix time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from batches_mcp.failure import time_of


def time_s(batch: Mapping[str, Any], name: str) -> float | None:
    """One of a batch's times; None when there is none, or none that can be read."""
    try:
        time = datetime.fromisoformat(str(batch.get(name)))
    except ValueError:
        return None
    return time.replace(tzinfo=time.tzinfo or UTC).timestamp()


# https://platform.claude.com/docs/en/api/retrieving-message-batches: together they are all the requests of a batch.
# What else may be counted one day may count the same requests again.
STATES = ("processing", "succeeded", "errored", "canceled", "expired")


def counts(batch: Mapping[str, Any]) -> dict[str, int]:
    """Its requests by state; together they are all it has."""
    found = batch.get("request_counts")
    if not isinstance(found, dict):
        return {}
    return {name: found[name] for name in STATES if isinstance(found.get(name), int)}


def upstream_now_s(date: str | None, wall_s: float) -> float:
    """The time as the upstream has it, by the `Date` of an answer of just now; else `wall_s`, our own."""
    found_s = time_of(date)
    return wall_s if found_s is None else found_s
