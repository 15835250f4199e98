"""What is remembered of an account: the ledger, the kept requests, and which process is at work on them."""

from __future__ import annotations

import io
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from batches_mcp.api.batch import RESULTS_KEPT_S
from batches_mcp.core.errors import CallError, ErrorReport, StateUnusable
from batches_mcp.core.limits import LIMITS, Limits
from batches_mcp.core.state import state_unusable
from batches_mcp.store.audit import AuditLog
from batches_mcp.store.claim_rules import Baseline, Begun, Claim, ClaimRules, Unsettled
from batches_mcp.store.entry import DAY_S, Draft, Entry
from batches_mcp.store.entry import State as EntryState
from batches_mcp.store.ledger import Ledger
from batches_mcp.store.state import Presence, State

if TYPE_CHECKING:
    from batches_mcp.store.answers import Answers
    from batches_mcp.store.kept import KeptRequests

# Older than any create that may be under way.
ABANDONED_S = DAY_S
# No month is longer, and a day is to spare for clocks.
_MONTH_S = 32 * DAY_S
_TIDY_EVERY_S = 3_600.0
# Shortly after it was created, a batch may be answered 404: https://github.com/anthropics/anthropic-sdk-python/issues/1432
_SETTLING_S = 60.0


@dataclass(slots=True)
class Records:
    """The records of one account; its methods block for a moment and raise StateUnusable.

    `sent_s` tells, by a clock that nobody sets, when this process sent the last byte of a create. `tidied_s` has the
    upstream's time at which the folder was tidied. `held` are the keys of the entries that this process was given.
    """

    ledger: Ledger
    kept: KeptRequests
    presence: Presence
    answers: Answers
    sent_s: dict[int, float] = field(default_factory=dict)
    tidied_s: float = 0.0
    held: set[int] = field(default_factory=set)
    _taking: threading.Lock = field(default_factory=threading.Lock)

    def check(self, now_s: float) -> None:
        """Raise StateUnusable if a create could not be written down, or if the ledger was lost."""
        self._enter()
        if self.ledger.used():
            return
        # A copy comes after the row of its create, so it is looked for first.
        copies = self.kept.any_since(now_s - RESULTS_KEPT_S)
        if copies and not self.ledger.used():
            raise _emptied(self.ledger.database.name, self.kept.place)

    def claim(self, draft: Draft, upstream: Baseline, rules: ClaimRules) -> Claim:
        """`Ledger.claim` in the name of this process."""
        self._enter()
        with self._taking:
            claim = self.ledger.claim(draft, self.presence.name, upstream, self._at_work, rules)
            if isinstance(claim, Begun | Unsettled):
                self.held.add(claim.entry.key)
        return claim

    def is_new(self, batch_id: str, now_s: float) -> bool:
        """Whether a batch is so new at a time of the upstream's that the upstream may not find it yet."""
        entry = self.ledger.find(batch_id)
        created_s = entry.last_seen.created_s if entry and not entry.deleted else None
        return created_s is not None and abs(now_s - created_s) < _SETTLING_S

    def left_behind(self) -> list[Entry]:
        """`Ledger.left_behind` for this process."""
        self._enter()
        with self._taking:
            found = self.ledger.left_behind(self.presence.name, self._at_work)
            self.held.update(entry.key for entry in found)
        return found

    def keep(self, path: Path, entry: Entry) -> io.BufferedReader:
        """Put the body of a create that was begun in its place, and open it.

        Raises:
            StateUnusable: it cannot be put there; the create is given back.
        """
        from batches_mcp.store.kept import Copy

        try:
            return self.kept.keep(Copy(path, entry.body, entry.body_bytes))
        except CallError:
            self.ledger.settled(entry.key, EntryState.REFUSED)
            raise

    def drop(self, body: str) -> None:
        """A create made no batch: its requests need not be kept, unless another one has the same."""
        if not self.ledger.wanted(body):
            self.kept.forget(body)

    def deleted(self, batch_id: str) -> None:
        """A batch is gone, and with it the copy of its requests, unless another batch has the same ones."""
        self.answers.forget(batch_id)
        body = self.ledger.deleted(batch_id)
        if body is not None:
            self.drop(body)

    def compress(self, stop: threading.Event) -> None:
        """Compress what a process that ended left uncompressed."""
        self.presence.tidy()
        settled = {entry.body for entry in self.ledger.entries() if entry.settled}
        for name in self.kept.uncompressed():
            if name in settled:
                self.kept.compress(name, stop)

    def tidy(self, now_s: float) -> None:
        """Drop what is past its time at `now_s`, of which every clock there is must be sure; once an hour is enough.

        Copies go before the entries that name them, so that a crash in between is not taken for a lost ledger.
        """
        if now_s - self.tidied_s < _TIDY_EVERY_S:
            return
        self.tidied_s = now_s
        self.answers.tidy(now_s)
        expired = self.ledger.expired(now_s)
        old = {entry.key for entry in expired}
        current = {entry.body for entry in self.ledger.entries() if entry.key not in old}
        for entry in expired:
            if entry.body not in current:
                self.kept.forget(entry.body)
        # What a team spent is counted by the month.
        keys = {each.key for each in expired if each.team is None or each.started_s < now_s - _MONTH_S}
        self.kept.tidy(self.ledger.drop(keys), now_s - ABANDONED_S)

    def _at_work(self, entry: Entry) -> bool:
        """Whether somebody is at work on an entry.

        One in our own name that we were never given is nobody's: it was written, but the answer of the database was
        lost on its way.
        """
        if entry.owner == self.presence.name and entry.key not in self.held:
            return False
        return entry.owner is not None and self.presence.alive(entry.owner)

    def _enter(self) -> None:
        try:
            self.presence.enter()
        except (OSError, sqlite3.Error) as error:
            raise state_unusable(
                f"the server cannot use its state beside {self.ledger.database.name}: {error}."
            ) from error


@dataclass(frozen=True, slots=True)
class AllRecords:
    """The records of every account that a server works for, opened when first needed.

    Once `stopping` is set, what takes long and can be done another time ends.
    """

    state: State
    limits: Limits = LIMITS
    stopping: threading.Event = field(default_factory=threading.Event)
    _open: dict[str, Records] = field(default_factory=dict)
    _opening: threading.Lock = field(default_factory=threading.Lock)
    _audit: list[AuditLog] = field(default_factory=list)

    @property
    def audit(self) -> AuditLog:
        """Where decisions are written down that are no claim's; opened when first needed."""
        if not self._audit:
            self._audit.append(AuditLog(self.state.audit()))
        return self._audit[0]

    def of(self, account: str) -> Records:
        """The records of an account.

        Raises:
            StateUnusable: the state cannot be used.
        """
        with self._opening:
            if account not in self._open:
                state = self.state.account(account)
                ledger = Ledger(state.database(self.limits.busy_s))
                self._open[account] = Records(ledger, state.kept_requests(), state.presence(), state.answers())
            return self._open[account]

    def begun(self, account: str) -> bool:
        """Whether there is anything to remember of an account."""
        return self.state.account(account).has_ledger

    def close(self) -> None:
        """Leave what is unsettled to others."""
        for records in self._open.values():
            records.presence.leave()
            records.ledger.database.close()
        for log in self._audit:
            log.database.close()
        self.state.close()


@contextmanager
def all_ledgers(state: State) -> Iterator[dict[str, Ledger]]:
    """The ledgers that there are, by account, until the end of the block."""
    with ExitStack() as open_files:
        yield {each.account: Ledger(open_files.enter_context(closing(each.database()))) for each in state.with_ledger()}


def _emptied(ledger: str, kept: str) -> StateUnusable:
    message = f"the ledger {ledger} is empty, but copies of requests that were sent are in {kept}: it has been lost."
    next_step = (
        "Nothing was sent. Tell the user to put the ledger back from a backup; or, after looking at the list for what "
        "was sent in the last days, to move that folder away, which starts anew."
    )
    at_shell = (
        "Nothing was sent. Put the ledger back from a backup; or, after looking at the list for what was sent in the "
        "last days, move that folder away, which starts anew."
    )
    return StateUnusable(ErrorReport("state_unusable", message, next_step, at_shell=at_shell))
