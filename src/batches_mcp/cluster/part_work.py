"""A part of a job, and what it takes to carry a step of it out."""

from __future__ import annotations

from dataclasses import dataclass

import anyio.to_thread
import msgspec

from batches_mcp.api.body import Frame
from batches_mcp.cluster.local import ShardFiles
from batches_mcp.cluster.plan import PartPlan
from batches_mcp.cluster.shards import Shard
from batches_mcp.core.plan import ToolPlan
from batches_mcp.store.job import Job, JobPart, JobShard, PartState
from batches_mcp.store.jobs import Jobs
from batches_mcp.store.kept import KeptRequests
from batches_mcp.store.records import Records
from batches_mcp.work.account import Account


@dataclass(frozen=True, slots=True)
class PartWork:
    """A part of a job, and what it takes to carry it out.

    `prepared` keeps bodies until they are sent, `cap_usd` bounds 24 hours, `cancel` is the tool that cancels batches;
    without one they run to their end.
    """

    job: Job
    part: JobPart
    shard: JobShard
    account: Account
    around: Frame
    jobs: Jobs
    files: ShardFiles
    prepared: KeptRequests
    cap_usd: float | None
    cancel: ToolPlan | None

    @property
    def source(self) -> Shard:
        return source_of(self.shard)

    @property
    def plan(self) -> PartPlan:
        return msgspec.convert(self.part.plan, PartPlan)

    @property
    def records(self) -> Records:
        found = self.account.records()
        assert found is not None  # noqa: S101 - a worker keeps a ledger
        return found

    async def advance(self, *before: PartState, **changes: object) -> None:
        """Move the part on; when somebody has done so meanwhile, there is nothing to do."""
        await anyio.to_thread.run_sync(lambda: self.jobs.advance(self.part, before, **changes))


def source_of(shard: JobShard) -> Shard:
    """A shard as it was found."""
    return Shard(shard.number, shard.url, shard.size_bytes, shard.version)


async def silent(_done: float, _total: float, _words: str) -> None:
    """Its progress is shown to nobody."""
