"""`submit`: a create whose requests are checked here first, all of them, before any is sent or paid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from batches_mcp import request, result
from batches_mcp.batch import OUR_KEY
from batches_mcp.batch.requests import MOST_SHOWN, Part, Rules, Scan, Severity, chosen, scan
from batches_mcp.errors import CallError, ErrorReport
from batches_mcp.forward import Forward
from batches_mcp.plan import ToolPlan
from batches_mcp.request import invalid

# The upstream suggests 10 s; most batches take minutes, and every look costs an agent a turn.
_POLL_AFTER_S = 60


async def create(forward: Forward, tool: ToolPlan, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The new batch, and beside it what was left out or is doubtful; for a dry run a report only.

    Raises:
        CallError: whatever went wrong. Requests with errors, and more than a batch holds, are refused unsent.
    """
    requests = arguments["requests"]
    rows = ((f"requests[{index}]", result.encode(each).encode()) for index, each in enumerate(requests))
    found = scan(rows, _rules(forward, tool, arguments))
    if arguments.get("dry_run"):
        return {OUR_KEY: {"dry_run": report(found)}}
    if found.count(Severity.ERROR) and not arguments.get("skip_invalid"):
        raise _refusal(found)
    part = _part(found, arguments.get("part"))
    sent = {**arguments, "requests": list(chosen(requests, found, part))}
    batch = await forward.content(tool, sent)
    return {**batch, OUR_KEY: _remarks(found, batch)}


def report(found: Scan) -> dict[str, Any]:
    """What a dry run answers."""
    return {
        "requests": found.requests,
        "bytes": found.body_bytes,
        "parts": len(found.parts),
        "models": dict(found.models.most_common()),
        "errors": found.count(Severity.ERROR),
        "warnings": found.count(Severity.WARNING),
        "problems": [problem.data() for problem in found.problems],
        **({"problems_by_kind": _by_kind(found)} if _hidden(found) else {}),
    }


def _rules(forward: Forward, tool: ToolPlan, arguments: Mapping[str, Any]) -> Rules:
    """The version and betas that the create will be sent with; no key is needed to know them."""
    keyless = replace(tool.request, credential=None)
    headers = {name.lower(): value for name, value in request.build(keyless, arguments, forward.variables).headers}
    betas = frozenset(beta.strip() for beta in headers.get("anthropic-beta", "").split(","))
    return Rules(headers.get("anthropic-version", ""), betas)


def _part(found: Scan, wanted: int | None) -> Part:
    parts = len(found.parts)
    if not parts:
        raise invalid("requests: none is left to send.")
    if wanted is None and parts > 1:
        raise invalid(
            f"requests: {found.sendable:,} requests, {found.body_bytes:,} bytes, make {parts} batches. "
            f"Call once for each with part 1 to {parts}."
        )
    if wanted is not None and wanted > parts:
        raise invalid(f"part: {wanted} is more than the {parts} there {'is' if parts == 1 else 'are'}.")
    return found.parts[(wanted or 1) - 1]


def _refusal(found: Scan) -> CallError:
    errors = [problem for problem in found.problems if problem.severity is Severity.ERROR]
    lines = [f"- {problem.text()}" for problem in errors]
    if _hidden(found):
        lines.append("in all: " + ", ".join(f"{number:,} x {kind}" for kind, number in _by_kind(found).items()))
    message = f"{len(found.invalid):,} of {found.requests:,} requests have errors, so nothing was sent:\n" + "\n".join(
        lines
    )
    return CallError(ErrorReport("invalid_requests", message, "Correct them, or leave them out with skip_invalid."))


def _remarks(found: Scan, batch: Mapping[str, Any]) -> dict[str, Any]:
    left_out = [problem for problem in found.problems if problem.severity is Severity.ERROR]
    warnings = [problem for problem in found.problems if problem.severity is Severity.WARNING]
    remarks: dict[str, Any] = {
        "poll_after_s": _POLL_AFTER_S,
        "next_step": f"Tell the user the id {batch.get('id')}, and look at its state in a minute at the earliest.",
    }
    if found.invalid:
        remarks["left_out"] = {"requests": len(found.invalid), "problems": [each.data() for each in left_out]}
    if warnings:
        remarks["warnings"] = [each.data() for each in warnings]
    return remarks


def _hidden(found: Scan) -> bool:
    return sum(found.kinds.values()) > MOST_SHOWN


def _by_kind(found: Scan) -> dict[str, int]:
    return {f"{severity}: {kind}": number for (severity, kind), number in found.kinds.most_common()}
