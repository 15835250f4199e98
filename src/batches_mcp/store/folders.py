"""State in a folder: nothing but this package names what lies below an account's folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from batches_mcp.api.identity import NameFiles
from batches_mcp.core.limits import LIMITS
from batches_mcp.core.state import StateFolder, check_writable
from batches_mcp.store.database import Database
from batches_mcp.store.files import FOLDER, ResultFiles
from batches_mcp.store.presence import FilePresence

if TYPE_CHECKING:  # what is kept in bulk is imported when it is asked for
    from batches_mcp.store.answers import Answers
    from batches_mcp.store.kept import KeptRequests
    from batches_mcp.store.spools import Spools

LEDGER = "ledger.sqlite"
AUDIT = "audit.sqlite"
SPOOLS = "spool"


@dataclass(frozen=True, slots=True)
class AccountFolder:
    """What is kept of one account. Asking for a part of it makes its folder, for its owner only."""

    state: StateFolder
    account: str

    @property
    def has_ledger(self) -> bool:
        return os.path.exists(os.path.join(self.state.path, self.account, LEDGER))  # noqa: PTH110, PTH118 - each call

    @property
    def has_creates(self) -> bool:
        return self.has_ledger

    def database(self, busy_s: float = LIMITS.busy_s) -> Database:
        return Database(self.folder() / LEDGER, busy_s)

    def kept_requests(self) -> KeptRequests:
        from batches_mcp.store.kept import KeptRequests

        return KeptRequests(self.folder("kept"))

    def presence(self) -> FilePresence:
        return FilePresence(self.folder("owners"))

    def spools(self) -> Spools:
        from batches_mcp.store.spools import Spools

        return Spools(self.folder(SPOOLS))

    def result_files(self) -> ResultFiles:
        return ResultFiles(self.folder(FOLDER))

    def answers(self) -> Answers:
        from batches_mcp.store.answers import ANSWERS, Answers

        return Answers(self.folder() / ANSWERS)

    def jobs(self) -> Path:
        return self.folder("runs")

    def folder(self, *names: str) -> Path:
        return self.state.folder(self.account, *names)


@dataclass(frozen=True, slots=True)
class FolderState:
    """A state folder, which the processes of one machine share."""

    local: StateFolder
    look_every_s: None = None
    shared_jobs: None = None

    @property
    def names(self) -> NameFiles:
        return NameFiles(self.local)

    def account(self, name: str) -> AccountFolder:
        return AccountFolder(self.local, name)

    def with_ledger(self) -> Iterator[AccountFolder]:
        for path in sorted(self.local.path.glob(f"*/{LEDGER}")):
            yield AccountFolder(self.local, path.parent.name)

    @property
    def has_audit(self) -> bool:
        """Whether anything was written down that is no account's."""
        return (self.local.path / AUDIT).exists()

    def audit(self) -> Database:
        return Database(self.local.folder() / AUDIT)

    def remove_expired(self, now_s: float) -> None:
        from batches_mcp.store.spools import Spools

        for path in list(self.local.path.iterdir()):
            Spools(path / SPOOLS).remove_expired(now_s)
            ResultFiles(path / FOLDER).remove_expired(now_s)

    @property
    def leases_lost(self) -> int:
        return 0

    def checks(self) -> Mapping[str, Callable[[], None]]:
        return {"state": partial(check_writable, self.local)}

    def close(self) -> None:
        pass
