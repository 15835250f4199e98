"""Where a job stands: its parts with their batches, what was noted of them, and when to ask and to send next."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field

import anyio.to_thread

from batches_mcp.api.body import Frame
from batches_mcp.job.asking import Asking
from batches_mcp.job.intake import JobFolder
from batches_mcp.job.made import Made, MadeBatches, Start
from batches_mcp.job.steps import Attempt, Job, PartState
from batches_mcp.store.records import Records
from batches_mcp.store.spool import Spool
from batches_mcp.work.account import Account
from batches_mcp.work.retryable import PASSING

# Until the upstream names its own pace.
_POLL_S = 5.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """How a job is carried out: so many batches in progress at a time, and each row sent again so often at most.

    Sent again are the rows of the `retry_types`, see `work.retryable`. It is given up when it is not finished after
    `give_up_s`.
    """

    max_open: int
    retries: int
    cap_usd: float | None = None
    give_up_s: float = math.inf
    retry_types: Collection[str] = PASSING


@dataclass(slots=True)
class JobState:
    """One job; batches from before its `start` are none of it. The ledger calls its batches by its `label`.

    It is `given_up` when its time was over before it was finished. It is `submitting` while it is not known what became
    of its latest create, also after it was canceled: a create that has begun goes on.
    """

    asking: Asking
    records: Records
    around: Frame
    folder: JobFolder
    job: Job
    bounds: Bounds
    start: Start = Start()
    label: str | None = None
    given_up: bool = False
    submitting: bool = False
    parts: list[PartState] = field(default_factory=list)
    sent: int = 0
    next_poll_s: float = 0.0
    pace_s: float = _POLL_S
    hold_until_s: float = 0.0
    refused: int = 0
    waiting_since_s: float = 0.0

    async def find(self) -> None:
        """Learn from the ledger, and from what was noted, which parts have a batch already; asks nobody."""
        self.parts = [PartState()] * len(self.job.parts)
        for number in range(len(self.parts)):
            await self.taken_up(number)

    async def stored(self, batch_id: str) -> Spool | None:
        return await anyio.to_thread.run_sync(self.account.state.spools().load, batch_id)

    async def taken_up(self, number: int) -> bool:
        """Whether a part has a batch, of an earlier run or, meanwhile, of another process with the same job."""
        part = self.job.parts[number]
        batch_id = await anyio.to_thread.run_sync(self.made.of_part, part.content, part.rows, self.start)
        if batch_id is not None:
            entry = await anyio.to_thread.run_sync(self.records.ledger.find, batch_id)
            created_s = entry.last_seen.created_s if entry else None
            self.parts[number] = PartState((Attempt(batch_id, part.rows, created_s=created_s),))
            self.next_poll_s = self.asking.now_s()
        return batch_id is not None

    async def following(self, batch_id: str) -> Attempt | None:
        """The latest batch that sent rows of a batch again, as the ledger knows it, or as this job noted it."""
        retries = await anyio.to_thread.run_sync(self.records.ledger.retries, batch_id)
        if settled := [entry for entry in retries if entry.settled]:
            latest = settled[-1]
            made = Made(latest.content, str(latest.batch_id), latest.rows, batch_id, self.start.name)
            await anyio.to_thread.run_sync(self.made.note, made)
            return Attempt(made.batch_id, made.rows)
        noted = await anyio.to_thread.run_sync(self.made.retry_of, batch_id)
        return Attempt(noted.batch_id, noted.rows) if noted else None

    def follow(self, number: int, attempt: Attempt) -> None:
        self.parts[number] = PartState((*self.parts[number].attempts, attempt))

    @property
    def made(self) -> MadeBatches:
        return self.folder.made(self.records)

    @property
    def account(self) -> Account:
        return self.asking.account

    def show(self, doing: str) -> None:
        self.asking.watch.show(self.job, self.parts, doing, self.account.upstream.time_s())
