"""What is remembered of a create. Data, without the ledger that it is kept in."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum

from pydantic_core import from_json

from batches_mcp.api.batch import Batch

MOST_LABEL_CHARS = 200
DAY_S = 86_400.0
# How long a create that was not answered may still make a batch: the API may take 600 s to answer one
# (the official SDKs' time-out), and a gateway before it may give up much earlier.
DOUBT_S = 900.0


class State(StrEnum):
    """What is known of a create. SENDING and AMBIGUOUS are unsettled: a batch of it may exist.

    SENDING turns to AMBIGUOUS without an answer; one whose last byte was never sent is REFUSED.
    """

    SENDING = "sending"
    AMBIGUOUS = "ambiguous"
    ACCEPTED = "accepted"
    ADOPTED = "adopted"
    REFUSED = "refused"
    NONE_FOUND = "none_found"


@dataclass(frozen=True, slots=True)
class Draft:
    """A create that is to be.

    `content` identifies its requests and betas, however they are written; `body` names the copy of its exact bytes.
    `estimate_usd` is the most it may cost, None when that is not known. A part of a source that makes several batches
    is one of `parts`, and `source_hash` identifies all of the source's requests. `principal`, `client` and `team` say
    who makes it; None where a server does not tell its callers apart. `job_id` is that of the job whose batch it makes,
    which workers carry out.
    """

    content: str
    rows: int
    body_bytes: int
    source: str | None = None
    label: str | None = None
    part: int | None = None
    parent: str | None = None
    betas: str = ""
    estimate_usd: float | None = None
    body: str = ""
    parts: int | None = None
    source_hash: str | None = None
    principal: str | None = None
    client: str | None = None
    team: str | None = None
    job_id: str | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """The call that something is decided for: its tool, the door that it came through, and the id of its request."""

    tool: str
    door: str
    request_id: str


class Answer(StrEnum):
    """What has become of a create that needs an approval, or of a job.

    PENDING and APPROVED are open, until they expire: a create's cost is reserved. One that is USED has its entry in the
    ledger, or those of a job's first batches; one that is REJECTED was approved, but something else stood against it.
    """

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    USED = "used"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Approval(Draft):
    """A create that waits, or has waited, for somebody to approve it. Times are Unix times by the database's clock.

    `over_usd` is what it may cost more than, `again` tells that it may be a duplicate. Its requests are `kept` before
    it is shown to anybody. Who asked for it is `told` once that it was denied. `entry` is the key of the create in the
    ledger that was begun by it.

    That of a job has the job's id as its `content`, and its batches as `parts`; `models` are those it asks. It lets
    creates of the job begin up to its `estimate_usd`, and has no `entry`.
    """

    id: str = ""
    state: Answer = Answer.PENDING
    asked_s: float = 0.0
    expires_s: float = 0.0
    over_usd: float = 0.0
    again: bool = False
    kept: bool = False
    told: bool = False
    approver: str | None = None
    answered_s: float | None = None
    entry: int | None = None
    tool: str = ""
    door: str | None = None
    request_id: str | None = None
    models: str | None = None

    @property
    def grants(self) -> bool:
        """Whether a create may be begun by it now."""
        return self.state is Answer.APPROVED or (self.job_id is not None and self.state is Answer.USED)

    @property
    def draft(self) -> Draft:
        """The create that it is about."""
        return Draft(**{field.name: getattr(self, field.name) for field in fields(Draft)})


@dataclass(frozen=True, slots=True)
class Entry(Draft):
    """A row of the ledger. Times are Unix times by the upstream's clock.

    `since_s` and `newest_id` are those of the `Baseline`; `sent_s` is when the last byte of the body was about to be
    sent, infinite while the upstream's time was not known. `batch` is the batch as the upstream showed it last.
    While the entry is unsettled, `batch_id` names a candidate: one batch of its size that may be its own. A batch is
    `told` once a caller was given it.
    """

    key: int = 0
    state: State = State.SENDING
    owner: str | None = None
    started_s: float = 0.0
    since_s: float = 0.0
    newest_id: str | None = None
    sent_s: float | None = None
    batch_id: str | None = None
    batch: str | None = None
    cost_usd: float | None = None
    told: bool = False
    deleted: bool = False

    @property
    def settled(self) -> bool:
        """Whether it is known which batch there is, or that there is none."""
        return self.state not in (State.SENDING, State.AMBIGUOUS)

    @property
    def made(self) -> bool:
        """Whether its batch is certainly its own."""
        return self.state in (State.ACCEPTED, State.ADOPTED)

    @property
    def last_seen(self) -> Batch:
        """The batch as the upstream showed it last; empty as long as there is none."""
        return Batch.of(from_json(self.batch) if self.batch else {})


def rfc3339(time_s: float) -> str:
    """A Unix time, to the second."""
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
