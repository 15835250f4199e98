"""What may become of a request: the types of results, and what a row that succeeded may still need. Pure."""

from __future__ import annotations

from collections.abc import Collection

OUTCOMES = ("succeeded", "errored", "canceled", "expired")

# Succeeded is not finished: https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons
UNFINISHED = {
    "max_tokens": "truncated",
    "model_context_window_exceeded": "truncated",
    "refusal": "refused",
    "pause_turn": "paused",
}
"""What a row that succeeded and yet is not finished is called, by its stop_reason."""

RESULT_TYPES = (*OUTCOMES, *dict.fromkeys(UNFINISHED.values()))


def is_one_of(kind: tuple[str, str | None], types: Collection[str]) -> bool:
    """Whether a row, by its type and the type of its error or its stop_reason, is of one of these RESULT_TYPES.

    Every row is when none is named. One that is not finished is of two types.
    """
    return not types or kind[0] in types or unfinished_of(kind) in types


def unfinished_of(kind: tuple[str, str | None]) -> str | None:
    """Truncated, refused or paused for a row that is; None for any other."""
    outcome, detail = kind
    return UNFINISHED.get(detail or "") if outcome == "succeeded" else None
