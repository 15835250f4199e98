"""Sending the parts of a job, and rows of them again, through the one gate of `work.send`."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import anyio.to_thread

from batches_mcp.core.errors import CallError, InvalidArguments, Retry
from batches_mcp.core.text import count
from batches_mcp.job.again import write_again
from batches_mcp.job.asking import never_comes
from batches_mcp.job.made import Made
from batches_mcp.job.state import JobState
from batches_mcp.job.steps import Attempt
from batches_mcp.work.deliver import OutgoingCreate
from batches_mcp.work.intake import Body
from batches_mcp.work.refusals import unpriced
from batches_mcp.work.send import CreateRules, Sent, submit


async def send_part(state: JobState, number: int, *, again: bool) -> None:
    """Send a part, or `again` the rows of it that its latest batch left; or find that somebody has.

    Raises:
        CallError: something that does not pass.
    """
    if not again and await state.taken_up(number):
        return
    parent = state.parts[number].attempts[-1] if again else None
    if parent and (made := await anyio.to_thread.run_sync(state.made.retry_of, parent.batch_id)):
        state.follow(number, Attempt(made.batch_id, made.rows))
        state.next_poll_s = state.asking.now_s()
        return
    with state.records.kept.draft() as path:
        if parent is None:
            if (body := await _lent(state, number, path)) is not None:
                await _submit_body(state, number, body, None, None)
        elif (again_of := await _again(state, number, path)) is not None:
            await _submit_body(state, number, again_of[0], parent, again_of[1])


async def _lent(state: JobState, number: int, path: Path) -> Body | None:
    """The body of a part; None when another process has sent it meanwhile."""
    lend = partial(state.folder.lend, number, state.job.parts[number], state.records.kept, path, state.around.beta)
    try:
        return await anyio.to_thread.run_sync(lend)
    except CallError:
        if await state.taken_up(number):
            return None
        raise


async def _again(state: JobState, number: int, path: Path) -> tuple[Body, str] | None:
    """The body of the rows of a part that are sent again, with the batch they are of; None when they stay."""
    there = [each.batch_id for each in state.parts[number].attempts if not each.lost]
    types = state.bounds.retry_types
    try:
        return await write_again(state.asking, state.records.kept, state.around, path, there, types, state.show)
    except CallError as error:
        if not (never_comes(error) or isinstance(error, InvalidArguments)):
            raise
        _keep_as_it_is(state, number, error)
        return None


async def _submit_body(state: JobState, number: int, body: Body, parent: Attempt | None, again_of: str | None) -> None:
    """Submit the body of a part; or one of rows of the batch `again_of`, after `parent`, the latest of the part."""
    rows = body.rows
    if state.bounds.cap_usd is not None and body.high_usd is None:
        raise unpriced(body.estimate)
    many = len(state.job.parts) > 1
    name = f"part {number + 1} of {len(state.job.parts)}: " if many else ""
    about = body.draft(
        state.around.beta,
        source=state.job.source,
        label=state.label,
        part=number + 1 if many else None,
        parent=again_of,
    )
    outgoing = OutgoingCreate(state.account.tool, {"requests": []}, body.copy.path, about)

    async def progress(_done: float, _total: float, words: str) -> None:
        state.show(f"submitting {name}{words}")

    many_rows = count(rows, "request")
    state.show(f"submitting {name}{many_rows}")
    try:
        sent = await _create(state, outgoing, progress)
    except CallError as error:
        if parent is None and await state.taken_up(number):
            return
        if error.report.retry is Retry.USELESS:
            raise
        state.refused += 1
        pause_s = error.report.retry_after_s or min(2.0**state.refused, state.account.limits.job_pause_s)
        state.hold_until_s = state.asking.now_s() + pause_s
        state.asking.troubled(error)
        return
    state.asking.well()
    state.refused = 0
    state.sent += not sent.earlier
    attempt = Attempt(str(sent.batch and sent.batch.id), rows, created_s=sent.batch.created_s if sent.batch else None)
    state.follow(number, attempt)
    made = Made(body.content, attempt.batch_id, rows, parent.batch_id if parent else None, state.start.name)
    await anyio.to_thread.run_sync(state.made.note, made)
    state.waiting_since_s = state.asking.now_s()
    # What was there before may have ended long ago.
    state.next_poll_s = min(state.next_poll_s, state.asking.now_s() + (0.0 if sent.earlier else state.pace_s))
    verb = "taken up as" if sent.earlier else "sent again as" if parent else "submitted as"
    state.asking.watch.note(f"{name}{many_rows} {verb} {attempt.batch_id}")
    if parent is None:
        _remove(state.folder.body(number))


async def _create(state: JobState, outgoing: OutgoingCreate, progress: Callable[..., Awaitable[None]]) -> Sent:
    rules = CreateRules(attach=True, certain=True, cap_usd=state.bounds.cap_usd, after=state.start.after)
    state.submitting = True
    try:
        with ExitStack() as stack:
            sent = await submit(state.account, outgoing, rules, progress, stack, math.inf)
    except CallError:
        state.submitting = False
        raise
    state.submitting = False
    for warning in sent.warnings:
        state.asking.watch.note(warning)
    return sent


def _keep_as_it_is(state: JobState, number: int, error: CallError) -> None:
    attempt = state.parts[number].attempts[-1]
    rows = attempt.retryable or 0
    state.asking.watch.note(f"{count(rows, 'row')} cannot be sent again: {error.report.message}")
    state.parts[number] = state.parts[number].with_last(retryable=0)


def _remove(path: Path) -> None:
    with suppress(OSError):  # gone already, or, on Windows, open in another process
        path.unlink()
