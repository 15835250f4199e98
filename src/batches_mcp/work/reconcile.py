"""Finding out what became of a create that got no answer, by what the upstream lists. It never sends a create."""

from __future__ import annotations

import logging
import math

import anyio
import anyio.to_thread

from batches_mcp.api.batch import Batch
from batches_mcp.core.errors import CallError, ErrorReport, MissingVariable, UnusableAnswer
from batches_mcp.exchange.result import Answer
from batches_mcp.store.claim_rules import Baseline
from batches_mcp.store.entry import DOUBT_S, Entry, State
from batches_mcp.store.records import Records
from batches_mcp.work import evidence
from batches_mcp.work.account import Account
from batches_mcp.work.evidence import Adopt, Candidates, InDoubt, NoneFound, Unknown, Verdict, upstream_now_s

log = logging.getLogger(__name__)

_PAGE = 100
# `Date` has whole seconds, and not every machine behind a gateway has the same.
_SKEW_S = 60.0
# For the question before a create, without whose answer it goes on.
_BASELINE_S = 5.0


async def baseline(account: Account) -> Baseline:
    """The upstream just before a create: its time, and its newest batch."""
    upstream = account.upstream
    try:
        with anyio.fail_after(min(_BASELINE_S, account.limits.call_s / 4)):
            return evidence.baseline(await account.batches.page(1, once=True), upstream.clock.wall_s())
    except (CallError, TimeoutError) as error:
        log.info("the list could not be read before a create: %s", error)
        return evidence.unmeasured(upstream.time_s()) if upstream.time_is_known else Baseline(upstream.clock.wall_s())


async def identify(account: Account) -> None:
    """Have the API name the account of a credential that was not seen before; it does so in any answer."""
    if not account.is_known:
        await baseline(account)


async def look(account: Account, records: Records, entry: Entry) -> Verdict:
    """Look for the batch of an entry that this process owns, for about 30 s, and write down what came of it.

    Once doubt has ended, two looks are enough: a list may be older than the `Date` of the answer it comes in. Canceled
    or not, the entry is free for the next look afterwards.
    """
    clock = account.upstream.clock
    found: Verdict = InDoubt(DOUBT_S)
    before = found
    try:
        for pause_s in account.limits.look_pauses_s:
            await clock.sleep(pause_s)
            before = found
            try:
                found = await _look_once(account, records, entry)
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


async def confirm(account: Account, records: Records, entry: Entry) -> bool | None:
    """Whether the candidate of an entry, which has ended, is its batch; None when that cannot be seen."""
    candidate = entry.last_seen
    ours = await _is_ours(account, records, entry, candidate)
    if ours is True:
        await _adopted(account, records, entry, candidate)
    elif ours is False:
        log.warning("batch %s has other custom_ids than the create it might have been of", entry.batch_id)
        await anyio.to_thread.run_sync(records.ledger.candidate, entry.key, None)
    return ours


async def recover(account: Account) -> None:
    """Look for what processes that died left unsettled, and compress copies: when a server starts, and where the state
    is shared with other servers now and then.
    """
    runtime = account.runtime
    while runtime.all_records is not None:
        try:
            records = account.begun_records()
            if records is not None:
                for entry in await anyio.to_thread.run_sync(records.left_behind):
                    found = await look(account, records, entry)
                    log.warning("a create of %d requests that was interrupted: %s", entry.rows, _words(found))
                await runtime.long_work(records.compress, runtime.all_records.stopping)
        except MissingVariable:
            return  # no credential, so no account, and every call will say so
        except CallError as error:
            log.warning("%s", error)
        if runtime.state.look_every_s is None:
            return
        await anyio.sleep(runtime.state.look_every_s)


async def _look_once(account: Account, records: Records, entry: Entry) -> Verdict:
    batches, answer = await _newer_than(account, entry)
    known = await anyio.to_thread.run_sync(records.ledger.known, [batch.id for batch in batches])
    ours: list[Batch] = []
    possible: list[Batch] = []
    for batch in evidence.candidates(batches, entry, known):
        match await _is_ours(account, records, entry, batch):
            case True:
                ours.append(batch)
            case None:
                possible.append(batch)
            case False:
                pass
    alike = await anyio.to_thread.run_sync(records.ledger.alike, entry)
    found = evidence.verdict(ours, possible, await _doubt_left_s(account, records, entry, answer), alike)
    if isinstance(found, Adopt) and not await _adopted(account, records, entry, found.batch):
        return Candidates([found.batch])
    return found


async def _adopted(account: Account, records: Records, entry: Entry, batch: Batch) -> bool:
    """Whether a batch is an entry's from now on."""
    adopted = await anyio.to_thread.run_sync(records.ledger.adopted, entry.key, batch)
    for observer in account.upstream.observers if adopted else ():
        observer.submitted(entry.team, entry.rows, entry.estimate_usd)
    return adopted


async def _doubt_left_s(account: Account, records: Records, entry: Entry, answer: Answer) -> float:
    """How long a batch of an entry may still come to be: by the upstream's time, or by what this process measured."""
    clock = account.upstream.clock
    now_s = upstream_now_s(answer.headers.get("date"), clock.wall_s())
    sent_s = entry.started_s if entry.sent_s is None else entry.sent_s
    if sent_s > now_s + _SKEW_S:
        # It was not known what time it was upstream, or another clock told it.
        await anyio.to_thread.run_sync(records.ledger.sent, entry.key, now_s)
        sent_s = now_s
    measured_s = records.sent_s.get(entry.key, math.inf)
    return DOUBT_S - max(now_s - sent_s, clock.now_s() - measured_s)


async def _newer_than(account: Account, entry: Entry) -> tuple[list[Batch], Answer]:
    """The batches that are listed, newest first, to where those begin that are older than an entry."""
    batches: list[Batch] = []
    after_id = None
    while True:
        page = await account.batches.page(_PAGE, after_id)
        if not page.complete:
            message = f"expected a list of batches, found {page.answer.description}."
            raise UnusableAnswer(ErrorReport("unusable_answer", message, "Tell the user."))
        for batch in page.batches:
            if batch.id == entry.newest_id or evidence.created_s(batch) < entry.since_s:
                return batches, page.answer
            batches.append(batch)
        if not page.batches or not page.has_more:
            return batches, page.answer
        after_id = page.batches[-1].id


async def _is_ours(account: Account, records: Records, entry: Entry, batch: Batch) -> bool | None:
    """Whether the results of a batch have custom_ids of an entry's requests, and of no other create's that looks for
    its batch; None when that cannot be seen, or not yet. The first results are a sample that is enough.
    """
    if not batch.ended:
        return None
    try:
        ids = await account.batches.first_ids(batch.id)
        return await anyio.to_thread.run_sync(_proven, records, entry, ids) if ids else None
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
            return f"its batch is {batch.id}"
        case Candidates(batches):
            return f"its batch may be {' or '.join(batch.id for batch in batches)}"
        case InDoubt(left_s):
            return f"no batch of it is listed; one may still be made for {left_s:.0f} s"
        case NoneFound():
            return "no batch of it exists"
        case Unknown(error):
            return f"it cannot be found out yet what became of it: {error}"
