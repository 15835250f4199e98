"""The records of an account, which all of a server shares."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

from batches_mcp.core.state import StateFolder
from batches_mcp.store.folders import AccountFolder, FolderState
from batches_mcp.store.records import AllRecords, Records


@dataclass(frozen=True)
class Interrupted(FolderState):
    """A state at whose first account another thread asks for the same records, as far as it gets."""

    others: list[Records] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)
    records: list[AllRecords] = field(default_factory=list)

    def account(self, name: str) -> AccountFolder:
        if not self.threads:
            thread = threading.Thread(target=lambda: self.others.append(self.records[0].of(name)))
            self.threads.append(thread)
            thread.start()
            thread.join(0.2)
        return super().account(name)


def test_threads_that_ask_at_once_get_the_same_records(tmp_path: Path) -> None:
    """Of two, each would take the creates of the other for those of a process that died, and send them again."""
    state = Interrupted(StateFolder(tmp_path / "state"))
    state.records.append(AllRecords(state))
    one = state.records[0].of("account")
    state.threads[0].join(30)
    assert state.others[0] is one
    assert state.records[0].of("account") is one
