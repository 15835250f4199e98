"""Turns at what only so many may do at a time: who waits is served round robin over callers, and never for ever."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal, TypeAlias

import anyio

from batches_mcp.core.context import current
from batches_mcp.core.errors import ErrorReport, Retry, UpstreamUnreachable

log = logging.getLogger(__name__)

_RETRY_AFTER_S = 5.0

# What becomes of one that waits.
_Outcome: TypeAlias = Literal["turn", "crowded out", "closed"]


class _Waiting:
    """One that waits, of a caller that may have `share` turns; its outcome is None until it is decided."""

    def __init__(self, caller: str, share: int) -> None:
        self.caller = caller
        self.share = share
        self.outcome: _Outcome | None = None
        self.decided = anyio.Event()

    def decide(self, outcome: _Outcome) -> None:
        self.outcome = outcome
        self.decided.set()


class FairQueue:
    """At most `most` have a turn at a time; `what` names them.

    The others wait: first come, first served among those of one caller, and the callers one after another. A caller
    that is known by name has three quarters of the turns at the most, so that what it is stuck in leaves the others
    some. Nobody waits longer than `wait_s`, and there are at most `most_waiting`: beyond that, the last of the caller
    that has the most of them makes room.
    """

    def __init__(self, what: str, most: int, most_waiting: int, wait_s: float = math.inf) -> None:
        self.most = most
        self.waiting = 0
        self._what = what
        self._most_waiting = most_waiting
        self._wait_s = wait_s
        self._under_way = 0
        self._held: dict[str, int] = {}  # by caller
        self._closed = False
        # By caller; the one whose turn is next comes first. A caller is there only while it has somebody waiting.
        self._callers: dict[str, deque[_Waiting]] = {}

    @asynccontextmanager
    async def turn(self, within_s: float = math.inf) -> AsyncIterator[None]:
        """Wait for a turn, for `within_s` at the most, and have it for the length of the block.

        Raises:
            UpstreamUnreachable: there is none: too many wait, for too long, or the server is shutting down.
        """
        if self._closed:
            raise _shutting_down()
        call = current()
        known = call is not None and call.is_known
        caller = "" if call is None else call.caller
        share = max(1, self.most * 3 // 4) if known else self.most
        if self._may(caller, share):
            self._take(caller)
        else:
            await self._wait(_Waiting(caller, share), min(within_s, self._wait_s))
        try:
            yield
        finally:
            self._release(caller)

    def close(self) -> None:
        """Give no more turns; those who have one keep it, those who wait are notified."""
        self._closed = True
        for each in [each for queue in self._callers.values() for each in queue]:
            self._remove(each, "closed")

    def _may(self, caller: str, share: int) -> bool:
        return self._under_way < self.most and self._held.get(caller, 0) < share

    def _take(self, caller: str) -> None:
        self._under_way += 1
        self._held[caller] = self._held.get(caller, 0) + 1

    async def _wait(self, one: _Waiting, wait_s: float) -> None:
        log.debug("%d %s are under way; another one waits", self._under_way, self._what)
        self._callers.setdefault(one.caller, deque()).append(one)
        self.waiting += 1
        if self.waiting > self._most_waiting:
            # Of several with as many, the newcomer.
            longest = max(self._callers.values(), key=lambda queue: (len(queue), queue[-1] is one))
            self._remove(longest[-1], "crowded out")
        try:
            with anyio.move_on_after(wait_s):
                await one.decided.wait()
        except anyio.get_cancelled_exc_class():
            if one.outcome is None:
                self._remove(one)
            elif one.outcome == "turn":
                self._release(one.caller)
            raise
        match one.outcome:
            case None:
                self._remove(one)
                raise self._busy(f"no turn came within {wait_s:.3g} s")
            case "crowded out":
                raise self._busy(f"{self._most_waiting:,} more wait")
            case "closed":
                raise _shutting_down()
            case "turn":
                pass

    def _release(self, caller: str) -> None:
        """Give a turn back, and to whoever is next."""
        self._under_way -= 1
        self._held[caller] -= 1
        if not self._held[caller]:
            del self._held[caller]
        if not self._callers:
            return
        ahead = (queue[0] for queue in self._callers.values())
        following = next((each for each in ahead if self._may(each.caller, each.share)), None)
        if following is not None:
            self._remove(following, "turn")
            self._take(following.caller)
            if (left := self._callers.pop(following.caller, None)) is not None:
                self._callers[following.caller] = left

    def _remove(self, one: _Waiting, outcome: _Outcome | None = None) -> None:
        queue = self._callers[one.caller]
        queue.remove(one)
        self.waiting -= 1
        if not queue:
            del self._callers[one.caller]
        if outcome is not None:
            one.decide(outcome)

    def _busy(self, why: str) -> UpstreamUnreachable:
        message = f"this server is busy: {self._under_way:,} {self._what} are under way, and {why}. Nothing was sent."
        next_step = "Wait as long as it says, then call again."
        report = ErrorReport("server_busy", message, next_step, Retry.HELPS, _RETRY_AFTER_S, at_shell="Try again.")
        return UpstreamUnreachable(report, maybe_accepted=False)


def _shutting_down() -> UpstreamUnreachable:
    message = "the server is shutting down, and nothing was sent."
    next_step = "Call again when it is back."
    return UpstreamUnreachable(ErrorReport("shutting_down", message, next_step, Retry.HELPS), maybe_accepted=False)
