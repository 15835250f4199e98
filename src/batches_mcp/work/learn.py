"""What the records learn from batches that an upstream answer shows in passing."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import anyio.to_thread

from batches_mcp.api.account import Call
from batches_mcp.core.errors import CallError
from batches_mcp.store.entry import Entry
from batches_mcp.work.reconcile import confirm

log = logging.getLogger(__name__)


async def heard(call: Call, batches: object) -> Mapping[str, Entry]:
    """Learn from batches that the upstream has just shown; records that cannot be used do not fail the call.

    A batch that only may be of a create is proven, or ruled out, as soon as it has ended. Those of which it is still
    open are returned by their ids, each with the create.
    """
    desk, tool = call.desk, call.tool
    known = [each for each in batches if isinstance(each, dict) and "id" in each] if isinstance(batches, list) else []
    doubted: dict[str, Entry] = {}
    try:
        records = desk.begun_records(tool) if known else None
        if records is None:
            return doubted
        for entry in await anyio.to_thread.run_sync(records.ledger.saw, known):
            ended = entry.shown.get("processing_status") == "ended"
            if not ended or await confirm(desk, tool, records, entry) is None:
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
