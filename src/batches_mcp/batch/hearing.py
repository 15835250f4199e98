"""What the records learn from batches that an upstream answer shows in passing."""

from __future__ import annotations

import logging

import anyio.to_thread

from batches_mcp.batch.account import account_id
from batches_mcp.batch.call import Call
from batches_mcp.batch.create.reconcile import confirm
from batches_mcp.errors import CallError

log = logging.getLogger(__name__)


async def heard(call: Call, batches: object) -> None:
    """Learn from batches that the upstream has just shown; records that cannot be used do not fail the call.

    A batch that was adopted unseen is confirmed, or given back, as soon as it has ended.
    """
    desk, tool = call.desk, call.tool
    known = [each for each in batches if isinstance(each, dict) and "id" in each] if isinstance(batches, list) else []
    try:
        if not known or desk.all_records is None:
            return
        account = account_id(tool.request, desk.forward.variables)
        if not desk.all_records.begun(account):
            return
        records = desk.all_records.of(account)
        for entry in await anyio.to_thread.run_sync(records.ledger.saw, known):
            if entry.shown.get("processing_status") == "ended":
                await confirm(desk, tool, records, entry)
    except CallError as error:
        log.warning("%s", error)
