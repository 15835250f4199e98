"""Sending a create: in a task of its own, that outlasts the call; what came of it is found out and written down."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

import anyio
import anyio.from_thread
import anyio.to_thread

from batches_mcp.api.batch import Batch
from batches_mcp.core.errors import CallError, ErrorReport, Retry, StateUnusable, UnusableAnswer
from batches_mcp.core.plan import ToolPlan
from batches_mcp.exchange import result
from batches_mcp.exchange.request import Upload
from batches_mcp.store.entry import Draft, Entry, State
from batches_mcp.store.records import Records
from batches_mcp.store.state import Presence
from batches_mcp.work.account import Account
from batches_mcp.work.evidence import Adopt, Candidates, Unknown, maybe_accepted
from batches_mcp.work.in_progress import Delivery, Key
from batches_mcp.work.reconcile import look
from batches_mcp.work.refusals import not_accepted, not_shown_alive, taken_over, unsettled
from batches_mcp.work.runtime import Progress

log = logging.getLogger(__name__)

# Each piece is handed to the event loop, which takes as long as sending it when pieces are a quarter of this.
_PIECE_BYTES = 1 << 20
_LOOK_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class OutgoingCreate:
    """What a create sends: the body at `path`. `arguments` build the request but for it, `about` is for the ledger."""

    tool: ToolPlan
    arguments: Mapping[str, Any]
    path: Path
    about: Draft


def start(
    account: Account,
    outgoing: OutgoingCreate,
    key: Key | None,
    entry: Entry | None,
    body: BinaryIO,
    sources: ExitStack,
    records: Records | None = None,
) -> Delivery:
    """Begin to send a body, in a task that outlasts the call and closes `sources`."""
    delivery = Delivery(outgoing.about.body_bytes, entry)
    account.runtime.deliveries.add(key, delivery)
    account.runtime.tasks.start_soon(_deliver, account, outgoing, delivery, key, body, sources, records)
    return delivery


async def _deliver(
    account: Account,
    outgoing: OutgoingCreate,
    delivery: Delivery,
    key: Key | None,
    body: BinaryIO,
    sources: ExitStack,
    records: Records | None,
) -> None:
    """Send, find out what came of it where the answer does not say, and write it down."""
    try:
        with sources:
            try:
                delivery.batch = await _post(account, outgoing, delivery, body, records)
            except CallError as error:
                whole = delivery.sent or isinstance(error, UnusableAnswer)
                delivery.failure = error if whole or not maybe_accepted(error) else not_accepted(error)
        if records is not None:
            delivery.recorded = False
            await record(account, records, delivery)
    except Exception as error:  # handed to whoever waits, whose boundary it is
        delivery.failure = error
        log.warning("a create ended badly", exc_info=not isinstance(error, CallError))
    finally:
        account.runtime.deliveries.remove(key, delivery)
        delivery.done.set()
    if records is not None and not delivery.recorded:
        await _record_later(account, records, delivery, key)


async def _record_later(account: Account, records: Records, delivery: Delivery, key: Key | None) -> None:
    """Write it down once that can be done: as long as this process lives, others take the create for one under way."""
    while not delivery.recorded:
        await anyio.sleep(account.limits.record_again_s)
        try:
            if not delivery.recorded:
                await record(account, records, delivery)
        except Exception:  # the next call of the same content is told
            log.warning("what came of a create is not written down", exc_info=True)
            return
    account.runtime.deliveries.remove(key, delivery)


async def _post(
    account: Account,
    outgoing: OutgoingCreate,
    delivery: Delivery,
    body: BinaryIO,
    records: Records | None,
) -> Batch:
    upstream, length_bytes = account.upstream, delivery.body_bytes

    def times_s() -> tuple[float, float]:
        return upstream.time_s() if upstream.time_is_known else math.inf, upstream.clock.now_s()

    def before_the_last_byte() -> None:
        if records is not None and delivery.entry is not None:
            sent_s, measured_s = anyio.from_thread.run_sync(times_s)
            entry = delivery.entry
            if not records.ledger.sent(entry.key, sent_s, entry.owner) or records.presence.left_s <= 0:
                raise taken_over(records.ledger.database.name)
            records.sent_s[entry.key] = measured_s
        delivery.sent = True

    def counted() -> Iterator[bytes]:
        delivery.begun, delivery.sent_bytes, delivery.sent = True, 0, False
        for piece in file_pieces(body):
            if delivery.sent_bytes + len(piece) >= length_bytes:
                before_the_last_byte()
            yield piece
            delivery.sent_bytes += len(piece)

    with anyio.CancelScope() as scope:
        ended = anyio.Event()
        if records is not None and records.presence.left_s < math.inf:
            account.runtime.tasks.start_soon(_end_in_time, records.presence, scope, ended)
        try:
            upload = Upload(length_bytes, counted)
            answer = await account.forward.answer(outgoing.tool, outgoing.arguments, lambda _: upload)
        finally:
            ended.set()
    if scope.cancelled_caught:
        assert records is not None  # noqa: S101 - whose presence ended
        raise not_shown_alive(records.ledger.database.name)
    delivery.headers = answer.headers
    shaped = result.shape(outgoing.tool.result, answer)
    batch = Batch.of(shaped)
    if not batch.id:
        message = f"the upstream accepted the create, but its answer has no batch id: {answer.description}."
        next_step = "Look at the list for the batch before anything else."
        report = ErrorReport(
            "unusable_answer", message, next_step, Retry.UNSAFE, status=answer.status, at_shell=next_step
        )
        raise UnusableAnswer(report)
    account.forward.recent.note(outgoing.tool.request, outgoing.arguments, shaped, upstream.clock.now_s())
    caller, about = account.runtime.caller, outgoing.about
    for observer in upstream.observers:
        observer.submitted(None if caller is None else caller.team_name, about.rows, about.estimate_usd)
    return batch


async def _end_in_time(presence: Presence, scope: anyio.CancelScope, ended: anyio.Event) -> None:
    """End an exchange, and with it its connection, before others may take the create over."""
    name = presence.name
    while presence.name == name and (left_s := presence.left_s) > 0:
        with anyio.move_on_after(min(left_s, _LOOK_EVERY_S)):
            await ended.wait()
            return
    scope.cancel()


def file_pieces(file: IO[bytes]) -> Iterator[bytes]:
    """A file from its beginning, in pieces."""
    file.seek(0)
    while piece := file.read(_PIECE_BYTES):
        yield piece


async def record(account: Account, records: Records, delivery: Delivery) -> None:
    """Write down what came of a create, unless the ledger cannot be written to; then that is tried again."""
    ledger, entry = records.ledger, delivery.entry
    assert entry is not None  # noqa: S101 - it is in the ledger
    try:
        if delivery.batch is not None:
            await anyio.to_thread.run_sync(ledger.accepted, entry.key, delivery.batch)
        elif isinstance(delivery.failure, CallError) and not maybe_accepted(delivery.failure):
            await anyio.to_thread.run_sync(ledger.settled, entry.key, State.REFUSED)
            await anyio.to_thread.run_sync(records.drop, entry.body)
        else:
            await _settle_doubt(account, records, entry, delivery)
    except StateUnusable as error:
        log.warning("%s", error)
        if delivery.batch is not None and not delivery.done.is_set():
            delivery.warnings.append(f"The batch exists, but it could not be written down: {error.report.message}")
        elif isinstance(delivery.failure, CallError) and maybe_accepted(delivery.failure):
            delivery.failure = unsettled(entry, Unknown(error), account.limits, delivery.failure)
        return
    delivery.recorded = True
    if delivery.batch is not None:
        runtime = account.runtime
        assert runtime.all_records is not None  # noqa: S101 - there are records
        runtime.tasks.start_soon(runtime.long_work, records.kept.compress, entry.body, runtime.all_records.stopping)


async def _settle_doubt(account: Account, records: Records, entry: Entry, delivery: Delivery) -> None:
    verdict = await look(account, records, entry)
    match verdict:
        case Adopt(batch):
            delivery.batch, delivery.failure = batch, None
            return
        case Candidates([batch]):
            delivery.candidate = batch
    delivery.failure = unsettled(
        entry, verdict, account.limits, delivery.failure if isinstance(delivery.failure, CallError) else None
    )


async def watch(account: Account, delivery: Delivery, progress: Progress) -> None:
    """Wait until a delivery has ended, telling how far it is."""
    uploads = account.upstream.uploads

    def words(sent: int, total: int) -> str:
        if not delivery.begun and uploads.waiting:
            return f"waiting for its turn: {uploads.most} creates are sent at a time"
        return f"{sent:,} of {total:,} bytes sent" if sent < total else "waiting for the answer"

    async with anyio.create_task_group() as tasks:

        async def tell() -> None:
            while True:
                await anyio.sleep(account.limits.progress_s)
                sent, total = delivery.sent_bytes, delivery.body_bytes
                await progress(sent, total, words(sent, total))

        tasks.start_soon(tell)
        await delivery.done.wait()
        tasks.cancel_scope.cancel()
