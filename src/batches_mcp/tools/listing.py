"""`list`: a page of batches, cut to what one result holds so that following its ids leaves nothing out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard
from urllib.parse import parse_qsl, urlsplit

from batches_mcp.api.batch import batches_in
from batches_mcp.exchange import result
from batches_mcp.exchange.request import build, invalid
from batches_mcp.tools import OUR_KEY
from batches_mcp.tools.call import Call
from batches_mcp.tools.known import facts
from batches_mcp.work.learn import learn
from batches_mcp.work.own_list import own_page
from batches_mcp.work.ownership import sees_all

Rows = Sequence[Mapping[str, Any]]


async def page(call: Call) -> dict[str, Any]:
    """The upstream page; see `cut`.

    Raises:
        CallError: whatever went wrong; both cursors at once are `InvalidArguments`.
    """
    if "after_id" in call.arguments and "before_id" in call.arguments:
        raise invalid("after_id, before_id: only one of the two can be given.")
    if sees_all(call.runtime.caller):
        answer = await call.forward.answer(call.tool, call.arguments)
        page = result.whole(call.tool.result, answer)
    else:
        page, answer = await own_page(call.account, asked_of(call))
    batches = batches_in(page)
    seen = await learn(call.account, batches)
    ours = {batch_id: facts(entry) for batch_id, entry in seen.known.items()}
    ours |= {batch_id: {"candidate": True, **facts(entry)} for batch_id, entry in seen.doubted.items()}
    return result.bounded(cut(page, ours, backwards="before_id" in call.arguments), answer)


def asked_of(call: Call) -> dict[str, str]:
    """What a call asks of the upstream's list, by the names that this has for it: limit, after_id and before_id."""
    outgoing = build(call.tool.request, call.arguments, call.forward.variables)
    return dict(parse_qsl(urlsplit(outgoing.url).query))


def cut(page: dict[str, Any], ours: Mapping[str, Any], *, backwards: bool) -> dict[str, Any]:
    """The page itself where it fits; else without the rows at its far end, and saying how many those were.

    Beside it stands what is known of `ours`, by their ids, as far as they are in what is left.

    The next page then continues where this one ends: by `last_id`, or by `first_id` when going back. Rows are newest
    first in both directions, so the far end is the last row going on and the first going back. One row is always kept.
    """
    rows = page.get("data")
    if not _are_batches(rows):
        return page
    if result.fits(result.encode(whole := _with(page, rows, ours))):
        return whole
    fewest, most = 1, len(rows)
    while fewest < most:
        middle = (fewest + most + 1) // 2
        if result.fits(result.encode(_without(page, rows, ours, middle, backwards=backwards))):
            fewest = middle
        else:
            most = middle - 1
    return _without(page, rows, ours, fewest, backwards=backwards)


def _without(
    page: Mapping[str, Any], rows: Rows, ours: Mapping[str, Any], keep: int, *, backwards: bool
) -> dict[str, Any]:
    kept = rows[len(rows) - keep :] if backwards else rows[:keep]
    ids = {"first_id": kept[0]["id"], "last_id": kept[-1]["id"]}
    return _with({**page, "data": list(kept), "has_more": True, **ids}, kept, ours, left_out=len(rows) - keep)


def _with(page: Mapping[str, Any], rows: Rows, ours: Mapping[str, Any], left_out: int = 0) -> dict[str, Any]:
    ids = [str(row["id"]) for row in rows]
    here = {batch_id: ours[batch_id] for batch_id in ids if batch_id in ours}
    added = {**({"known": here} if here else {}), **({"cut": left_out} if left_out else {})}
    return {**page, OUR_KEY: added} if added else dict(page)


def _are_batches(rows: object) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(rows, list) and rows != [] and all(isinstance(row, dict) and "id" in row for row in rows)
