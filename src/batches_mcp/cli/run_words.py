"""What a run says of what it has not done, and how to go on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from batches_mcp.cli.display import count
from batches_mcp.job.asking import GONE, INCOMPLETE
from batches_mcp.job.steps import Part

_RESUME = "To resume, give the same command again."


def why_unknown(cost: Mapping[str, Any]) -> str:
    """Why the highest cost of an estimate is not known."""
    models = cost["unknown_models"]
    named = [f"the price of {', '.join(models)} is not known"] if models else []
    return "; ".join(named + [f"{each['where']} asks for {each['reason']}" for each in cost["unbounded"]])


def missing(report: Mapping[str, Any], parts: Sequence[Part], gave_up_after_s: float | None) -> Iterator[str]:
    """What to know of the rows without a result, and how to go on, in sentences; `report` is that of the job."""
    reasons = report["missing"]["reasons"]
    if gave_up_after_s is not None:
        yield (
            f"Gave up after {gave_up_after_s:g} s: OUT has {count(report['rows'], 'row')}, and "
            f"{report['missing']['rows']:,} of the job are missing; {_going_on(parts)} {_RESUME}"
        )
    if lost := reasons.get(GONE):
        yield (
            f"The results of {count(lost, 'row')} are gone: the API keeps them for 29 days, or until they are deleted. "
            "--fresh sends all rows of the job again, these as well, and they are paid again."
        )
    if incomplete := reasons.get(INCOMPLETE):
        yield (
            f"The results of {count(incomplete, 'row')} did not come, however often they were asked for. The same "
            "command asks once more; --fresh sends all rows of the job again, and they are paid again."
        )


def how_to_resume(parts: Sequence[Part], submitting: bool) -> str:
    """What to know when a job was stopped; `submitting` tells that it is not known what became of a create."""
    begun = any(part.attempts for part in parts)
    if not begun and not submitting:
        return "Stopped. The same command starts it again."
    said = f"Stopped waiting; {_going_on(parts)}" if begun else "Stopped."
    under_way = (
        " A create was under way: if it made a batch, the same command finds it, and sends nothing twice."
        if submitting
        else ""
    )
    return f"{said}{under_way} {_RESUME}"


def _going_on(parts: Sequence[Part]) -> str:
    batches = sum(part.open for part in parts)
    return (
        f"nothing is canceled. What is in progress at the API ({count(batches, 'batch', 'batches')}) goes on, and what "
        "is there already is kept."
    )
