"""Which batch an answer is about, so that it can link to what else there is to read of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batches_mcp.api.operations import BATCH_ID

_STATE = "message_batch"


def nothing(_: Mapping[str, Any]) -> None:
    return None


def batch(content: Mapping[str, Any]) -> Mapping[str, str] | None:
    """The batch whose state an answer is."""
    named = content.get("id") if content.get("type") == _STATE else None
    return {BATCH_ID: named} if isinstance(named, str) and named else None


def results(content: Mapping[str, Any]) -> Mapping[str, str] | None:
    """The same, once there are results to read."""
    return batch(content) if content.get("results_url") is not None else None
