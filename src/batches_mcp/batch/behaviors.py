"""The one table: a behaviour's name in the capability file -> the code around the plain forward, and what it adds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from batches_mcp.batch import listing
from batches_mcp.forward import Forward
from batches_mcp.plan import Contribution, ToolPlan

Answerer = Callable[[Forward, ToolPlan, Mapping[str, Any]], Awaitable[dict[str, Any]]]
"""Answers one call whose arguments fit the tool's schema; raises CallError."""


@dataclass(frozen=True, slots=True)
class Behavior:
    """A behaviour: how a call is answered, and what the tool's input schema gets from it."""

    answer: Answerer
    adds: Contribution = Contribution({})


# A source of 100 GB; beyond that a number is a mistake.
MAX_PARTS = 1_000

_SUBMIT_ADDS = Contribution(
    arguments={
        "dry_run": {
            "type": "boolean",
            "default": False,
            "description": "Check the requests and say what they would make, without sending anything.",
        },
        "skip_invalid": {
            "type": "boolean",
            "default": False,
            "description": "Send the requests without errors and leave the others out, which are named in the answer.",
        },
        "part": {
            "type": "integer",
            "minimum": 1,
            "maximum": MAX_PARTS,
            "description": "Which part to send, from 1, when one batch cannot hold them all; dry_run counts the parts.",
        },
    },
    checked_by_behavior=frozenset({"requests"}),
)


async def _submit(forward: Forward, tool: ToolPlan, arguments: Mapping[str, Any]) -> dict[str, Any]:
    from batches_mcp.batch import submit  # brings msgspec, which only creates need

    return await submit.create(forward, tool, arguments)


BEHAVIORS: Mapping[str, Behavior] = {
    "list": Behavior(listing.page),
    "submit": Behavior(_submit, _SUBMIT_ADDS),
}

CONTRIBUTIONS: Mapping[str, Contribution] = {name: behavior.adds for name, behavior in BEHAVIORS.items()}
