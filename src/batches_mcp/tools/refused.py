"""What an upstream's refusal of a call on one batch means: which batch that is decides what to do next."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from http import HTTPStatus

from batches_mcp.api.batch import ID_FORM, Batch, is_id
from batches_mcp.core.errors import CallError, UpstreamError
from batches_mcp.core.plan import BehaviorName
from batches_mcp.core.redact import excerpt
from batches_mcp.tools.call import Call
from batches_mcp.work.learn import was_deleted

_REFUSED = (HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY)


@asynccontextmanager
async def explained(call: Call) -> AsyncIterator[None]:
    """Raise what the upstream refused in the block with the next step that fits the batch.

    Raises:
        UpstreamError: the refusal.
    """
    try:
        yield
    except UpstreamError as error:
        next_step = await _next_step(call, error)
        if next_step is None:
            raise
        raise UpstreamError(replace(error.report, next_step=next_step), error.headers, error.body) from error


async def _next_step(call: Call, error: UpstreamError) -> str | None:
    batch_id, report = call.batch_id, error.report
    if report.status == HTTPStatus.NOT_FOUND:
        return await _absent(call, batch_id) if report.type == "not_found_error" else None
    if report.status not in _REFUSED or call.tool.behavior not in (BehaviorName.CANCEL, BehaviorName.DELETE):
        return None
    try:
        batch, _ = await call.account.batches.get(batch_id)
    except CallError:
        return None
    return _cancel(batch) if call.tool.behavior is BehaviorName.CANCEL else _delete(batch)


async def _absent(call: Call, batch_id: str) -> str:
    if await was_deleted(call.account, batch_id):
        return "This batch was deleted through this server, with its results and the copy of its requests."
    form = f"Ids of batches have the form {ID_FORM}"
    if not is_id(batch_id):
        return (
            f"{form}, and {excerpt(batch_id, 60)!r} does not. List the batches, and call again with an id from there."
        )
    return (
        f"Check the id. {form}; list the batches to find the right one. One that is not there was deleted, or belongs "
        "to another workspace."
    )


def _cancel(batch: Batch) -> str | None:
    if batch.ended:
        return "There is nothing to cancel: it has ended. Retrieve its results; what succeeded is billed."
    if batch.status == "canceling":
        return "It is being canceled already. Retrieve it in a minute to see what it came to."
    return None


def _delete(batch: Batch) -> str | None:
    if batch.ended:
        return None
    return (
        f"Only a batch that has ended can be deleted; this one is {excerpt(batch.status, 40)}. Wait for its end. "
        "Cancel it only if the user wants that: what is not processed by then is never done."
    )
