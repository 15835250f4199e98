"""Creates and what becomes of batches, for programs that reach the upstream through this server instead of its tools.

Their creates pass the same gate as the tool's: written down first, sent once, within the cap. Their requests are read
for that alone; what is wrong with one of them is for the upstream to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from http import HTTPStatus
from typing import Any

import anyio

from batches_mcp.api.batch import Batch, batches_in
from batches_mcp.api.body import frame
from batches_mcp.core.diagnostics import Severity
from batches_mcp.core.errors import CallError, ErrorReport, Retry
from batches_mcp.core.plan import BehaviorName
from batches_mcp.core.server_plan import RoutePlan
from batches_mcp.core.settings import BatchSettings
from batches_mcp.exchange import result
from batches_mcp.exchange.request import invalid
from batches_mcp.exchange.result import Answer
from batches_mcp.requests.received import Received
from batches_mcp.store.entry import Approval
from batches_mcp.tools import OUR_KEY
from batches_mcp.tools.call import Call
from batches_mcp.tools.ending import forget
from batches_mcp.tools.submit import pending_approval
from batches_mcp.work.deliver import OutgoingCreate
from batches_mcp.work.intake import take_received
from batches_mcp.work.learn import learn
from batches_mcp.work.refusals import in_words, may_be, unpriced, waits
from batches_mcp.work.send import CreateRules, submit

_SOURCE = "REST"
# The official SDKs wait 600 s for an answer; a program that waits for less finds its batch by the same create again.
_ANSWER_WITHIN_S = 590.0


async def create(call: Call, received: Received, sources: ExitStack, settings: BatchSettings, *, again: bool) -> Answer:
    """The upstream's answer to a create whose body is sent as it came; `again` sends what was sent not long ago too.

    Raises:
        CallError: nothing was sent, or it is not known what became of it; `UpstreamError` holds the answer.
    """
    around = frame(call.tool.request, call.arguments, call.forward.variables, call.limits)
    found, body = await call.runtime.long_work(take_received, received, around)
    if caps := call.caps(settings.max_cost_usd):
        if found.invalid:
            wrong = next(problem for problem in found.problems if problem.severity is Severity.ERROR)
            raise invalid(f"{wrong.text()}. {in_words(caps[0])[2]} only allows batches whose cost can be estimated.")
        if body.high_usd is None:
            raise unpriced(body.estimate, caps[0])
    outgoing = OutgoingCreate(call.tool, call.arguments, body.copy.path, body.draft(around.beta, source=_SOURCE))
    deadline_s = anyio.current_time() + _ANSWER_WITHIN_S
    rules = CreateRules(again, settings.max_cost_usd, repeats=settings.allow_duplicates)
    sent = await submit(call.account, outgoing, rules, call.progress, sources, deadline_s)
    if sent.pending is not None:
        return _pending(sent.pending)
    if sent.batch is None:
        raise _submitting(ledger=settings.ledger)
    batch = sent.batch.raw
    if sent.candidate:
        batch = {**batch, OUR_KEY: {"candidate": True, "next_step": may_be(sent.batch.id)}}
    headers = {"content-type": "application/json", **sent.headers}
    return Answer(200, headers, result.encode(batch).encode())


def _pending(approval: Approval) -> Answer:
    """The answer while a create waits: an error, for a library would take anything else for the batch."""
    error = {"type": "permission_error", "message": waits(approval)}
    content = {"type": "error", "error": error, "request_id": None, OUR_KEY: pending_approval(approval)}
    return Answer(HTTPStatus.FORBIDDEN, {"content-type": "application/json"}, result.encode(content).encode())


async def noted(call: Call, route: RoutePlan, content: Mapping[str, Any]) -> None:
    """Learn from an answer that is handed on what a tool's call would have."""
    match call.tool.behavior:
        case BehaviorName.DELETE:
            for name in route.arguments_in_path:
                await forget(call.account, str(call.arguments[name]))
        case BehaviorName.LIST:
            await learn(call.account, batches_in(content))
        case BehaviorName.CANCEL | BehaviorName.STATUS:
            await learn(call.account, [Batch.of(content)])
        case _:
            pass


def _submitting(*, ledger: bool) -> CallError:
    """The error for a create that goes on by itself, because its answer is long in coming."""
    message = "the upstream has not answered the create yet, which goes on by itself."
    if ledger:
        next_step = "The same request again joins it, or is answered with its batch, and sends nothing twice."
        return CallError(ErrorReport("timeout", message, next_step, Retry.HELPS))
    return CallError(ErrorReport("timeout", message, "Look for its batch in the list.", Retry.UNSAFE))
