"""The ids of the newest batches, to offer while a user types one."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from batches_mcp.api.batches import Batches

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

    async def ids(self, batches: Batches) -> Sequence[str]:
        """Ids, newest first.

        Raises:
            CallError: the upstream gives no list.
        """
        async with self._asking:
            clock = batches.upstream.clock
            if clock.now_s() >= self._until_s:
                self._ids = [batch.id for batch in (await batches.page(_MOST)).batches]
                self._until_s = clock.now_s() + _KEPT_S
            return self._ids
