"""The end of a server: what only reads is ended at once, what may change something gets time to end by itself."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import anyio

from batches_mcp.core.errors import CallError, ErrorReport, Retry

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

# Answers to calls that were given up get this long to reach their callers.
_LAST_WORDS_S = 2.0


class Draining:
    """Ends what a server has under way. Once it has `begun`, what is under way gets `drain_s` to end, in all."""

    def __init__(self, drain_s: float) -> None:
        self.begun = anyio.Event()
        self._drain_s = drain_s
        self._deadline_s = math.inf
        self._reads: set[anyio.CancelScope] = set()
        self._changes: set[anyio.CancelScope] = set()
        self._others: set[anyio.CancelScope] = set()

    @property
    def left_s(self) -> float:
        """How long there still is."""
        if not self.begun.is_set():
            return self._drain_s
        return max(0.0, self._deadline_s - anyio.current_time())

    async def call(self, answer: Callable[[], Awaitable[Answer]], *, changes: bool) -> Answer:
        """The answer to a call, which is given up when the server ends: at once, or after the time for `changes`.

        Raises:
            CallError: it was given up, or whatever went wrong.
        """
        if self.begun.is_set():
            raise _given_up(changed=False)
        with _among(self._changes if changes else self._reads):
            return await answer()
        raise _given_up(changed=changes)

    @contextmanager
    def at_once(self) -> Iterator[anyio.CancelScope]:
        """A scope that is canceled when the server begins to end."""
        with _among(self._reads) as scope:
            if self.begun.is_set():
                scope.cancel()
            yield scope

    def at_last(self, scope: anyio.CancelScope) -> None:
        """Leave a scope of `at_once` to be canceled after the last answers."""
        self._reads.discard(scope)
        self._others.add(scope)

    def forget(self, scope: anyio.CancelScope) -> None:
        """A scope of `at_last` is over."""
        self._others.discard(scope)

    def begin(self) -> None:
        """Begin to end, if that has not begun."""
        if self.begun.is_set():
            return
        self.begun.set()
        self._deadline_s = anyio.current_time() + self._drain_s
        _cancel(self._reads)
        if under_way := max(len(self._changes), len(self._others)):
            log.warning(
                "shutting down: %d under way, with up to %g s to end; a second signal ends at once",
                under_way,
                self._drain_s,
            )

    async def end(self, answered: Callable[[], Awaitable[None]]) -> None:
        """Begin, and wait until all is `answered`, or given up."""
        self.begin()
        with anyio.move_on_after(self.left_s):
            await answered()
        _cancel(self._changes)
        with anyio.move_on_after(_LAST_WORDS_S):
            await answered()
        _cancel(self._others)
        with anyio.move_on_after(_LAST_WORDS_S):
            await answered()


@contextmanager
def _among(scopes: set[anyio.CancelScope]) -> Iterator[anyio.CancelScope]:
    with anyio.CancelScope() as scope:
        scopes.add(scope)
        try:
            yield scope
        finally:
            scopes.discard(scope)


def _cancel(scopes: set[anyio.CancelScope]) -> None:
    for scope in scopes:
        scope.cancel()


def _given_up(*, changed: bool) -> CallError:
    if not changed:
        message = "the server is shutting down; the call was ended, and changed nothing."
        return CallError(ErrorReport("shutting_down", message, "Call again when the server is back.", Retry.HELPS))
    message = "the server had to shut down before the upstream answered, so that the call may have been carried out."
    next_step = "Look at the list of batches before anything else, when the server is back."
    return CallError(ErrorReport("shutting_down", message, next_step, Retry.UNSAFE))
