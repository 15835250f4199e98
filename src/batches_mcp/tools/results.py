"""`results`: the results of a batch that has ended, in pages, from a copy on disk or straight from the stream.

The batch is retrieved with the current key first, always; see `ended`. A small batch is copied at once. Of a larger one
the first page streams just its own rows; whatever needs more (a later page, a filter, a file) makes the copy.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio
import anyio.to_thread

from batches_mcp.api.ended import Ended
from batches_mcp.api.operations import BATCH_ID
from batches_mcp.core.errors import CallError, ErrorReport, Retry, StateUnusable
from batches_mcp.core.state import unusable
from batches_mcp.exchange import result
from batches_mcp.requests.cost import actual_usd, billed_usd
from batches_mcp.requests.tokens import Tokens
from batches_mcp.store.spool import Spool
from batches_mcp.tools import OUR_KEY
from batches_mcp.tools.asked import Asked, Found, read_arguments
from batches_mcp.tools.call import Call
from batches_mcp.tools.cursor import cursor_to, digest
from batches_mcp.tools.export import export
from batches_mcp.tools.known import Known
from batches_mcp.tools.page import Page
from batches_mcp.tools.picking import Picker, from_spool
from batches_mcp.tools.refused import explained
from batches_mcp.tools.totals import Totals, advice, billed, billed_words
from batches_mcp.work.answered import note_answers
from batches_mcp.work.download import is_whole, spooled, whole_copy
from batches_mcp.work.in_progress import Download
from batches_mcp.work.learn import in_doubt, learn

_MOST_STREAMS = 3
_ASK_AGAIN_S = 20
_MOST_NAMED = 20
# A cursor and a notice at their longest, without what the caller's own arguments add to them.
_REMARKS_CHARS = 1_500
# A gap between two lines takes at most 3 bytes, which are 4 characters of base64.
_GAP_CHARS = 4


async def answer(call: Call) -> dict[str, Any]:
    """A page of results, or a file with all of them.

    Raises:
        CallError: whatever went wrong: the batch has not ended, its results are gone, a cursor does not fit.
    """
    deadline_s = anyio.current_time() + call.limits.call_s
    asked = read_arguments({**call.arguments, BATCH_ID: call.batch_id})
    async with explained(call):
        try:
            return await _answer(call, asked, deadline_s)
        except FileNotFoundError:
            # Another process has removed the copy between looking and reading.
            try:
                return await _answer(call, asked, deadline_s)
            except FileNotFoundError as error:
                raise unusable(call.account.state.spools().folder, error) from error


@dataclass(frozen=True, slots=True)
class _Look:
    """What a call asks for, and of which batch; `doubt` is what must be said of one that only may be ours."""

    asked: Asked
    batch: Ended
    known: Known
    doubt: str | None


async def _answer(call: Call, asked: Asked, deadline_s: float) -> dict[str, Any]:
    async with call.runtime.turn():
        batch = await call.account.batches.ended(asked.batch_id)
        seen = await learn(call.account, [batch.batch])
        doubts = " ".join(in_doubt(entry) for entry in seen.doubted.values())
        look = _Look(asked, batch, Known.of(seen, batch.id), doubts or None)
        copy = await whole_copy(call.account, batch.id, batch.total)
        if copy is not None and "as_file" not in call.arguments:
            return await _spooled(look, copy)
    return await _fetched(call, look, copy, deadline_s)


async def _fetched(call: Call, look: _Look, copy: Spool | None, deadline_s: float) -> dict[str, Any]:
    asked, batch = look.asked, look.batch
    kind = call.arguments.get("as_file")
    if kind is None and batch.total > call.limits.copied_rows and asked.is_first_page:
        return await _streamed(call, look, deadline_s)
    try:
        left_s = deadline_s - anyio.current_time()
        note = partial(note_answers, call.account)
        found = await spooled(call.account, batch, call.progress, left_s, note) if copy is None else copy
    except StateUnusable:
        if kind is not None:
            raise
        return await _streamed(call, look, deadline_s)
    if isinstance(found, Download):
        return _under_way(look, found, kind)
    if kind is None:
        return await _spooled(look, found)
    if not is_whole(found, batch):
        raise _not_whole(batch, found)
    file = await export(call, found, kind, asked.outcomes, asked.ids)
    return _content(look, found) | {"file": file}


async def _spooled(look: _Look, spool: Spool) -> dict[str, Any]:
    try:
        found = await anyio.to_thread.run_sync(from_spool, look.asked, _page(look, spool), spool)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unusable(spool.path, error) from error
    remarks = [] if is_whole(spool, look.batch) else [_missing(look.batch, spool)]
    return _paged(look, spool, found, remarks)


async def _streamed(call: Call, look: _Look, deadline_s: float) -> dict[str, Any]:
    """A page from the stream itself; a stream that is cut is read again from its beginning."""
    asked, batch = look.asked, look.batch
    for attempt in range(1, _MOST_STREAMS + 1):
        picker = Picker(asked, _page(look, None), batch.total, call.limits.line_bytes)
        with anyio.move_on_after(max(0.0, deadline_s - anyio.current_time())) as scope:
            head = await call.account.batches.results(batch, picker.take)
        if scope.cancelled_caught:
            raise _too_slow(call.limits.call_s)
        found = picker.end(complete=head.complete)
        if not found.cut:
            break
        if attempt == _MOST_STREAMS and not found.page.rows:
            raise _broken()
    remarks = []
    if found.cut:
        remarks.append("The upstream's stream was cut before this page was full; the next page goes on from here.")
    if asked.is_first_page:
        remarks.append("Usage and counts by type of error come with a next page, a filter or as_file.")
    return _paged(look, None, found, remarks)


def _page(look: _Look, spool: Spool | None) -> Page:
    """An empty page with the room that the rest of the answer leaves."""
    asked = look.asked
    rest = result.encode(_content(look, spool))
    chosen = len(asked.chosen or asked.ids)
    names = sum(len(custom_id) for custom_id in asked.ids[:_MOST_NAMED])
    used = _REMARKS_CHARS + 2 * len(asked.batch_id.encode()) + _GAP_CHARS * chosen + names
    return asked.page(result.MAX_CHARS - len(rest) - used, result.MAX_BYTES - len(rest.encode()) - used)


def _paged(look: _Look, spool: Spool | None, found: Found, remarks: list[str]) -> dict[str, Any]:
    asked = look.asked
    if found.unknown:
        named = ", ".join(found.unknown[:_MOST_NAMED])
        more = len(found.unknown) - _MOST_NAMED
        remarks = [*remarks, f"No row has the custom_id {named}{f' or {more:,} others' if more > 0 else ''}."]
    ids = asked.cursor.ids if asked.cursor else digest(asked.ids)
    cursor = None
    if found.rest:
        cursor = cursor_to(look.batch.id, found.rest, found.lines, found.order, asked.outcomes, ids)
    content = _content(look, spool)
    return content | {
        "rows": found.page.rows,
        "has_more": cursor is not None,
        "next_cursor": cursor,
        "notice": " ".join(filter(None, [look.doubt, *remarks])) or None,
    }


def _content(look: _Look, spool: Spool | None) -> dict[str, Any]:
    """An answer without rows; totals cover the whole batch or are not there."""
    batch = look.batch.batch
    counts: dict[str, Any] = dict(batch.counts)
    ours: dict[str, Any] = {**({"candidate": True} if look.doubt else {}), **look.known.facts}
    ours.pop("cost_usd", None)  # `usage` has it
    usage, steps = None, [billed_words(batch)]
    whole = spool is not None and is_whole(spool, look.batch)
    if spool is not None and whole:
        totals = Totals.of(spool)
        counts |= {"errors": _most_common(spool.errors), **totals.counts()}
        usage = _usage(spool)
        ours |= billed(batch, usage["cost_usd"])
        steps.append(advice(batch, totals, ours=look.known.retriable, retries=look.known.retries))
    if look.asked.cursor is None and (next_step := " ".join(filter(None, steps))):
        ours["next_step"] = next_step
    return {
        "message_batch_id": look.batch.id,
        "rows": [],
        "has_more": False,
        "next_cursor": None,
        "counts": counts,
        "usage": usage,
        "totals_complete": whole,
        "notice": look.doubt,
        **({OUR_KEY: ours} if ours else {}),
    }


def _usage(spool: Spool) -> dict[str, Any]:
    """What the batch used, all models together."""
    total = sum(spool.tokens.values(), Tokens())
    return {
        **total.used(),
        "cost_usd": billed_usd(actual_usd(spool.tokens)),
    }


def _most_common(errors: dict[str, int]) -> dict[str, int]:
    counter = Counter(errors)
    common = dict(counter.most_common(_MOST_NAMED))
    rest = counter.total() - sum(common.values())
    return common | ({"other": common.get("other", 0) + rest} if rest else {})


def _under_way(look: _Look, download: Download, kind: str | None) -> dict[str, Any]:
    """The answer while a download goes on; nothing that the caller has is lost."""
    asked, batch = look.asked, look.batch
    cursor = asked.cursor_text
    if cursor is None and kind is None and not asked.ids:
        cursor = cursor_to(batch.id, [0], 0, 0, asked.outcomes, b"")
    notice = (
        f"The results are still being fetched, and that goes on: {download.rows:,} of {batch.total:,} rows "
        f"({download.received_bytes:,} bytes) so far. Call again with the same arguments in {_ASK_AGAIN_S} s."
    )
    notice = f"{look.doubt} {notice}" if look.doubt else notice
    return _content(look, None) | {"has_more": True, "next_cursor": cursor, "notice": notice}


def _missing(batch: Ended, spool: Spool) -> str:
    ignored = spool.head.ignored
    were = "other line of it was not a result" if ignored == 1 else "other lines of it were not results"
    others = f" {ignored:,} {were} of this batch." if ignored else ""
    if len(spool) < batch.total:
        arrived = f"{len(spool):,} of {batch.total:,} rows have arrived. The same call later asks for the others."
    else:
        arrived = (
            f"what arrived, {len(spool):,} rows, cannot all be of this batch, which has {batch.total:,}. "
            "The same call later asks for them again."
        )
    return f"The upstream's stream was cut or wrong each time: {arrived}{others}"


def _not_whole(batch: Ended, spool: Spool) -> CallError:
    message = f"no file was written, because rows are missing. {_missing(batch, spool)}"
    next_step = "Call again in a minute; pages (without as_file) show what has arrived."
    return CallError(ErrorReport("results_incomplete", message, next_step, Retry.HELPS, retry_after_s=60.0))


def _broken() -> CallError:
    message = f"the upstream's stream of results broke {_MOST_STREAMS} times before the first row of this page."
    return CallError(ErrorReport("connection_error", message, "Try again later.", Retry.HELPS))


def _too_slow(most_s: float) -> CallError:
    message = f"the rows of this page did not arrive within {most_s:g} s."
    return CallError(ErrorReport("timeout", message, "Ask for fewer rows, or try again later.", Retry.HELPS))
