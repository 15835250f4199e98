"""Creates that are carried out later than they are answered."""

import threading

from batches_mcp.sandbox.lifecycle import Batch, Work
from batches_mcp.sandbox.store import Store

__all__ = ["LateCreates"]


class LateCreates:
    """Batches that are yet to come into being, at their `created_us`. Thread-safe.

    They are held in memory: those whose time has not come when the sandbox stops never exist.
    """

    def __init__(self, store: Store, max_queued: int | None) -> None:
        """`max_queued`: the limit of `Store.publish`."""
        self._store = store
        self._max_queued = max_queued
        self._lock = threading.Lock()
        self._waiting: list[tuple[Batch, Work]] = []

    def add(self, batch: Batch, work: Work) -> None:
        """A batch of the future, whose requests are stored."""
        with self._lock:
            self._waiting.append((batch, work))

    def due(self, now_us: int) -> bool:
        """Whether `catch_up` has something to do."""
        return any(batch.created_us <= now_us for batch, _ in self._waiting)

    def catch_up(self, now_us: int) -> None:
        """Let those exist whose time has come; one over the queue limit by then is dropped. May take seconds."""
        with self._lock:
            for batch, work in sorted(self._waiting, key=lambda each: each[0].created_us):
                if batch.created_us <= now_us:
                    if not self._store.publish(batch, work, max_queued=self._max_queued):
                        self._store.discard(batch.number)
                    self._waiting.remove((batch, work))

    def clear(self) -> None:
        """Drop them all."""
        with self._lock:
            for batch, _ in self._waiting:
                self._store.discard(batch.number)
            self._waiting.clear()
