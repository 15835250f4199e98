"""What is remembered of a job that workers carry out: its shards, its parts and their batches. Data."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class JobState(StrEnum):
    """Where a job stands.

    While it is PLANNING its shards are read, and nothing is sent; a plan with errors is REFUSED. PAUSED sends nothing,
    and goes on with the batches there are. CANCELING has them canceled. The others are final: DONE when every part is
    done, whatever became of its rows, and FAILED when a part is not.
    """

    PLANNING = "planning"
    REFUSED = "refused"
    RUNNING = "running"
    PAUSED = "paused"
    CANCELING = "canceling"
    CANCELED = "canceled"
    DONE = "done"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        return self in (JobState.REFUSED, JobState.CANCELED, JobState.DONE, JobState.FAILED)


# Those of jobs that can go on when somebody says so.
STANDING_STILL = (JobState.PAUSED, JobState.CANCELING, JobState.CANCELED, JobState.FAILED)


class PartState(StrEnum):
    """Where a part stands: WAITING, its body PREPARED, its batch SUBMITTED and ENDED, rows of it RETRYING; or final."""

    WAITING = "waiting"
    PREPARED = "prepared"
    SUBMITTED = "submitted"
    ENDED = "ended"
    RETRYING = "retrying"
    DONE = "done"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def final(self) -> bool:
        return self in (PartState.DONE, PartState.FAILED, PartState.CANCELED)


@dataclass(frozen=True, slots=True)
class JobSettings:
    """What a job was submitted with.

    `url` names the shards, `out` is where the results go, `template` is the params of each request. A trial is of the
    first `limit` rows. With `failures`, rows that failed are written to files of their own as well. A batch takes at
    most `part_rows` rows, and is sent while the workspace has at most `queue_requests` in progress. `max_cost_usd`
    bounds the whole job. Creates are made by `principal`, for `team`.
    """

    url: str
    out: str
    template: dict[str, Any]
    part_rows: int
    queue_requests: int
    limit: int | None = None
    failures: bool = False
    skip_invalid: bool = False
    max_cost_usd: float | None = None
    label: str | None = None
    principal: str = ""
    team: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A job; `queue` is where its tasks wait. `error` says why it was refused, or what went wrong."""

    id: str
    account: str
    queue: str
    state: JobState
    settings: JobSettings
    created_s: float
    error: str | None = None
    finished_s: float | None = None


@dataclass(frozen=True, slots=True)
class JobShard:
    """An object of a job's input, in the version that was planned; `plan` is what was found in it, None until then."""

    job: str
    number: int
    url: str
    size_bytes: int
    version: str
    plan: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class PartBatch:
    """A batch of a part: the first one has all of its rows, each other those that were sent again.

    `lost` is the type of the error for which results of it never come.
    """

    id: str
    rows: int
    lost: str | None = None


@dataclass(frozen=True, slots=True)
class JobPart:
    """What one batch takes, and how far it is.

    `plan` is what `cluster.plan` says of it. `body` names the copy that was prepared, of `body_bytes`. `failures`
    counts what went wrong since the last step that went well, and `note` says the last of it. A part that is `settled`
    has no rows to be sent again. `output` says what was written of it.
    """

    job: str
    number: int
    shard: int
    rows: int
    estimate_usd: float | None
    plan: dict[str, Any]
    state: PartState = PartState.WAITING
    body: str | None = None
    body_bytes: int = 0
    batches: tuple[PartBatch, ...] = ()
    settled: bool = False
    succeeded: int = 0
    failed: int = 0
    cost_usd: float | None = None
    output: dict[str, Any] | None = None
    failures: int = 0
    note: str | None = None

    @property
    def retries(self) -> int:
        """How often rows of it were sent again."""
        return max(0, len(self.batches) - 1)


@dataclass(frozen=True, slots=True)
class JobStatus:
    """How a job stands, in numbers. Costs are None as long as they are not known."""

    id: str
    state: JobState
    rows: int
    succeeded: int
    failed: int
    parts: dict[str, int] = field(default_factory=dict)
    batches: int = 0
    estimate_usd: float | None = None
    cost_usd: float | None = None
