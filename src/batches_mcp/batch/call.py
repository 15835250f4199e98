"""One call of a tool whose operation has a behaviour."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from batches_mcp.forward import Forward
from batches_mcp.plan import ToolPlan

Progress = Callable[[float, float, str], Awaitable[None]]
"""Tells the caller how far a call is: done, of all, in words. Silent for callers that did not ask."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a behaviour answers: arguments that fit the tool's schema, and the means to answer with."""

    forward: Forward
    tool: ToolPlan
    arguments: Mapping[str, Any]
    progress: Progress
