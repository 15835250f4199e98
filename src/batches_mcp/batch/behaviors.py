"""The one table: a behaviour's name in the capability file -> the code around the plain forward."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from batches_mcp.batch import listing
from batches_mcp.forward import Forward
from batches_mcp.plan import ToolPlan

Behavior = Callable[[Forward, ToolPlan, Mapping[str, Any]], Awaitable[dict[str, Any]]]
"""Answers one call whose arguments fit the tool's schema; raises CallError."""

BEHAVIORS: Mapping[str, Behavior] = {"list": listing.page}
