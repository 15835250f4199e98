"""Records as another process has them."""

from __future__ import annotations

from pathlib import Path

from batches_mcp.store.lease import Lease
from batches_mcp.store.presence import FilePresence
from batches_mcp.store.records import Records
from batches_mcp.store.shared import AccountDatabase
from batches_mcp.store.state import Presence


def another(records: Records) -> Records:
    """Another process's view of the same records."""
    database = records.ledger.database
    presence: Presence
    if isinstance(database, AccountDatabase):
        presence = Lease(database.shared)
    else:
        presence = FilePresence(Path(database.name).parent / "owners")
    return Records(records.ledger, records.kept, presence, records.answers)
