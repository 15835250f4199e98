"""Finding out what became of a create that got no answer, by what the upstream lists. It never sends a create."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import anyio
import anyio.to_thread

from batches_mcp.api.account import Desk
from batches_mcp.api.facts import upstream_now_s
from batches_mcp.api.siblings import BATCH_ID, Siblings
from batches_mcp.core.errors import CallError, ErrorReport, MissingVariable, UnusableAnswer
from batches_mcp.core.plan import ToolPlan
from batches_mcp.exchange import result
from batches_mcp.exchange.result import Answer
from batches_mcp.store.entry import DOUBT_S, Baseline, Entry, State
from batches_mcp.store.records import Records
from batches_mcp.work import evidence
from batches_mcp.work.evidence import Adopt, Batch, Candidates, InDoubt, NoneFound, Unknown, Verdict

log = logging.getLogger(__name__)

# A batch may take a moment to be listed. In all about 30 s.
_PAUSES_S = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0)
_PAGE = 100
# `Date` has whole seconds, and not every machine behind a gateway has the same.
_SKEW_S = 60.0
# For the question before a create, without whose answer it goes on.
_BASELINE_S = 5.0


async def baseline(desk: Desk, tool: ToolPlan) -> Baseline:
    """The upstream just before a create: its time, and its newest batch."""
    upstream, listing = desk.forward.upstream, Siblings(tool).list
    try:
        with anyio.fail_after(min(_BASELINE_S, upstream.limits.call_s / 4)):
            answer = await desk.forward.answer(listing, {"limit": 1}, once=True)
        page = result.whole(listing.result, answer)
        return evidence.baseline(page, answer.headers.get("date"), upstream.clock.wall_s())
    except (CallError, TimeoutError) as error:
        log.info("the list could not be read before a create: %s", error)
        return evidence.unmeasured(upstream.time_s()) if upstream.time_is_known else Baseline(upstream.clock.wall_s())


async def identify(desk: Desk, tool: ToolPlan) -> None:
    """Have the API name the account of a credential that was not seen before; it does so in any answer."""
    if not desk.accounts.is_known(tool.request):
        await baseline(desk, tool)


async def look(desk: Desk, tool: ToolPlan, records: Records, entry: Entry) -> Verdict:
    """Look for the batch of an entry that this process owns, for about 30 s, and write down what came of it.

    Once doubt has ended, two looks are enough: a list may be older than the `Date` of the answer it comes in. Canceled
    or not, the entry is free for the next look afterwards.
    """
    clock = desk.forward.upstream.clock
    found: Verdict = InDoubt(DOUBT_S)
    before = found
    try:
        for pause_s in _PAUSES_S:
            await clock.sleep(pause_s)
            before = found
            try:
                found = await _look_once(desk, tool, records, entry)
            except CallError as error:
                found = Unknown(error)
            if isinstance(found, Adopt | Candidates) or (isinstance(found, NoneFound) and found == before):
                break
        if isinstance(found, NoneFound) and found != before:
            found = InDoubt(1.0)
        if isinstance(found, NoneFound):
            await anyio.to_thread.run_sync(records.ledger.settled, entry.key, State.NONE_FOUND)
            await anyio.to_thread.run_sync(records.drop, entry.body)
        elif isinstance(found, Candidates):
            alone = found.batches[0] if len(found.batches) == 1 else None
            await anyio.to_thread.run_sync(records.ledger.candidate, entry.key, alone)
        return found
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(records.ledger.released, entry.key)


async def confirm(desk: Desk, tool: ToolPlan, records: Records, entry: Entry) -> bool | None:
    """Whether the candidate of an entry, which has ended, is its batch; None when that cannot be seen."""
    candidate = entry.shown
    ours = await _is_ours(desk, tool, records, entry, candidate)
    if ours is True:
        await anyio.to_thread.run_sync(records.ledger.adopted, entry.key, candidate)
    elif ours is False:
        log.warning("batch %s has other custom_ids than the create it might have been of", entry.batch_id)
        await anyio.to_thread.run_sync(records.ledger.candidate, entry.key, None)
    return ours


async def recover(desk: Desk, tool: ToolPlan) -> None:
    """What a server does when it starts: look for what processes that died left unsettled, and compress copies."""
    try:
        records = desk.begun_records(tool)
        if records is None or desk.all_records is None:
            return
        for entry in await anyio.to_thread.run_sync(records.left_behind):
            found = await look(desk, tool, records, entry)
            log.warning("a create of %d requests that was interrupted: %s", entry.rows, _words(found))
        await desk.long_work(records.compress, desk.all_records.stopping)
    except MissingVariable:
        return  # no credential, so no account, and every call will say so
    except CallError as error:
        log.warning("%s", error)


async def _look_once(desk: Desk, tool: ToolPlan, records: Records, entry: Entry) -> Verdict:
    batches, answer = await _newer_than(desk, tool, entry)
    known = await anyio.to_thread.run_sync(records.ledger.known, [str(batch.get("id")) for batch in batches])
    ours: list[Batch] = []
    possible: list[Batch] = []
    for batch in evidence.candidates(batches, entry, known):
        match await _is_ours(desk, tool, records, entry, batch):
            case True:
                ours.append(batch)
            case None:
                possible.append(batch)
            case False:
                pass
    alike = await anyio.to_thread.run_sync(records.ledger.alike, entry)
    found = evidence.verdict(ours, possible, await _doubt_left_s(desk, records, entry, answer), alike)
    if isinstance(found, Adopt) and not await anyio.to_thread.run_sync(records.ledger.adopted, entry.key, found.batch):
        return Candidates([found.batch])
    return found


async def _doubt_left_s(desk: Desk, records: Records, entry: Entry, answer: Answer) -> float:
    """How long a batch of an entry may still come to be: by the upstream's time, or by what this process measured."""
    clock = desk.forward.upstream.clock
    now_s = upstream_now_s(answer.headers.get("date"), clock.wall_s())
    sent_s = entry.started_s if entry.sent_s is None else entry.sent_s
    if sent_s > now_s + _SKEW_S:
        # It was not known what time it was upstream, or another clock told it.
        await anyio.to_thread.run_sync(records.ledger.sent, entry.key, now_s)
        sent_s = now_s
    measured_s = records.sent_s.get(entry.key, math.inf)
    return DOUBT_S - max(now_s - sent_s, clock.now_s() - measured_s)


async def _newer_than(desk: Desk, tool: ToolPlan, entry: Entry) -> tuple[list[Batch], Answer]:
    """The batches that are listed, newest first, to where those begin that are older than an entry."""
    listing = Siblings(tool).list
    arguments: dict[str, Any] = {"limit": _PAGE}
    batches: list[Batch] = []
    while True:
        answer = await desk.forward.answer(listing, arguments)
        page = result.whole(listing.result, answer)
        rows = page.get("data")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            message = f"expected a list of batches, found {answer.description}."
            raise UnusableAnswer(ErrorReport("unusable_answer", message, "Tell the user."))
        for batch in rows:
            if batch.get("id") == entry.newest_id or evidence.created_s(batch) < entry.since_s:
                return batches, answer
            batches.append(batch)
        if not rows or not page.get("has_more"):
            return batches, answer
        arguments = {"limit": _PAGE, "after_id": rows[-1].get("id")}


async def _is_ours(desk: Desk, tool: ToolPlan, records: Records, entry: Entry, batch: Mapping[str, Any]) -> bool | None:
    """Whether the results of a batch have custom_ids of an entry's requests, and of no other create's that looks for
    its batch; None when that cannot be seen, or not yet.

    The first results that one answer holds are enough: results come in any order, so that they are a sample.
    """
    if batch.get("processing_status") != "ended":
        return None
    try:
        page = await desk.forward.content(Siblings(tool).results, {BATCH_ID: str(batch.get("id"))})
        ids = [str(row["custom_id"]) for row in page.get("rows", ()) if isinstance(row, dict) and "custom_id" in row]
        return await anyio.to_thread.run_sync(_proven, records, entry, set(ids)) if ids else None
    except (CallError, FileNotFoundError):
        return None


def _proven(records: Records, entry: Entry, ids: set[str]) -> bool | None:
    """What these custom_ids of results say of an entry. A few that are nobody's may have slipped into a stream."""
    ours = records.kept.matches(entry.body, entry.betas, ids)
    if not ours:
        return False
    if 2 * ours <= len(ids):
        return None
    for rival in records.ledger.rivals(entry):
        try:
            if records.kept.matches(rival.body, rival.betas, ids):
                return None
        except FileNotFoundError:
            return None
    return True


def _words(found: Verdict) -> str:
    match found:
        case Adopt(batch):
            return f"its batch is {batch.get('id')}"
        case Candidates(batches):
            return f"its batch may be {' or '.join(str(batch.get('id')) for batch in batches)}"
        case InDoubt(left_s):
            return f"no batch of it is listed; one may still be made for {left_s:.0f} s"
        case NoneFound():
            return "no batch of it exists"
        case Unknown(error):
            return f"it cannot be found out yet what became of it: {error}"
