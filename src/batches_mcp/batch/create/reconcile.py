"""Finding out what became of a create that got no answer, by what the upstream lists. It never sends a create."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import anyio
import anyio.to_thread

from batches_mcp import result
from batches_mcp.batch.account import account_id
from batches_mcp.batch.call import Desk
from batches_mcp.batch.create.entry import Entry, State
from batches_mcp.batch.create.evidence import (
    Adopt,
    Batch,
    NoneFound,
    Several,
    Unknown,
    Verdict,
    candidates,
    created_s,
    since_s,
    verdict,
)
from batches_mcp.batch.create.records import Records
from batches_mcp.batch.siblings import BATCH_ID, Siblings
from batches_mcp.errors import CallError, ErrorReport, MissingVariable, UnusableAnswer
from batches_mcp.plan import ToolPlan

log = logging.getLogger(__name__)

# A batch may take a moment to be listed. In all about 30 s.
_PAUSES_S = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0)
# An attempt that ended longer ago than that has been listed by now, so that one look is enough; so it is for one whose
# batch was looked for before.
_FRESH_S = 900.0
_PAGE = 100


async def look(
    desk: Desk, tool: ToolPlan, records: Records, entry: Entry, elapsed_s: Callable[[], float] | None = None
) -> Verdict:
    """Look for the batch of an entry that this process owns, for about 30 s, and write down what came of it.

    `elapsed_s` measures the time since the create began, when that was in this process. Canceled or not, the entry is
    free for the next look afterwards.
    """
    clock = desk.forward.upstream.clock
    ago_s = clock.wall_s() - entry.started_s
    again = entry.state is State.NONE_FOUND
    pauses_s = _PAUSES_S if elapsed_s or (abs(ago_s) < _FRESH_S and not again) else _PAUSES_S[:1]
    found: Verdict = NoneFound()
    try:
        for pause_s in pauses_s:
            await clock.sleep(pause_s)
            try:
                found = await _look_once(desk, tool, records, entry, elapsed_s)
            except CallError as error:
                found = Unknown(error)
            if isinstance(found, Adopt | Several):
                break
        if isinstance(found, NoneFound):
            await anyio.to_thread.run_sync(records.ledger.settled, entry.key, State.NONE_FOUND)
        return found
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(records.ledger.released, entry.key)


async def confirm(desk: Desk, tool: ToolPlan, records: Records, entry: Entry) -> None:
    """See whether an adopted batch that has ended is really the one; if not, the entry is unsettled again."""
    ours = await _has_our_ids(desk, tool, records, entry, str(entry.batch_id))
    if ours is True:
        await anyio.to_thread.run_sync(records.ledger.confirmed, entry.key)
    elif ours is False:
        log.warning("batch %s has other custom_ids than the create it was taken for", entry.batch_id)
        await anyio.to_thread.run_sync(records.ledger.disowned, entry.key)


async def recover(desk: Desk, tool: ToolPlan) -> None:
    """What a server does when it starts: look for what processes that died left unsettled, and tidy up."""
    try:
        if desk.all_records is None or not desk.all_records.begun(account_id(tool.request, desk.forward.variables)):
            return
        records = desk.all_records.of(account_id(tool.request, desk.forward.variables))
        for entry in await anyio.to_thread.run_sync(records.left_behind):
            found = await look(desk, tool, records, entry)
            log.warning("a create of %d requests that was interrupted: %s", entry.rows, _words(found))
        now_s = desk.forward.upstream.clock.wall_s()
        await desk.long_work(records.tidy, now_s, desk.all_records.stopping)
    except MissingVariable:
        return  # no credential, so no account, and every call will say so
    except CallError as error:
        log.warning("%s", error)


async def _look_once(
    desk: Desk, tool: ToolPlan, records: Records, entry: Entry, elapsed_s: Callable[[], float] | None
) -> Verdict:
    clock, siblings = desk.forward.upstream.clock, Siblings(tool)
    arguments: dict[str, Any] = {"limit": _PAGE}
    batches: list[Batch] = []
    oldest_s = entry.since_s
    while True:
        answer = await desk.forward.answer(siblings.list, arguments)
        if oldest_s is None:
            passed_s = elapsed_s() if elapsed_s else clock.wall_s() - entry.started_s
            oldest_s = since_s(answer.headers.get("date"), clock.wall_s(), passed_s, measured=elapsed_s is not None)
            await anyio.to_thread.run_sync(records.ledger.since, entry.key, oldest_s)
        page = result.whole(siblings.list.result, answer)
        rows = page.get("data")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise UnusableAnswer(
                ErrorReport(
                    "unusable_answer", f"expected a list of batches, found {answer.description}.", "Tell the user."
                )
            )
        batches += rows
        if not rows or not page.get("has_more") or created_s(rows[-1]) < oldest_s:
            break
        arguments = {"limit": _PAGE, "after_id": rows[-1].get("id")}
    known = await anyio.to_thread.run_sync(records.ledger.known, [str(batch.get("id")) for batch in batches])
    ours: list[Batch] = []
    possible: list[Batch] = []
    for batch in candidates(batches, entry.rows, oldest_s, known):
        match await _has_our_ids(desk, tool, records, entry, str(batch.get("id")), batch):
            case True:
                ours.append(batch)
            case None:
                possible.append(batch)
            case False:
                pass
    found = verdict(ours, possible, await anyio.to_thread.run_sync(records.ledger.rivals, entry))
    if isinstance(found, Adopt):
        adopted = await anyio.to_thread.run_sync(
            lambda: records.ledger.adopted(entry.key, found.batch, confirmed=found.confirmed)
        )
        return found if adopted else NoneFound()
    return found


async def _has_our_ids(
    desk: Desk, tool: ToolPlan, records: Records, entry: Entry, batch_id: str, batch: Mapping[str, Any] | None = None
) -> bool | None:
    """Whether the results of a batch have custom_ids of an entry's requests; None when that cannot be seen.

    The first results that one answer holds are enough: results come in any order, so that they are a sample.
    """
    if batch is not None and batch.get("processing_status") != "ended":
        return None
    try:
        page = await desk.forward.content(Siblings(tool).results, {BATCH_ID: batch_id})
        ids = [str(row["custom_id"]) for row in page.get("rows", ()) if isinstance(row, dict) and "custom_id" in row]
        if not ids:
            return None
        return not await anyio.to_thread.run_sync(records.kept.foreign, entry.content, ids)
    except (CallError, FileNotFoundError):
        return None


def _words(found: Verdict) -> str:
    match found:
        case Adopt(batch):
            return f"its batch is {batch.get('id')}"
        case Several(batches):
            return f"its batch may be one of {', '.join(str(batch.get('id')) for batch in batches)}"
        case NoneFound():
            return "no batch of it exists"
        case Unknown(error):
            return f"it cannot be found out yet what became of it: {error}"
