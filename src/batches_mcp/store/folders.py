"""What is in the state folder, and where: nothing but this package names what lies below an account's folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from batches_mcp.core.state import StateFolder
from batches_mcp.store.files import FOLDER, ResultFiles
from batches_mcp.store.presence import Presence

if TYPE_CHECKING:  # what is kept in bulk is imported when it is asked for
    from batches_mcp.store.kept import KeptRequests
    from batches_mcp.store.spools import Spools

LEDGER = "ledger.sqlite"
_SPOOLS = "spool"


@dataclass(frozen=True, slots=True)
class AccountFolder:
    """What is kept of one account. Asking for a part of it makes its folder, for its owner only.

    Raises:
        StateUnusable: that folder cannot be made or written to.
    """

    state: StateFolder
    account: str

    @property
    def has_ledger(self) -> bool:
        """Whether anything has been written to its ledger; makes nothing."""
        return (self.state.path / self.account / LEDGER).exists()

    def ledger(self) -> Path:
        return self._folder() / LEDGER

    def kept_requests(self) -> KeptRequests:
        from batches_mcp.store.kept import KeptRequests

        return KeptRequests(self._folder("kept"))

    def presence(self) -> Presence:
        return Presence(self._folder("owners"))

    def spools(self) -> Spools:
        from batches_mcp.store.spools import Spools

        return Spools(self._folder(_SPOOLS))

    def result_files(self) -> ResultFiles:
        return ResultFiles(self._folder(FOLDER))

    def jobs(self) -> Path:
        """Where `run` keeps a folder for each job."""
        return self._folder("runs")

    def _folder(self, *names: str) -> Path:
        return self.state.folder(self.account, *names)


def with_ledger(state: StateFolder) -> Iterator[AccountFolder]:
    """The accounts that have a ledger, by name."""
    for path in sorted(state.path.glob(f"*/{LEDGER}")):
        yield AccountFolder(state, path.parent.name)


def remove_expired(state: StateFolder, now_s: float) -> None:
    """Remove what is past its time at `now_s` of the results of all accounts.

    Raises:
        OSError: the state folder cannot be read.
    """
    from batches_mcp.store.spools import Spools

    for path in list(state.path.iterdir()):
        Spools(path / _SPOOLS).remove_expired(now_s)
        ResultFiles(path / FOLDER).remove_expired(now_s)
