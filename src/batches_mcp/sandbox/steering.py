"""What can be done to a running sandbox: to its clock, its batches, its faults and its request log."""

import json
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass

from batches_mcp.sandbox import lifecycle
from batches_mcp.sandbox.caller import shown, workspace_id
from batches_mcp.sandbox.clock import Clock, microseconds
from batches_mcp.sandbox.faults import Faults
from batches_mcp.sandbox.late import LateCreates
from batches_mcp.sandbox.lifecycle import Batch, Status, Work, archived_us, status_at
from batches_mcp.sandbox.limits import RateLimiter
from batches_mcp.sandbox.requestlog import RequestLog
from batches_mcp.sandbox.rows import result_blocks
from batches_mcp.sandbox.store import Store
from batches_mcp.sandbox.wire import BATCHES_PATH, Json, batch_json

__all__ = ["NotPossible", "Seen", "Steering", "UnknownBatch"]


class NotPossible(ValueError):
    """A batch is not in a state in which that can be done to it; the message says which it is in."""


class UnknownBatch(LookupError):
    """There is no batch of that id."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A batch at an instant, whoever owns it. done: from 0 to 1, how much of its time is over."""

    at_us: int
    batch: Batch
    status: Status
    archived: bool
    done: float

    def to_json(self) -> Json:
        """A MessageBatch with a path for `results_url`, its workspace, and `key`, the fingerprint of its owner's.

        Of a key that names its workspace, the fingerprint is the workspace's.
        """
        tenant = self.batch.tenant
        batch = batch_json(self.batch, self.status, self.at_us, BATCHES_PATH)
        return {**batch, "key": shown(tenant), "workspace_id": workspace_id(tenant)}


class Steering:
    """The same for the handle of a running sandbox, its control surface and its page. Thread-safe."""

    def __init__(
        self,
        clock: Clock,
        store: Store,
        faults: Faults,
        log: RequestLog,
        seed: int,
        late_creates: LateCreates,
        rate_limiter: RateLimiter | None,
    ) -> None:
        self.clock = clock
        self.faults = faults
        self.log = log
        self._store = store
        self._seed = seed
        self._late_creates = late_creates
        self._rate_limiter = rate_limiter

    @property
    def now_us(self) -> int:
        return microseconds(self.clock.now())

    def go_on(self) -> None:
        """Time does not go back: where the state was left later than the clock says, the clock moves there."""
        behind_us = self._store.left_us() - self.now_us
        if behind_us > 0:
            with suppress(ValueError):  # the clock's last day
                self.clock.advance(behind_us / 1_000_000)

    def leave(self) -> None:
        """Remember the time for `go_on`."""
        self._store.leave_at(self.now_us)

    def batches(self, limit: int) -> list[Seen]:
        """The newest batches of all keys, newest first."""
        self._late_creates.catch_up(self.now_us)
        batches = self._store.newest(limit)
        now_us = self.now_us  # read after them: no batch is younger
        return [_seen(batch, now_us) for batch in batches]

    def total(self) -> int:
        """How many batches there are."""
        self._late_creates.catch_up(self.now_us)
        return self._store.total()

    def opened(self, batch_id: str, limit: int) -> tuple[Seen, list[Json]]:
        """A batch, and its first requests, each with its `result`: null while there are none.

        Raises UnknownBatch.
        """
        batch = self._store.of_anybody(batch_id)
        if batch is None:
            raise UnknownBatch(f"there is no batch {batch_id}")
        seen = _seen(batch, self.now_us)
        there = seen.status is Status.ENDED and not seen.archived
        rows: list[Json] = []
        with closing(self._store.requests(batch, range(min(batch.total, limit)))) as requests:
            for index, request in requests:
                (block,) = result_blocks(batch, [(index, request)], self._seed)
                rows.append({**json.loads(request), "result": json.loads(block)["result"] if there else None})
        return seen, rows

    def end(self, batch_id: str) -> None:
        """Let a batch end now, with all of its work done. Raises UnknownBatch, or NotPossible when it has ended."""
        self._change(batch_id, lifecycle.end, "has ended already")

    def expire(self, batch_id: str) -> None:
        """Let a batch end now as if its 24 hours were over: what is not done yet expires.

        Raises UnknownBatch, or NotPossible when it is not in progress.
        """
        self._change(batch_id, lifecycle.expire, "is not in progress")

    def archive(self, batch_id: str) -> None:
        """Take a batch's results away as if its 29 days were over.

        Raises UnknownBatch, or NotPossible when it has not ended or is archived already.
        """
        self._change(
            batch_id, lambda batch, _, now_us: lifecycle.archive(batch, now_us), "has not ended, or is archived already"
        )

    def reset(self) -> None:
        """Be as at the start: no batches, no faults, no requests seen, full rate limits. The clock stays as it is."""
        self._late_creates.clear()
        self._store.clear()
        self.faults.clear()
        self.log.clear()
        if self._rate_limiter is not None:
            self._rate_limiter.clear()

    def _change(self, batch_id: str, change: Callable[[Batch, Work, int], Batch], otherwise: str) -> None:
        now_us = self.now_us
        changed = self._store.change(batch_id, lambda batch, work: change(batch, work, now_us))
        if changed is None:
            raise UnknownBatch(f"there is no batch {batch_id}")
        before, after = changed
        if before == after:
            raise NotPossible(f"batch {batch_id} {otherwise}")


def _seen(batch: Batch, now_us: int) -> Seen:
    status = status_at(batch, now_us)
    length_us = max(batch.ending.at_us - batch.created_us, 1)
    done = min(max((now_us - batch.created_us) / length_us, 0.0), 1.0)
    return Seen(now_us, batch, status, archived_us(batch, now_us) is not None, done)
