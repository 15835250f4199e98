"""`cancel` and `delete`: plain forwards, of whose outcome the records learn."""

from __future__ import annotations

import logging
from typing import Any

import anyio.to_thread

from batches_mcp.api.batch import Batch
from batches_mcp.core.errors import CallError
from batches_mcp.tools import OUR_KEY
from batches_mcp.tools.call import Call
from batches_mcp.tools.known import Known
from batches_mcp.tools.refused import explained
from batches_mcp.work import audited
from batches_mcp.work.account import Account
from batches_mcp.work.learn import learn

log = logging.getLogger(__name__)


async def cancel(call: Call) -> dict[str, Any]:
    """The batch, which is being canceled.

    Raises:
        CallError: whatever went wrong.
    """
    async with audited.change(call.runtime, call.tool.name, "cancel", call.batch_id), explained(call):
        batch = await call.forward.content(call.tool, call.arguments)
    shown = Batch.of(batch)
    known = Known.of(await learn(call.account, [shown]), call.batch_id)
    next_step = (
        f"Tell the user. Of its {shown.total:,} requests, those processed by then keep their results and are billed; "
        "the others are not. It ends in a minute or so: retrieve it then, which says what is billed."
    )
    return {**batch, OUR_KEY: {**known.facts, "next_step": next_step}}


async def delete(call: Call) -> dict[str, Any]:
    """What the upstream says of a deleted batch, of which nothing is kept here either.

    Raises:
        CallError: whatever went wrong.
    """
    async with audited.change(call.runtime, call.tool.name, "delete", call.batch_id), explained(call):
        answer = await call.forward.content(call.tool, call.arguments)
    await forget(call.account, call.batch_id)
    return answer


async def forget(account: Account, batch_id: str) -> None:
    """Keep nothing of a batch that is gone."""
    try:
        spools = account.state.spools()
        download = account.runtime.downloads.get((spools, batch_id))
        if download is not None:
            download.unwanted = True
        await anyio.to_thread.run_sync(spools.forget, batch_id)
        records = account.records()
        if records is not None:
            await anyio.to_thread.run_sync(records.deleted, batch_id)
    except CallError as error:
        log.warning("copies of its requests or results may be left: %s", error)
