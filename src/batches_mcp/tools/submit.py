"""`submit`: a create whose requests are checked here first, all of them, before any is sent or paid.

They are read once; the part that is chosen is written down on the way. In memory are only their ids.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import anyio
import anyio.to_thread

from batches_mcp.api.body import frame
from batches_mcp.core.diagnostics import Severity
from batches_mcp.core.errors import CallError, ErrorReport
from batches_mcp.core.settings import BatchSettings
from batches_mcp.core.text import count
from batches_mcp.exchange.request import invalid
from batches_mcp.requests.cost import rounded
from batches_mcp.requests.parts import content_of
from batches_mcp.requests.reading import Piece
from batches_mcp.requests.scan import Scan
from batches_mcp.requests.source import SOURCES, Source, source_of
from batches_mcp.store.entry import Approval, rfc3339
from batches_mcp.tools import OUR_KEY
from batches_mcp.tools.call import Call
from batches_mcp.tools.confirm import confirmation
from batches_mcp.tools.dry_run import NOTHING_SPENT, left_out_rows, remark, report
from batches_mcp.work.answered import first_rows
from batches_mcp.work.deliver import OutgoingCreate
from batches_mcp.work.intake import Body, Temporary, drafts, take
from batches_mcp.work.refusals import may_be, not_begun, unpriced, waits
from batches_mcp.work.retry import Retried, nothing, retried
from batches_mcp.work.retryable import PASSING
from batches_mcp.work.send import CreateRules, Sent, submit

# The upstream suggests 10 s; most batches take minutes, and every look costs an agent a turn.
_POLL_AFTER_S = 60
_SUBMITTING_POLL_AFTER_S = 20

_NO_LEDGER = (
    "This server keeps no ledger (--no-ledger): it does not notice when the same requests are submitted twice, cannot "
    "find a batch whose create was not answered, and cannot retry what failed. Keep the id, and the requests."
)


async def create(call: Call, settings: BatchSettings) -> dict[str, Any]:
    """The new batch, and beside it what was left out or is doubtful; for a dry run a report only.

    Raises:
        CallError: whatever went wrong. Requests with errors, and more than a batch holds, are refused unsent.
    """
    deadline_s = anyio.current_time() + call.limits.call_s
    with ExitStack() as stack:
        source, lineage = await _source(call, settings, stack)
        arguments = {**call.arguments, "requests": []}
        if lineage and lineage.entry.betas:
            arguments.setdefault("betas", lineage.entry.betas.split(","))
        around = frame(call.tool.request, arguments, call.forward.variables, call.limits)
        source = replace(source, pieces=partial(_in_time, source.pieces, call.limits.call_s))
        dry_run, wanted = bool(call.arguments.get("dry_run")), call.arguments.get("part")
        here = Temporary() if dry_run else drafts(call.runtime)
        places = {} if dry_run else {(wanted or 1) - 1: stack.enter_context(here.draft())}
        first = await anyio.to_thread.run_sync(first_rows, call.account, around, (wanted or 1) - 1)
        found, bodies = await call.runtime.long_work(take, source, around, places.get, here.write, first.look)
        if not lineage and not found.requests:
            raise invalid(f"{source.file or 'requests'}: holds no requests.")
        left = lineage.sifted.remarks() if lineage else {}
        upstream = call.forward.upstream
        now_s = upstream.time_s() if upstream.time_is_known else upstream.clock.wall_s()
        known = None if lineage else await anyio.to_thread.run_sync(first.warning, now_s)
        if dry_run:
            said = await anyio.to_thread.run_sync(
                report, call, settings, found, around.beta, first.sample, known, now_s
            )
            return {OUR_KEY: {"dry_run": said, **left}}
        if lineage and not found.requests:
            raise nothing(str(lineage.entry.batch_id), lineage.sifted)
        if found.count(Severity.ERROR) and not call.arguments.get("skip_invalid"):
            raise _refusal(found)
        body = bodies[_part(found, wanted)]
        several = len(found.parts) > 1
        caps = call.caps(settings.max_cost_usd)
        if caps and body.high_usd is None:
            raise unpriced(body.estimate, caps[0])
        about = body.draft(
            around.beta,
            source=source.file or (lineage.entry.source if lineage else None),
            label=call.arguments.get("label", lineage.entry.label if lineage else None),
            part=wanted,
            parent=call.arguments.get("retry_of"),
            parts=len(found.parts) if several else None,
            source_hash=content_of(found.parts, around.beta) if several else None,
        )
        again = bool(call.arguments.get("allow_duplicate"))
        rules = CreateRules(again, settings.max_cost_usd, repeats=settings.allow_duplicates)
        outgoing = OutgoingCreate(call.tool, arguments, body.copy.path, about)
        confirm = confirmation(call, settings, body)
        sent = await submit(call.account, outgoing, rules, call.progress, stack, deadline_s, confirm)
    if sent.pending is not None:
        return {OUR_KEY: {**pending_approval(sent.pending), "estimate": rounded(body.estimate), **left}}
    warnings = [*sent.warnings] if sent.earlier or not known else [known, *sent.warnings]
    remarks = _remarks(source, found, body, replace(sent, warnings=warnings), ledger=settings.ledger)
    if several and not sent.candidate:
        remarks["next_step"] = f"{_left(found, wanted or 1, sent)} {remarks['next_step']}"
    if settings.sandbox:
        remarks["next_step"] += f" {NOTHING_SPENT}"
    return {**(sent.batch.raw if sent.batch else {}), OUR_KEY: {"estimate": rounded(body.estimate), **remarks, **left}}


def pending_approval(approval: Approval) -> dict[str, Any]:
    """`{pending_approval{id, expires_at}, next_step}`."""
    about = {"id": approval.id, "expires_at": rfc3339(approval.expires_s)}
    return {"pending_approval": about, "next_step": waits(approval)}


async def _source(call: Call, settings: BatchSettings, stack: ExitStack) -> tuple[Source, Retried | None]:
    """Where the requests come from, and what they are a retry of, if they are one."""
    if "retry_types" in call.arguments and "retry_of" not in call.arguments:
        raise invalid("retry_types: goes with retry_of.")
    if "retry_max_tokens" in call.arguments and "truncated" not in call.arguments.get("retry_types", ()):
        raise invalid("retry_max_tokens: goes with retry_types [truncated], whose rows get it.")
    if "retry_of" not in call.arguments:
        return stack.enter_context(source_of(call.arguments, settings.roots, call.limits)), None
    others = [name for name in (*SOURCES, "template") if name in call.arguments]
    if others:
        raise invalid(f"retry_of: takes the requests that its batch had; leave {', '.join(others)} out.")
    lineage = await retried(
        call.account,
        call.arguments["retry_of"],
        call.arguments.get("retry_types", PASSING),
        call.progress,
        again=bool(call.arguments.get("allow_duplicate")),
        max_tokens=call.arguments.get("retry_max_tokens"),
    )
    return lineage.source, lineage


def _left(found: Scan, part: int, sent: Sent) -> str:
    """What is left of a source that makes several batches, when one part of it is being sent, from 1."""
    parts, left = len(found.parts), found.parts[part:]
    done = f"Part {part} of {parts} {'was sent' if sent.batch else 'is being sent'}"
    if not left:
        return f"{done}, the last one."
    rows = count(sum(each.count for each in left), "request")
    are = "is" if len(left) == 1 else "are"
    return f"{done}; {count(len(left), 'part')}, {rows}, {are} left: call with part {part + 1}."


def _in_time(pieces: Callable[[], Iterator[Piece]], most_s: float) -> Iterator[Piece]:
    deadline_s = time.monotonic() + most_s
    for piece in pieces():
        if time.monotonic() > deadline_s:
            raise not_begun(most_s)
        yield piece


def _part(found: Scan, wanted: int | None) -> int:
    """The part to be sent, from 0."""
    parts = len(found.parts)
    if not parts:
        raise invalid("no request is left to send.")
    if wanted is None and parts > 1:
        raise invalid(
            f"{found.sendable:,} requests, {found.body_bytes:,} bytes, make {parts} batches. "
            f"Call once for each, with part 1 to {parts}."
        )
    if wanted is not None and wanted > parts:
        raise invalid(f"part: {wanted} is more than the {parts} there {'is' if parts == 1 else 'are'}.")
    return (wanted or 1) - 1


def _refusal(found: Scan) -> CallError:
    errors = [problem for problem in found.problems if problem.severity is Severity.ERROR]
    lines = [f"- {problem.text()}" for problem in errors]
    message = f"{len(found.invalid):,} of {found.requests:,} requests have errors, so nothing was sent:"
    next_step = "Correct them, or leave them out with skip_invalid." if found.sendable else "Correct them."
    return CallError(ErrorReport("invalid_requests", "\n".join([message, *lines]), next_step))


def _remarks(source: Source, found: Scan, body: Body, sent: Sent, *, ledger: bool) -> dict[str, Any]:
    left_out = [problem for problem in found.problems if problem.severity is Severity.ERROR]
    warnings = [problem.data() for problem in found.problems if problem.severity is Severity.WARNING]
    warnings += [remark(text) for text in sent.warnings]
    if not ledger:
        warnings.append(remark(_NO_LEDGER))
    remarks = _outcome(sent, ledger=ledger)
    if source.file is not None:
        remarks["source"] = {"file": source.file, "rows": body.rows, "bytes": body.copy.length_bytes}
    if found.invalid:
        remarks["left_out"] = {**left_out_rows(found), "problems": [each.data() for each in left_out]}
    if warnings:
        remarks["warnings"] = warnings
    return remarks


def _outcome(sent: Sent, *, ledger: bool) -> dict[str, Any]:
    """What became of the create, and what to do next."""
    if sent.batch is None:
        next_step = (
            "The create is not over. Call again with the same requests in a little while: the call joins it, or is "
            "answered with its batch, and sends nothing twice."
        )
        if not ledger:
            next_step = (
                "The create goes on by itself. Look for its batch in the list: the same call again may be billed again."
            )
        return {"submitting": True, "poll_after_s": _SUBMITTING_POLL_AFTER_S, "next_step": next_step}
    batch_id = sent.batch.id
    if sent.candidate:
        return {
            "candidate": True,
            "poll_after_s": _POLL_AFTER_S,
            "next_step": f"Tell the user. {may_be(batch_id)}",
        }
    ended = sent.batch.ended
    by = f", at the latest at {sent.batch.raw['expires_at']}" if "expires_at" in sent.batch.raw else ", all within 24"
    next_step = (
        f"Tell the user the id {batch_id}, and that most batches end within an hour{by}; look at its state in a minute "
        "at the earliest."
    )
    if ended:
        next_step = f"{batch_id} has ended: retrieve its results."
    if sent.earlier:
        next_step = f"An earlier call with the same requests made this batch; nothing new was sent. {next_step}"
    return {"poll_after_s": None if ended else _POLL_AFTER_S, "next_step": next_step}
