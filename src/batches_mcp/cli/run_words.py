"""What a run says of what it is about to do, of what it has not done, and of how to go on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import click

from batches_mcp.cli.display import up_to, usd
from batches_mcp.core.diagnostics import Severity
from batches_mcp.core.redact import printable
from batches_mcp.core.text import count
from batches_mcp.job.asking import GONE, INCOMPLETE
from batches_mcp.job.steps import Job, PartState
from batches_mcp.requests.scan import Scan

_RESUME = "To resume, give the same command again."


CORRECT = "Correct the rows with errors, or leave them out with --skip-invalid."
HOW_LONG = "Most batches end within an hour, all within 24 hours."
HOW_LONG_SANDBOX = "The sandbox bills nothing, and its batches end within seconds."
_MOST_MODELS = 4
_IN_TEMPLATE = re.compile(r"template\.(?:params\.)?(model|max_tokens|system)\b")


def tell(text: str) -> None:
    """A line on standard error."""
    click.echo(printable(text), err=True)


def show_problems(found: Scan, template_flag: str) -> None:
    """What was found in the requests, by cause, and how much of it; `template_flag` is what makes them of rows."""
    for problem in found.problems:
        if template_flag == "--prompt":
            problem = replace(problem, where=[_flag_of(place) for place in problem.where])
        tell(f"{problem.severity}: {problem.text()}")
    named = f"{count(found.count(Severity.ERROR), 'error')}, {count(found.count(Severity.WARNING), 'warning')}"
    tell(f"{count(found.requests, 'request')}: {named}")


def _flag_of(place: str) -> str:
    """The flag that says what stands at a place of the template that --prompt makes."""
    found = _IN_TEMPLATE.match(place)
    return f"--{found[1].replace('_', '-')}" if found else "--prompt" if place.startswith("template") else place


def trial(rows: int, source_rows: int) -> str:
    """That a job is a trial, of `rows` of the rows that its input has."""
    return f"A trial of the first {rows:,} of {count(source_rows, 'row')}: without --limit, the same command sends all."


def plan(
    rows: int, batches: int, submitted_before: int, models: Mapping[str, int], cost: Mapping[str, Any]
) -> Iterator[str]:
    """What will be sent, and what it may cost: an estimate, as `requests.cost` makes it."""
    named = ", ".join(list(models)[:_MOST_MODELS]) + (", ..." if len(models) > _MOST_MODELS else "")
    of_models = f" for {named}" if named else ""
    before = f"; {submitted_before:,} of them submitted before" if submitted_before else ""
    yield f"{count(rows, 'request')}{of_models} in {count(batches, 'batch', 'batches')}{before}."
    low, high = cost["cost_usd"]["low"], cost["cost_usd"]["high"]
    if high is None:
        yield f"What is sent may cost {may_cost(cost)}."
    else:
        yield f"What is sent may cost {usd(low)} to {usd(high)}, depending on the length of the answers."


def may_cost(cost: Mapping[str, Any]) -> str:
    """The most that requests of an estimate may cost, in words."""
    high = cost["cost_usd"]["high"]
    return up_to(high) if high is not None else f"an amount that cannot be estimated ({why_unknown(cost)})"


def why_unknown(cost: Mapping[str, Any]) -> str:
    """Why the highest cost of an estimate is not known."""
    models = cost["unknown_models"]
    named = [f"the price of {', '.join(models)} is not known"] if models else []
    return "; ".join(named + [f"{each['where']} asks for {each['reason']}" for each in cost["unbounded"]])


def answered_before(job: Job) -> str:
    """How many rows need not be sent, and whether others do."""
    rest = "" if job.parts else "; nothing is to be sent"
    return f"{count(job.known_rows, 'row')} answered before, taken from there{rest}"


def failures_written(failures: Mapping[str, Any]) -> str:
    """Where the rows that failed are, and what to do with them."""
    rows, are = (failures["rows"], "are") if failures["rows"] != 1 else (1, "is")
    return f"{count(rows, 'failed row')} {are} in {failures['file']}, to be corrected and given to run again."


def missing(
    report: Mapping[str, Any], parts: Sequence[PartState], gave_up_after_s: float | None, *, sandbox: bool
) -> Iterator[str]:
    """What to know of the rows without a result, and how to go on, in sentences; `report` is that of the job.

    The batches of an embedded `sandbox` end with the command.
    """
    reasons = report["missing"]["reasons"]
    if gave_up_after_s is not None:
        going_on = (
            "the sandbox ends with them. The same command starts it again."
            if sandbox
            else f"{_going_on(parts)} {_RESUME}"
        )
        yield (
            f"Gave up after {gave_up_after_s:g} s: OUT has {count(report['rows'], 'row')}, and "
            f"{report['missing']['rows']:,} of the job are missing; {going_on}"
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


def how_to_resume(parts: Sequence[PartState], *, submitting: bool, sandbox: bool) -> str:
    """What to know when a job was stopped.

    `submitting` tells that it is not known what became of a create; an embedded `sandbox` ends with the command.
    """
    begun = any(part.attempts for part in parts)
    if not begun and not submitting:
        return "Stopped. The same command starts it again."
    if sandbox:
        return "Stopped, and the sandbox with its batches as well. The same command starts it again."
    said = f"Stopped waiting; {_going_on(parts)}" if begun else "Stopped."
    under_way = (
        " A create was under way: if it made a batch, the same command finds it, and sends nothing twice."
        if submitting
        else ""
    )
    return f"{said}{under_way} {_RESUME}"


def _going_on(parts: Sequence[PartState]) -> str:
    batches = sum(part.open for part in parts)
    return (
        f"nothing is canceled. What is in progress at the API ({count(batches, 'batch', 'batches')}) goes on, and what "
        "is there already is kept."
    )
