"""What the ledger knows of batches that an upstream answer shows, and learns from that."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import anyio.to_thread

from batches_mcp.api.batch import Batch
from batches_mcp.core.errors import CallError
from batches_mcp.store.entry import Entry
from batches_mcp.store.ledger import Seen
from batches_mcp.work.account import Account
from batches_mcp.work.reconcile import confirm

log = logging.getLogger(__name__)

NOTHING = Seen({}, {}, {})
# A look at so many takes the event loop 1 to 2 ms.
_AT_ONCE = 50


async def learn(account: Account, batches: Sequence[Batch]) -> Seen:
    """Learn from batches that the upstream has just shown; a ledger that cannot be used does not fail the call.

    A batch that only may be of a create is proven, or ruled out, as soon as it has ended.
    """
    shown = [batch for batch in batches if batch.id]
    seen = NOTHING
    try:
        records = account.begun_records() if shown else None
        if records is None:
            return seen
        looked = records.ledger.looked(shown) if len(shown) <= _AT_ONCE else None
        seen = await anyio.to_thread.run_sync(records.ledger.saw, shown) if looked is None else looked
        ended = [entry for entry in seen.doubted.values() if entry.last_seen.ended]
        if any([await confirm(account, records, entry) is not None for entry in ended]):
            seen = await anyio.to_thread.run_sync(records.ledger.saw, shown)
    except CallError as error:
        log.warning("%s", error)
    return seen


async def was_deleted(account: Account, batch_id: str) -> bool:
    """Whether a batch was deleted through this server, as far as that is known."""
    try:
        records = account.begun_records()
        if records is None:
            return False
        known = await anyio.to_thread.run_sync(records.ledger.known, [batch_id])
    except CallError as error:
        log.warning("%s", error)
        return False
    return any(entry.deleted for entry in known.values())


def in_doubt(entry: Entry) -> str:
    """What must be said of a batch that only may be of a create."""
    label = f" (label {entry.label!r})" if entry.label else ""
    return (
        f"It is not certain that this batch was made by the create of {entry.rows:,} requests{label} that was not "
        "answered: it may be another program's, until the custom_ids of its results have shown whose it is."
    )
