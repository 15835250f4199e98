"""The ids of the newest batches, to offer while a user types one."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from batches_mcp.api.siblings import Siblings
from batches_mcp.core.plan import ToolPlan
from batches_mcp.exchange import result
from batches_mcp.exchange.forward import Forward

# Long enough that the upstream is asked once for a word that is typed, short enough that a new batch is soon there.
_KEPT_S = 10.0
# As many as one completion may hold (MCP), and one page of the list.
_MOST = 100


class NewestIds:
    """Remembers the newest page of the list for some seconds; callers at the same time share one question."""

    def __init__(self) -> None:
        self._ids: Sequence[str] = ()
        self._until_s = 0.0
        self._asking = anyio.Lock()

    async def ids(self, forward: Forward, tool: ToolPlan) -> Sequence[str]:
        """Ids, newest first; `tool` is any whose path is one of the batches'.

        Raises:
            CallError: the upstream gives no list.
        """
        async with self._asking:
            clock = forward.upstream.clock
            if clock.now_s() >= self._until_s:
                self._ids = await _newest(forward, tool)
                self._until_s = clock.now_s() + _KEPT_S
            return self._ids


async def _newest(forward: Forward, tool: ToolPlan) -> Sequence[str]:
    listing = Siblings(tool).list
    page = result.whole(listing.result, await forward.answer(listing, {"limit": _MOST}))
    rows = page.get("data")
    ids = [row.get("id") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return [each for each in ids if isinstance(each, str)]
