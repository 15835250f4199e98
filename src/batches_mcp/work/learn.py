"""What the ledger learns from batches that an upstream answer shows in passing."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import anyio.to_thread

from batches_mcp.api.batch import Batch
from batches_mcp.core.errors import CallError
from batches_mcp.store.entry import Entry
from batches_mcp.work.account import Account
from batches_mcp.work.reconcile import confirm

log = logging.getLogger(__name__)


async def learn(account: Account, batches: Sequence[Batch]) -> Mapping[str, Entry]:
    """Learn from batches that the upstream has just shown; a ledger that cannot be used does not fail the call.

    A batch that only may be of a create is proven, or ruled out, as soon as it has ended. Those of which it is still
    open are returned by their ids, each with the create.
    """
    doubted: dict[str, Entry] = {}
    known = [batch for batch in batches if batch.id]
    try:
        records = account.begun_records() if known else None
        if records is None:
            return doubted
        for entry in await anyio.to_thread.run_sync(records.ledger.saw, known):
            if not entry.last_seen.ended or await confirm(account, records, entry) is None:
                doubted[str(entry.batch_id)] = entry
    except CallError as error:
        log.warning("%s", error)
    return doubted


def in_doubt(entry: Entry) -> str:
    """What must be said of a batch that only may be of a create."""
    label = f" (label {entry.label!r})" if entry.label else ""
    return (
        f"It is not certain that this batch was made by the create of {entry.rows:,} requests{label} that was not "
        "answered: it may be another program's, until the custom_ids of its results have shown whose it is."
    )
