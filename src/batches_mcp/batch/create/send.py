"""The one gate that every create passes: written down first, sent once, and its outcome written down after."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import anyio
import anyio.to_thread

from batches_mcp import result
from batches_mcp.batch.account import account_id
from batches_mcp.batch.call import Desk, Progress
from batches_mcp.batch.create.delivery import Delivery, Key
from batches_mcp.batch.create.entry import Begun, Busy, Draft, Entry, Made, OverCap, State, Unsettled
from batches_mcp.batch.create.evidence import Adopt, Several, Unknown, maybe_accepted
from batches_mcp.batch.create.kept import Copy
from batches_mcp.batch.create.reconcile import look
from batches_mcp.batch.create.records import Records
from batches_mcp.batch.create.refusals import duplicate, over_cap, unknown_spent, unsettled
from batches_mcp.errors import CallError, ErrorReport, Retry, UnusableAnswer
from batches_mcp.plan import ToolPlan
from batches_mcp.request import Upload

log = logging.getLogger(__name__)

_PIECE_BYTES = 1 << 18
_PROGRESS_EVERY_S = 0.5
# How often another process's row is looked at.
_ELSEWHERE_S = 0.5


@dataclass(frozen=True, slots=True)
class Parcel:
    """What a create sends: a body of known length whose `pieces` are made anew each time they are asked for.

    `arguments` build the request but for its body. `about` is what the ledger is to hold of it; its content and size
    are filled in here.
    """

    tool: ToolPlan
    arguments: Mapping[str, Any]
    length_bytes: int
    pieces: Callable[[], Iterator[bytes]]
    about: Draft


@dataclass(frozen=True, slots=True)
class Rules:
    """What may be sent: `again` also what was sent not long ago; `cap_usd` is the most that 24 hours may cost.

    `attach` takes the batch that was made of the same content before, in place of an error that there is one.
    """

    again: bool = False
    cap_usd: float | None = None
    attach: bool = False


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of it within the time of a call: a batch, or none as yet while it is being submitted.

    `earlier` tells that the batch is one that an earlier call of the same content made; `headers` are those of the
    answer, if it was given just now.
    """

    batch: Mapping[str, Any] | None
    earlier: bool = False
    warnings: list[str] = field(default_factory=list)
    headers: Mapping[str, str] = field(default_factory=dict)


async def submit(
    desk: Desk, parcel: Parcel, rules: Rules, progress: Progress, sources: ExitStack, deadline_s: float
) -> Sent:
    """Pass the gate. `sources` holds what the pieces are read from, and is closed when that is no longer needed.

    Before its first byte is sent, a create can be canceled. After that it runs to its end, and the call is answered at
    `deadline_s` (of the event loop's clock) at the latest.

    Raises:
        CallError: there is no batch of it, or it is not known whether there is one.
    """
    waiting: Delivery | None = None
    earlier = False
    with anyio.CancelScope(deadline=deadline_s):
        records = desk.records(parcel.tool)
        if records is None:
            waiting = _start(desk, parcel, None, None, parcel.pieces, sources.pop_all())
        else:
            found = await _begin(desk, records, parcel, rules)
            if isinstance(found, Sent):
                return found
            waiting, earlier = found
        await _watch(waiting, progress)
    if waiting is None or not waiting.done.is_set():
        return Sent(None, earlier=earlier)
    if waiting.batch is None:
        raise waiting.failure or RuntimeError("a delivery ended with neither a batch nor a failure")
    if records is not None and waiting.entry is not None and not waiting.warnings:
        await anyio.to_thread.run_sync(records.ledger.told, waiting.entry)
    return Sent(waiting.batch, earlier, waiting.warnings, waiting.headers)


async def _begin(desk: Desk, records: Records, parcel: Parcel, rules: Rules) -> Sent | tuple[Delivery, bool]:
    """The delivery of this content, and whether an earlier call began it; or its batch, when there is one already."""
    with records.kept.draft() as path:
        copy = await anyio.to_thread.run_sync(lambda: records.kept.write(path, parcel.pieces(), parcel.about.betas))
        key = (account_id(parcel.tool.request, desk.forward.variables), copy.content)
        draft = replace(parcel.about, content=copy.content, body_bytes=copy.length_bytes)
        looked: frozenset[int] = frozenset()
        awaited: set[int] = set()
        while True:
            running = desk.underway.find(key)
            if running is not None and not rules.again:
                return running, True
            # What is claimed must be sent or given back, so that nothing may come in between.
            with anyio.CancelScope(shield=True):
                claim = await anyio.to_thread.run_sync(_claim, desk, records, draft, rules, looked)
                if isinstance(claim, Begun):
                    file = await anyio.to_thread.run_sync(_keep, records, copy, claim.entry)
                    pieces = partial(_file_pieces, file)
                    return _start(desk, parcel, key, claim.entry, pieces, _closing(file), records), False
            match claim:
                case Made(entry) if entry.told and entry.key not in awaited and not rules.attach:
                    raise duplicate(entry, desk.forward.upstream.clock.wall_s())
                case Made(entry):
                    await anyio.to_thread.run_sync(records.ledger.told, entry.key)
                    return Sent(entry.shown, earlier=True)
                case OverCap(unknown=Entry() as entry):
                    raise unknown_spent(entry)
                case OverCap(spent_usd):
                    raise over_cap(spent_usd, draft, rules.cap_usd or 0.0)
                case Busy(entry):
                    awaited.add(entry.key)
                    running = desk.underway.find(key)
                    if running is None or running.done.is_set():
                        await anyio.sleep(_ELSEWHERE_S)
                    elif rules.again:
                        await running.done.wait()
                case Unsettled(entry):
                    verdict = await look(desk, parcel.tool, records, entry)
                    looked |= {entry.key}
                    if isinstance(verdict, Adopt):
                        await anyio.to_thread.run_sync(records.ledger.told, entry.key)
                        return Sent(verdict.batch, earlier=True)
                    if isinstance(verdict, Several | Unknown) and not rules.again:
                        raise unsettled(entry, verdict)


def _claim(
    desk: Desk, records: Records, draft: Draft, rules: Rules, looked: frozenset[int]
) -> Begun | Busy | Unsettled | Made | OverCap:
    now_s = desk.forward.upstream.clock.wall_s()
    return records.claim(draft, now_s, again=rules.again, attach=rules.attach, looked=looked, cap_usd=rules.cap_usd)


def _keep(records: Records, copy: Copy, entry: Entry) -> io.BufferedReader:
    try:
        return records.kept.keep(copy)
    except CallError:
        records.ledger.settled(entry.key, State.REFUSED)
        raise


def _closing(file: io.BufferedReader) -> ExitStack:
    stack = ExitStack()
    stack.enter_context(file)
    return stack


def _file_pieces(file: io.BufferedReader) -> Iterator[bytes]:
    file.seek(0)
    while piece := file.read(_PIECE_BYTES):
        yield piece


def _start(
    desk: Desk,
    parcel: Parcel,
    key: Key | None,
    entry: Entry | None,
    pieces: Callable[[], Iterator[bytes]],
    sources: ExitStack,
    records: Records | None = None,
) -> Delivery:
    """Begin to send, in a task that outlasts the call."""
    delivery = Delivery(parcel.length_bytes, None if entry is None else entry.key)
    desk.underway.add(key, delivery)
    desk.tasks.start_soon(_deliver, desk, parcel, delivery, key, entry, pieces, sources, records)
    return delivery


async def _deliver(
    desk: Desk,
    parcel: Parcel,
    delivery: Delivery,
    key: Key | None,
    entry: Entry | None,
    pieces: Callable[[], Iterator[bytes]],
    sources: ExitStack,
    records: Records | None,
) -> None:
    """Send, find out what came of it where the answer does not say, and write it down."""
    recorded = True
    try:
        with sources:
            began_s = desk.forward.upstream.clock.now_s()
            try:
                delivery.batch = await _post(desk, parcel, delivery, pieces)
            except CallError as error:
                delivery.failure = error
        if records is not None and entry is not None:
            recorded = await _settle(desk, parcel, records, entry, delivery, began_s)
    except Exception as error:  # handed to whoever waits, whose boundary it is
        delivery.failure = error
        log.warning("a create ended badly", exc_info=not isinstance(error, CallError))
    finally:
        desk.underway.remove(key, delivery, findable=not recorded)
        delivery.done.set()


async def _post(
    desk: Desk, parcel: Parcel, delivery: Delivery, pieces: Callable[[], Iterator[bytes]]
) -> Mapping[str, Any]:
    def counted() -> Iterator[bytes]:
        delivery.sent_bytes = 0
        for piece in pieces():
            yield piece
            delivery.sent_bytes += len(piece)

    answer = await desk.forward.answer(parcel.tool, parcel.arguments, lambda _: Upload(parcel.length_bytes, counted))
    delivery.headers = answer.headers
    batch = result.shape(parcel.tool.result, answer)
    if not isinstance(batch.get("id"), str):
        message = f"the upstream accepted the create, but its answer has no batch id: {answer.description}."
        next_step = "Look at the list for the batch before anything else."
        raise UnusableAnswer(ErrorReport("unusable_answer", message, next_step, Retry.UNSAFE, status=answer.status))
    desk.forward.recent.note(parcel.tool.request, parcel.arguments, batch, desk.forward.upstream.clock.now_s())
    return batch


async def _settle(
    desk: Desk, parcel: Parcel, records: Records, entry: Entry, delivery: Delivery, began_s: float
) -> bool:
    """Write down what came of a create; false when the ledger cannot be written to."""
    ledger, clock = records.ledger, desk.forward.upstream.clock
    try:
        if delivery.batch is not None:
            await anyio.to_thread.run_sync(ledger.accepted, entry.key, delivery.batch)
        elif isinstance(delivery.failure, CallError) and maybe_accepted(delivery.failure):
            verdict = await look(desk, parcel.tool, records, entry, lambda: clock.now_s() - began_s)
            if isinstance(verdict, Adopt):
                delivery.batch, delivery.failure = verdict.batch, None
            else:
                delivery.failure = unsettled(entry, verdict, delivery.failure)
        else:
            await anyio.to_thread.run_sync(ledger.settled, entry.key, State.REFUSED)
    except CallError as error:
        log.warning("%s", error)
        delivery.warnings.append(f"The batch exists, but it could not be written down: {error.report.message}")
        return False
    if delivery.batch is None:
        await anyio.to_thread.run_sync(records.drop, entry.content)
    else:
        assert desk.all_records is not None  # noqa: S101 - there are records
        desk.tasks.start_soon(anyio.to_thread.run_sync, records.kept.compress, entry.content, desk.all_records.stopping)
    return True


async def _watch(delivery: Delivery, progress: Progress) -> None:
    """Wait until a delivery has ended, telling how far it is."""
    async with anyio.create_task_group() as tasks:

        async def tell() -> None:
            while True:
                await anyio.sleep(_PROGRESS_EVERY_S)
                sent, total = delivery.sent_bytes, delivery.body_bytes
                words = f"{sent:,} of {total:,} bytes sent" if sent < total else "waiting for the answer"
                await progress(sent, total, words)

        tasks.start_soon(tell)
        await delivery.done.wait()
        tasks.cancel_scope.cancel()
