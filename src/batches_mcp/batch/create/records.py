"""What is remembered of an account: the ledger, the kept requests, and which process is at work on them."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import dataclass, field
from pathlib import Path

from batches_mcp.batch.create.entry import Claim, Draft, Entry
from batches_mcp.batch.create.kept import KeptRequests
from batches_mcp.batch.create.ledger import Ledger
from batches_mcp.batch.create.presence import Presence
from batches_mcp.errors import ErrorReport, StateUnusable
from batches_mcp.state import StateFolder

LEDGER = "ledger.sqlite"
# Older than any create that may be under way.
_ABANDONED_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Records:
    """The records of one account, in its folder; its methods block for a moment and raise StateUnusable."""

    ledger: Ledger
    kept: KeptRequests
    presence: Presence

    def claim(
        self,
        draft: Draft,
        now_s: float,
        *,
        again: bool = False,
        attach: bool = False,
        looked: frozenset[int] = frozenset(),
        cap_usd: float | None = None,
    ) -> Claim:
        """`Ledger.claim` in the name of this process."""
        self._enter()
        return self.ledger.claim(
            draft,
            self.presence.name,
            now_s,
            self.presence.alive,
            again=again,
            attach=attach,
            looked=looked,
            cap_usd=cap_usd,
        )

    def left_behind(self) -> list[Entry]:
        """`Ledger.left_behind` for this process."""
        self._enter()
        return self.ledger.left_behind(self.presence.name, self.presence.alive)

    def drop(self, content: str) -> None:
        """A create made no batch: its requests need not be kept, unless another one has the same."""
        if not self.ledger.wanted(content):
            self.kept.forget(content)

    def deleted(self, batch_id: str) -> None:
        """A batch is gone, and with it the copy of its requests, unless another batch has the same ones."""
        content = self.ledger.deleted(batch_id)
        if content is not None:
            self.drop(content)

    def tidy(self, now_s: float, stop: threading.Event) -> None:
        """Drop what is past its time, and compress what a process that ended left uncompressed."""
        wanted = self.ledger.prune(now_s)
        self.presence.tidy()
        unsettled = {entry.content for entry in self.ledger.entries() if not entry.settled}
        for content in self.kept.tidy(wanted, now_s - _ABANDONED_S):
            if content in wanted - unsettled:
                self.kept.compress(content, stop)

    def _enter(self) -> None:
        try:
            self.presence.enter()
        except (OSError, sqlite3.Error) as error:
            message = f"the server cannot write to its state in {self.ledger.path.parent}: {error}."
            next_step = "Tell the user to make room or give access there, or to start it with another --state-dir."
            raise StateUnusable(ErrorReport("state_unusable", message, next_step)) from error


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
            folder = self.state.folder(account)
            self._open[account] = Records(
                Ledger(folder / LEDGER),
                KeptRequests(self.state.folder(account, "kept")),
                Presence(self.state.folder(account, "owners")),
            )
        return self._open[account]

    def begun(self, account: str) -> bool:
        """Whether there is anything to remember of an account."""
        return Path(self.state.path, account, LEDGER).exists()

    def close(self) -> None:
        """Leave what is unsettled to others."""
        for records in self._open.values():
            records.presence.leave()
