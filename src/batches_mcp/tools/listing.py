"""`list`: a page of batches, cut to what one result holds so that following its ids leaves nothing out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from batches_mcp.api.batch import batches_in
from batches_mcp.exchange import result
from batches_mcp.exchange.request import invalid
from batches_mcp.tools import OUR_KEY
from batches_mcp.tools.call import Call
from batches_mcp.work.learn import learn


async def page(call: Call) -> dict[str, Any]:
    """The upstream page; see `cut`.

    Raises:
        CallError: whatever went wrong; both cursors at once are `InvalidArguments`.
    """
    if "after_id" in call.arguments and "before_id" in call.arguments:
        raise invalid("after_id, before_id: only one of the two can be given.")
    answer = await call.forward.answer(call.tool, call.arguments)
    page = result.whole(call.tool.result, answer)
    await learn(call.account, batches_in(page))
    return result.bounded(cut(page, backwards="before_id" in call.arguments), answer)


def cut(page: dict[str, Any], *, backwards: bool) -> dict[str, Any]:
    """The page itself where it fits; else without the rows at its far end, and saying how many those were.

    The next page then continues where this one ends: by `last_id`, or by `first_id` when going back. Rows are newest
    first in both directions, so the far end is the last row going on and the first going back. One row is always kept.
    """
    rows = page.get("data")
    if not _are_batches(rows) or result.fits(result.encode(page)):
        return page
    fewest, most = 1, len(rows)
    while fewest < most:
        middle = (fewest + most + 1) // 2
        if result.fits(result.encode(_with(page, rows, middle, backwards=backwards))):
            fewest = middle
        else:
            most = middle - 1
    return _with(page, rows, fewest, backwards=backwards)


def _with(page: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], keep: int, *, backwards: bool) -> dict[str, Any]:
    kept = rows[len(rows) - keep :] if backwards else rows[:keep]
    ids = {"first_id": kept[0]["id"], "last_id": kept[-1]["id"]}
    return {**page, "data": list(kept), "has_more": True, **ids, OUR_KEY: {"cut": len(rows) - keep}}


def _are_batches(rows: object) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(rows, list) and rows != [] and all(isinstance(row, dict) and "id" in row for row in rows)
