"""The one gate that every create passes: written down first, sent once, and its outcome written down after."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread

from batches_mcp import result
from batches_mcp.batch.call import Desk, Progress
from batches_mcp.batch.create.delivery import Delivery, Key
from batches_mcp.batch.create.entry import (
    DOUBT_S,
    Begun,
    Busy,
    Changed,
    Claim,
    Draft,
    Entry,
    Made,
    OverCap,
    State,
    Unsettled,
)
from batches_mcp.batch.create.evidence import Adopt, Candidates, InDoubt, NoneFound, maybe_accepted
from batches_mcp.batch.create.kept import Copy
from batches_mcp.batch.create.reconcile import baseline, look
from batches_mcp.batch.create.records import Records
from batches_mcp.batch.create.refusals import (
    changed,
    duplicate,
    not_accepted,
    not_begun,
    over_cap,
    unknown_spent,
    unsettled,
)
from batches_mcp.errors import CallError, ErrorReport, Retry, StateUnusable, UnusableAnswer
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

    `arguments` build the request but for its body. `about` is what the ledger is to hold of it; the name of its copy
    and its size are filled in here.
    """

    tool: ToolPlan
    arguments: Mapping[str, Any]
    length_bytes: int
    pieces: Callable[[], Iterator[bytes]]
    about: Draft


@dataclass(frozen=True, slots=True)
class Rules:
    """What may be sent: `again` also what was sent not long ago, or may have been; `cap_usd` bounds 24 hours.

    `attach` takes the batch that was made of the same content before, in place of an error that there is one. Who wants
    to be `certain` is answered with an error as long as a batch only may be the one. `repeats` sends again what
    made a batch that its caller was told of, and nothing that is in doubt. Entries of the ledger up to the key `after`
    do not count: their content may be sent again.
    """

    again: bool = False
    cap_usd: float | None = None
    attach: bool = False
    certain: bool = False
    repeats: bool = False
    after: int = 0


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of it within the time of a call: a batch, or none as yet while it is being submitted.

    `earlier` tells that the batch is one that an earlier call of the same content made, `candidate` that it only may
    be; `headers` are those of the answer, if it was given just now.
    """

    batch: Mapping[str, Any] | None
    earlier: bool = False
    warnings: list[str] = field(default_factory=list)
    headers: Mapping[str, str] = field(default_factory=dict)
    candidate: bool = False


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
    against: list[Claim] = []
    with anyio.CancelScope(deadline=deadline_s):
        if desk.all_records is None:
            waiting = _start(desk, parcel, None, None, parcel.pieces, sources.pop_all())
        else:
            found = await _begin(desk, parcel, rules, against)
            if isinstance(found, Sent):
                return found
            waiting, earlier = found
        await _watch(desk, waiting, progress)
    if waiting is None:
        match against[-1:]:
            case [Unsettled(entry)]:
                raise unsettled(entry, InDoubt(DOUBT_S))
            case []:
                raise not_begun(desk.forward.upstream.limits.call_s)
            case _:
                return Sent(None, earlier=True)
    if not waiting.done.is_set():
        return Sent(None, earlier=earlier)
    if waiting.candidate is not None and not rules.certain:
        return Sent(waiting.candidate, candidate=True)
    if waiting.batch is None:
        raise waiting.failure or RuntimeError("a delivery ended with neither a batch nor a failure")
    records = desk.records(parcel.tool)
    if records is not None and waiting.entry is not None and not waiting.warnings:
        await anyio.to_thread.run_sync(records.ledger.told, waiting.entry.key)
    return Sent(waiting.batch, earlier, waiting.warnings, waiting.headers)


async def _begin(desk: Desk, parcel: Parcel, rules: Rules, against: list[Claim]) -> Sent | tuple[Delivery, bool]:
    """The delivery of this content, and whether an earlier call began it; or its batch, when there is one already.

    `against` is told what stands in the way, as long as it does.
    """
    # Any answer names the account of a credential that was not seen before.
    upstream = None if desk.accounts.is_known(parcel.tool.request) else await baseline(desk, parcel.tool)
    key = (desk.accounts.name_of(parcel.tool.request), parcel.about.content)
    records = desk.records(parcel.tool)
    assert records is not None  # noqa: S101 - a ledger is kept
    await anyio.to_thread.run_sync(records.check, desk.forward.upstream.time_s())
    with records.kept.draft() as path:
        upstream = upstream or await baseline(desk, parcel.tool)
        betas = parcel.about.betas
        copy = await desk.long_work(lambda: records.kept.write(path, parcel.pieces(), betas))
        desk.tasks.start_soon(_tidy, desk, records)
        draft = replace(parcel.about, body=copy.name, body_bytes=copy.length_bytes)
        awaited: set[int] = set()
        repeated = False
        while True:
            running = desk.underway.find(key)
            if running is not None and running.done.is_set():
                await _record(desk, parcel.tool, records, running)
                if not running.recorded:
                    raise running.failure or RuntimeError("an outcome was not recorded for no reason")
                desk.underway.remove(key, running)
            elif running is not None and not rules.again:
                return running, True
            # What is claimed must be sent or given back, so that nothing may come in between.
            with anyio.CancelScope(shield=True):
                claim = await anyio.to_thread.run_sync(
                    partial(
                        records.claim,
                        draft,
                        upstream,
                        again=rules.again,
                        attach=rules.attach,
                        repeated=repeated,
                        cap_usd=rules.cap_usd,
                        after=rules.after,
                    )
                )
                if isinstance(claim, Begun):
                    file = await anyio.to_thread.run_sync(_keep, records, copy, claim.entry)
                    pieces = partial(_file_pieces, file)
                    return _start(desk, parcel, key, claim.entry, pieces, _closing(file), records), False
            against.append(claim)
            match claim:
                case Made(entry) if entry.told and entry.key not in awaited and not rules.attach:
                    if rules.repeats:
                        repeated = True
                        continue
                    raise duplicate(entry, upstream.now_s)
                case Made(entry):
                    await anyio.to_thread.run_sync(records.ledger.told, entry.key)
                    return Sent(entry.shown, earlier=True)
                case Changed(entry):
                    raise changed(draft, entry)
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
                    match await look(desk, parcel.tool, records, entry):
                        case Adopt(batch):
                            await anyio.to_thread.run_sync(records.ledger.told, entry.key)
                            return Sent(batch, earlier=True)
                        case Candidates([batch]) if not rules.certain:
                            return Sent(batch, candidate=True)
                        case NoneFound():
                            pass
                        case verdict:
                            raise unsettled(entry, verdict)


async def _tidy(desk: Desk, records: Records) -> None:
    upstream = desk.forward.upstream
    if upstream.time_is_known:
        try:
            await anyio.to_thread.run_sync(records.tidy, min(upstream.time_s(), upstream.clock.wall_s()))
        except CallError as error:
            log.warning("%s", error)


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
    delivery = Delivery(parcel.length_bytes, entry)
    desk.underway.add(key, delivery)
    desk.tasks.start_soon(_deliver, desk, parcel, delivery, key, pieces, sources, records)
    return delivery


async def _deliver(
    desk: Desk,
    parcel: Parcel,
    delivery: Delivery,
    key: Key | None,
    pieces: Callable[[], Iterator[bytes]],
    sources: ExitStack,
    records: Records | None,
) -> None:
    """Send, find out what came of it where the answer does not say, and write it down."""
    try:
        with sources:
            try:
                delivery.batch = await _post(desk, parcel, delivery, pieces, records)
            except CallError as error:
                whole = delivery.sent or isinstance(error, UnusableAnswer)
                delivery.failure = error if whole or not maybe_accepted(error) else not_accepted(error)
        if records is not None:
            delivery.recorded = False
            await _record(desk, parcel.tool, records, delivery)
    except Exception as error:  # handed to whoever waits, whose boundary it is
        delivery.failure = error
        log.warning("a create ended badly", exc_info=not isinstance(error, CallError))
    finally:
        desk.underway.remove(key, delivery)
        delivery.done.set()


async def _post(
    desk: Desk,
    parcel: Parcel,
    delivery: Delivery,
    pieces: Callable[[], Iterator[bytes]],
    records: Records | None,
) -> Mapping[str, Any]:
    upstream = desk.forward.upstream

    def times_s() -> tuple[float, float]:
        return upstream.time_s() if upstream.time_is_known else math.inf, upstream.clock.now_s()

    def before_the_last_byte() -> None:
        if records is not None and delivery.entry is not None:
            sent_s, measured_s = anyio.from_thread.run_sync(times_s)
            records.ledger.sent(delivery.entry.key, sent_s)
            records.sent_s[delivery.entry.key] = measured_s
        delivery.sent = True

    def counted() -> Iterator[bytes]:
        delivery.begun, delivery.sent_bytes, delivery.sent = True, 0, False
        for piece in pieces():
            if delivery.sent_bytes + len(piece) >= parcel.length_bytes:
                before_the_last_byte()
            yield piece
            delivery.sent_bytes += len(piece)

    answer = await desk.forward.answer(parcel.tool, parcel.arguments, lambda _: Upload(parcel.length_bytes, counted))
    delivery.headers = answer.headers
    batch = result.shape(parcel.tool.result, answer)
    if not isinstance(batch.get("id"), str):
        message = f"the upstream accepted the create, but its answer has no batch id: {answer.description}."
        next_step = "Look at the list for the batch before anything else."
        raise UnusableAnswer(ErrorReport("unusable_answer", message, next_step, Retry.UNSAFE, status=answer.status))
    desk.forward.recent.note(parcel.tool.request, parcel.arguments, batch, upstream.clock.now_s())
    return batch


async def _record(desk: Desk, tool: ToolPlan, records: Records, delivery: Delivery) -> None:
    """Write down what came of a create, unless the ledger cannot be written to; then the next call tries again."""
    ledger, entry = records.ledger, delivery.entry
    assert entry is not None  # noqa: S101 - it is in the ledger
    try:
        if delivery.batch is not None:
            await anyio.to_thread.run_sync(ledger.accepted, entry.key, delivery.batch)
        elif isinstance(delivery.failure, CallError) and not maybe_accepted(delivery.failure):
            await anyio.to_thread.run_sync(ledger.settled, entry.key, State.REFUSED)
            await anyio.to_thread.run_sync(records.drop, entry.body)
        else:
            await _settle_doubt(desk, tool, records, entry, delivery)
    except StateUnusable as error:
        log.warning("%s", error)
        if delivery.batch is not None:
            delivery.warnings.append(f"The batch exists, but it could not be written down: {error.report.message}")
        return
    delivery.recorded = True
    if delivery.batch is not None:
        assert desk.all_records is not None  # noqa: S101 - there are records
        desk.tasks.start_soon(desk.long_work, records.kept.compress, entry.body, desk.all_records.stopping)


async def _settle_doubt(desk: Desk, tool: ToolPlan, records: Records, entry: Entry, delivery: Delivery) -> None:
    verdict = await look(desk, tool, records, entry)
    match verdict:
        case Adopt(batch):
            delivery.batch, delivery.failure = batch, None
            return
        case Candidates([batch]):
            delivery.candidate = batch
    delivery.failure = unsettled(entry, verdict, delivery.failure if isinstance(delivery.failure, CallError) else None)


async def _watch(desk: Desk, delivery: Delivery, progress: Progress) -> None:
    """Wait until a delivery has ended, telling how far it is."""
    uploads = desk.forward.upstream.uploads

    def words(sent: int, total: int) -> str:
        if not delivery.begun and uploads.all_taken:
            return f"waiting for its turn: {uploads.most} creates are sent at a time"
        return f"{sent:,} of {total:,} bytes sent" if sent < total else "waiting for the answer"

    async with anyio.create_task_group() as tasks:

        async def tell() -> None:
            while True:
                await anyio.sleep(_PROGRESS_EVERY_S)
                sent, total = delivery.sent_bytes, delivery.body_bytes
                await progress(sent, total, words(sent, total))

        tasks.start_soon(tell)
        await delivery.done.wait()
        tasks.cancel_scope.cancel()
