"""What is remembered of an account: the ledger, the kept requests, and which process is at work on them."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from batches_mcp.core.errors import ErrorReport, StateUnusable
from batches_mcp.core.state import StateFolder, state_unusable
from batches_mcp.store.answers import ANSWERS, Answers
from batches_mcp.store.database import Database
from batches_mcp.store.entry import KEPT_DAYS, Baseline, Claim, ClaimRules, Draft, Entry
from batches_mcp.store.folders import AccountFolder, with_ledger
from batches_mcp.store.ledger import Ledger
from batches_mcp.store.presence import Presence

if TYPE_CHECKING:
    from batches_mcp.store.kept import KeptRequests

# Older than any create that may be under way.
_DAY_S = 86_400.0
ABANDONED_S = _DAY_S
# No month is longer, and a day is to spare for clocks.
_MONTH_S = 32 * _DAY_S
_TIDY_EVERY_S = 3_600.0


@dataclass(slots=True)
class Records:
    """The records of one account, in its folder; its methods block for a moment and raise StateUnusable.

    `sent_s` tells, by a clock that nobody sets, when this process sent the last byte of a create. `tidied_s` has the
    upstream's time at which the folder was tidied.
    """

    ledger: Ledger
    kept: KeptRequests
    presence: Presence
    sent_s: dict[int, float] = field(default_factory=dict)
    tidied_s: float = 0.0

    @property
    def answers(self) -> Answers:
        """Which rows were answered."""
        return Answers(self.ledger.path.with_name(ANSWERS))

    def check(self, now_s: float) -> None:
        """Raise StateUnusable if a create could not be written down, or if the ledger was lost."""
        self._enter()
        # A copy comes after the row of its create, so it is looked for first.
        copies = self.kept.any_since(now_s - KEPT_DAYS * _DAY_S)
        if not self.ledger.used() and copies:
            raise _emptied(self.ledger.path, self.kept.folder)

    def claim(self, draft: Draft, upstream: Baseline, rules: ClaimRules) -> Claim:
        """`Ledger.claim` in the name of this process."""
        self._enter()
        return self.ledger.claim(draft, self.presence.name, upstream, self.presence.alive, rules)

    def left_behind(self) -> list[Entry]:
        """`Ledger.left_behind` for this process."""
        self._enter()
        return self.ledger.left_behind(self.presence.name, self.presence.alive)

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

    def _enter(self) -> None:
        try:
            self.presence.enter()
        except (OSError, sqlite3.Error) as error:
            raise state_unusable(f"the server cannot use its state in {self.ledger.path.parent}: {error}.") from error


@dataclass(frozen=True, slots=True)
class AllRecords:
    """The records of every account that a server works for, opened when first needed.

    Once `stopping` is set, what takes long and can be done another time ends.
    """

    state: StateFolder
    stopping: threading.Event = field(default_factory=threading.Event)
    _open: dict[str, Records] = field(default_factory=dict)

    def of(self, account: str) -> Records:
        """The records of an account.

        Raises:
            StateUnusable: the folder cannot be used.
        """
        if account not in self._open:
            folder = AccountFolder(self.state, account)
            ledger = Ledger(Database(folder.ledger()))
            self._open[account] = Records(ledger, folder.kept_requests(), folder.presence())
        return self._open[account]

    def begun(self, account: str) -> bool:
        """Whether there is anything to remember of an account."""
        return AccountFolder(self.state, account).has_ledger

    def close(self) -> None:
        """Leave what is unsettled to others."""
        for records in self._open.values():
            records.presence.leave()
            records.ledger.database.close()


@contextmanager
def all_ledgers(state: StateFolder) -> Iterator[dict[str, Ledger]]:
    """The ledgers that there are, by account, until the end of the block."""
    with ExitStack() as open_files:
        yield {
            folder.account: Ledger(open_files.enter_context(closing(Database(folder.ledger()))))
            for folder in with_ledger(state)
        }


def _emptied(ledger: Path, kept: Path) -> StateUnusable:
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
