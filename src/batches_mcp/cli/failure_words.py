"""What is said of the rows that failed, and of the answers that are not finished, by their causes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batches_mcp.core.redact import excerpt
from batches_mcp.core.text import count
from batches_mcp.work.retryable import PASSING

_MOST_CAUSES = 5
_MOST_MESSAGE_CHARS = 90

# By stop_reason: https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons
_STOPPED = {
    "max_tokens": ("was cut at max_tokens", "were cut at max_tokens"),
    "model_context_window_exceeded": ("was cut at the context window", "were cut at the context window"),
    "refusal": ("was refused", "were refused"),
    "pause_turn": ("was paused", "were paused"),
}


def failed(report: Mapping[str, Any]) -> str:
    """How many rows failed, and why, the largest causes first; empty when none did."""
    rows = report["rows"] - report["outcomes"]["succeeded"]
    if not rows:
        return ""
    canceled = report["outcomes"]["canceled"]
    causes = [(each["rows"], _cause(each)) for each in report["causes"]] + (
        [(canceled, "canceled")] if canceled else []
    )
    causes.sort(key=lambda cause: -cause[0])
    named = [f"{number:,} {words}" for number, words in causes[:_MOST_CAUSES]]
    rest = rows - sum(number for number, _ in causes[:_MOST_CAUSES])
    return f"{count(rows, 'row')}: {', '.join([*named, *([f'{rest:,} for other causes'] if rest else [])])}"


def unfinished(report: Mapping[str, Any]) -> str:
    """How many answers stopped before their end, and why; empty when none did."""
    stopped = sorted(report["stopped_early"].items(), key=lambda each: -each[1])
    named = []
    for place, (reason, number) in enumerate(stopped):
        words = _STOPPED.get(reason, (f"stopped with {reason}",) * 2)[number != 1]
        named.append(f"{number:,} {words}" if place else f"{count(number, 'answer')} {words}")
    return ", ".join(named)


def out_of_credit(rows: int) -> str:
    """What to do about rows that failed because credit had run out."""
    return (
        f"{count(rows, 'row')} failed because credit had run out: add credit, then give the same command with "
        "--retry-types billing."
    )


def _cause(cause: Mapping[str, Any]) -> str:
    name = str(cause["type"])
    # The type of what passes says it all.
    return name if name in PASSING else f"{name} ({excerpt(cause['message'], _MOST_MESSAGE_CHARS)})"
