"""What waits for an approval, over HTTP: `GET /approvals`, and `POST /approvals/{id}` with `{"answer": "approve"}`.

Who may come here has been seen at the door (`batches:approve`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import anyio
import anyio.to_thread
from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from batches_mcp.core.errors import CallError, ErrorReport
from batches_mcp.core.plan import BehaviorName, ToolPlan
from batches_mcp.core.redact import Redactor
from batches_mcp.exchange.request import invalid
from batches_mcp.serve.boundary import attempt
from batches_mcp.serve.callers import Callers
from batches_mcp.serve.doors import APPROVALS_PATH
from batches_mcp.serve.envelope import failed
from batches_mcp.store.entry import Answer, Approval
from batches_mcp.work import approvals
from batches_mcp.work.account import Account
from batches_mcp.work.runtime import Runtime

_TOOL = "approvals"


def routes(callers: Callable[[], Callers], tools: Sequence[ToolPlan], redactor: Redactor) -> list[Route]:
    """The routes for the creates of these tools; `callers` are the server's, once it runs."""
    service = _Approvals(callers, [tool for tool in tools if tool.behavior is BehaviorName.SUBMIT], redactor)
    return [
        Route(APPROVALS_PATH, service.list, methods=["GET"]),
        Route(f"{APPROVALS_PATH}/{{approval_id}}", service.answer, methods=["POST"]),
    ]


@dataclass(frozen=True, slots=True)
class _Approvals:
    callers: Callable[[], Callers]
    tools: Sequence[ToolPlan]
    redactor: Redactor

    async def list(self, request: Request) -> Response:
        return await self._response("list of approvals", self._list(request))

    async def answer(self, request: Request) -> Response:
        return await self._response("answer to an approval", self._answer(request))

    async def _response(self, what: str, content: Awaitable[dict[str, object]]) -> Response:
        found = await attempt(what, content)
        if isinstance(found, ErrorReport):
            return failed(found)
        return JSONResponse(self.redactor.json(found), headers={"cache-control": "no-store"})

    async def _list(self, request: Request) -> dict[str, object]:
        runtime = await self.callers().of(request, _TOOL)
        found: dict[str, Approval] = {}
        async for account in self._accounts(runtime):
            found |= {each.id: each for each in await approvals.pending(account)}
        return {"approvals": [approvals.shown(each, runtime.caller) for each in found.values()]}

    async def _answer(self, request: Request) -> dict[str, object]:
        approval_id = request.path_params["approval_id"]
        approve = _meant(await request.body())
        runtime = await self.callers().of(request, _TOOL)
        async for account in self._accounts(runtime):
            with suppress(_Elsewhere):
                return await self._answered(account, approval_id, approve=approve)
        raise approvals.absent(approval_id)

    async def _answered(self, account: Account, approval_id: str, *, approve: bool) -> dict[str, object]:
        try:
            found = await approvals.answer(account, approval_id, approve=approve)
        except CallError as error:
            if error.report.type == "not_found_error":
                raise _Elsewhere from error
            raise
        records = account.records()
        assert records is not None  # noqa: S101 - it has approvals
        if found.job_id is not None:
            pass  # its workers go on
        elif found.state is Answer.DENIED:
            await anyio.to_thread.run_sync(records.drop, found.body)
        elif found.state is Answer.APPROVED:
            await self._sent(account, found)
        latest = await anyio.to_thread.run_sync(records.ledger.approvals.find, approval_id) or found
        entry = None if latest.entry is None else await anyio.to_thread.run_sync(records.ledger.get, latest.entry)
        batch = {"batch_id": entry.batch_id} if entry is not None and entry.settled and entry.batch_id else {}
        return {**approvals.shown(latest, account.runtime.caller), **batch}

    async def _sent(self, account: Account, approval: Approval) -> None:
        """Send it at once, and wait for its batch for a while; it goes on by itself."""
        done = anyio.Event()

        async def send() -> None:
            try:
                await approvals.Sender(account).send(approval)
            finally:
                done.set()

        account.runtime.tasks.start_soon(send)
        with anyio.move_on_after(account.limits.approval_answer_s):
            await done.wait()

    async def _accounts(self, runtime: Runtime) -> AsyncIterator[Account]:
        """The accounts of the caller; without a credential there is none."""
        seen = set[str]()
        for tool in self.tools:
            account = Account(runtime, tool)
            await account.look_up()
            with suppress(CallError):
                if account.name not in seen:
                    seen.add(account.name)
                    yield account


class _Elsewhere(Exception):
    """An approval is not one of this account's."""


def _meant(body: bytes) -> bool:
    """Whether an answer approves.

    Raises:
        InvalidArguments: it is not an answer.
    """
    try:
        value = from_json(body)
    except ValueError:
        value = None
    match value:
        case {"answer": "approve", **others} if not others:
            return True
        case {"answer": "deny", **others} if not others:
            return False
        case _:
            raise invalid('the body: expected {"answer": "approve"} or {"answer": "deny"}.')
