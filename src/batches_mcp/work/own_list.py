"""The list as a team sees it: the upstream's without the batches of others, in pages that leave out none of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio

from batches_mcp.api.batch import Batch
from batches_mcp.core.errors import CallError, ErrorReport, Retry, UnusableAnswer
from batches_mcp.exchange.request import invalid
from batches_mcp.exchange.result import Answer
from batches_mcp.work.account import Account
from batches_mcp.work.ownership import own_ids, require_own

_MOST = 1_000
_DEFAULT = 20
# The first look is a small one: what a team asks for is mostly new.
_FIRST = 100


async def own_page(account: Account, query: dict[str, Any]) -> tuple[dict[str, Any], Answer]:
    """A page of the caller's own batches, with the upstream's last answer; `query` is that of the upstream's list.

    The upstream's list is read, however many batches of others stand in it, until the page is full or no own batch
    can come any more, which the ledger knows.

    Raises:
        CallError: a batch to continue from is not the caller's; or the list is too long for one call.
    """
    limit = _limit(query.get("limit"))
    after_id, before_id = query.get("after_id"), query.get("before_id")
    if after_id is not None and before_id is not None:
        raise invalid("after_id, before_id: only one of the two can be given.")
    for name in (after_id, before_id):
        if name is not None:
            await require_own(account, name)
    ids = await own_ids(account)
    back = before_id is not None
    anchor = before_id if back else after_id
    own = frozenset(ids)
    found: list[Batch] = []
    # Those of them that are still to come; the order in which creates began is nearly that of their batches.
    place = ids.index(anchor) if anchor in own else None
    missing = own if place is None else frozenset(ids[:place] if back else ids[place + 1 :])
    cursor = anchor
    answer: Answer | None = None
    more = True
    with anyio.move_on_after(account.upstream.limits.call_s) as time:
        while more and (answer is None or (missing and len(found) <= limit)):
            size = max(_FIRST, limit) if answer is None else _MOST
            page = await account.batches.page(size, None if back else cursor, before_id=cursor if back else None)
            if not page.complete:
                message = f"expected a list of batches, found {page.answer.description}."
                raise UnusableAnswer(ErrorReport("unusable_answer", message, "Tell the user."))
            answer = page.answer
            here = [batch for batch in page.batches if batch.id in own]
            missing -= {batch.id for batch in here}
            found = [*here, *found] if back else [*found, *here]
            more = page.has_more and bool(page.batches)
            if more:
                cursor = page.batches[0 if back else -1].id
    if answer is None or (time.cancelled_caught and not found):
        raise _too_long(account.upstream.limits.call_s)
    rows = found[-limit:] if back else found[:limit]
    has_more = len(found) > limit or (more and bool(missing))
    return _content(rows, has_more=has_more), answer


def _content(rows: Sequence[Batch], *, has_more: bool) -> dict[str, Any]:
    ids = [batch.id for batch in rows]
    return {
        "data": [dict(batch.raw) for batch in rows],
        "has_more": has_more,
        "first_id": ids[0] if ids else None,
        "last_id": ids[-1] if ids else None,
    }


def _limit(given: Any) -> int:
    if given is None:
        return _DEFAULT
    try:
        limit = int(given)
    except (TypeError, ValueError):
        limit = 0
    if not 1 <= limit <= _MOST:
        raise invalid(f"limit: expected a whole number from 1 to {_MOST:,}.")
    return limit


def _too_long(call_s: float) -> CallError:
    message = f"none of your team's batches was found in the list within the {call_s:g} s of a call."
    next_step = "Make the same call again in a little while, or retrieve a batch by its id."
    return CallError(ErrorReport("timeout", message, next_step, Retry.HELPS))
