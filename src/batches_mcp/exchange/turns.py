"""Turns: what only a few may do at a time is done by the others when their turn comes."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from batches_mcp.core.errors import ErrorReport, Retry, UpstreamUnreachable

log = logging.getLogger(__name__)


class Turns:
    """At most `most` have a turn at a time; the others wait, first come, first served."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._limiter = anyio.CapacityLimiter(most)
        self._waiting: set[anyio.CancelScope] = set()
        self._closed = False

    @property
    def all_taken(self) -> bool:
        return self._limiter.available_tokens == 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and have it for the length of the block.

        Raises:
            UpstreamUnreachable: there are no more turns, because the server is shutting down.
        """
        holder = object()
        if self.all_taken:
            log.debug("all %d turns are taken; another one waits", self.most)
        with anyio.CancelScope() as waiting:
            self._waiting.add(waiting)
            try:
                if self._closed:
                    waiting.cancel()
                await self._limiter.acquire_on_behalf_of(holder)
            finally:
                self._waiting.discard(waiting)
        if waiting.cancelled_caught:
            raise _closed()
        try:
            yield
        finally:
            self._limiter.release_on_behalf_of(holder)

    def close(self) -> None:
        """Give no more turns; those who have one keep it, those who wait are told."""
        self._closed = True
        for waiting in self._waiting:
            waiting.cancel()


def _closed() -> UpstreamUnreachable:
    message = "the server is shutting down, and nothing was sent."
    next_step = "Call again when it is back."
    return UpstreamUnreachable(ErrorReport("shutting_down", message, next_step, Retry.HELPS), maybe_accepted=False)
