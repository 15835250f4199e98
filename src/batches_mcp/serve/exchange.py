"""One request to a route: its call, sent upstream with this server's credential, and the answer handed on.

The answer keeps its status, its body, and the headers that a client can use. What is changed is where a batch says its
results are, and nothing else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import Any, TypeAlias

import anyio
from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from batches_mcp.api.headers import BETA_HEADER, FOR_WHOM_HEADERS
from batches_mcp.core import limits
from batches_mcp.core.errors import CallError, Retry, UpstreamError
from batches_mcp.core.plan import BehaviorName, Place
from batches_mcp.core.redact import Redactor
from batches_mcp.core.server_plan import RoutePlan
from batches_mcp.core.settings import BatchSettings
from batches_mcp.exchange import request as requests
from batches_mcp.exchange import result
from batches_mcp.exchange.arguments import ArgumentCheck
from batches_mcp.exchange.failure import retry_of
from batches_mcp.exchange.relayed import Relayed
from batches_mcp.exchange.request import invalid
from batches_mcp.exchange.result import Answer, is_json
from batches_mcp.serve.bodies import spooled, whole
from batches_mcp.serve.envelope import refusal
from batches_mcp.serve.incoming import (
    ALLOW_DUPLICATE,
    Matched,
    arguments,
    query_pairs,
    refuse_undeclared,
    with_header,
    with_query,
)
from batches_mcp.serve.toolarge import MAX_BODY_BYTES
from batches_mcp.tools.admit import admit
from batches_mcp.tools.call import Call
from batches_mcp.tools.listing import asked_of
from batches_mcp.work import audited
from batches_mcp.work.own_list import own_page
from batches_mcp.work.ownership import sees_all
from batches_mcp.work.runtime import Runtime

# A JSON answer up to this size is looked into for links; a larger one is not a batch, and no page of them.
_LOOKED_INTO_BYTES = 16_000_000

# Cookies, redirects and the rules for browsers are between this server and the upstream.
_HANDED_ON = {"cache-control", "content-encoding", "content-type", "request-id", "x-request-id", "x-should-retry"}
_HANDED_ON_PARTS = ("ratelimit", "retry-after")

_WITHOUT_BODY = {"GET", "HEAD"}

Respond: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and the route it is for; `relinked` makes the links of a JSON answer lead here."""

    runtime: Runtime
    request: Request
    matched: Matched
    check: ArgumentCheck
    redactor: Redactor
    relinked: Callable[[bytes], bytes]
    settings: BatchSettings

    @property
    def _route(self) -> RoutePlan:
        return self.matched.route

    async def response(self) -> Respond:
        """The response, or what sends it as it comes.

        Raises:
            CallError: there is no answer to hand on.
        """
        kind = self.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if self.request.method not in _WITHOUT_BODY and kind not in {"", "application/json"}:
            return refusal(415, f"The body is {kind}; expected application/json.")
        if self._route.spools_body:
            return await self._created()
        call = self._call(_parsed(await whole(self.request, MAX_BODY_BYTES)))
        await admit(call)
        if call.tool.behavior is BehaviorName.LIST and not sees_all(call.runtime.caller):
            page, answer = await own_page(call.account, asked_of(call))
            return self._settled(replace(answer, body=result.encode(page).encode()))
        outgoing = requests.build(call.tool.request, call.arguments, call.forward.variables)
        settling = call.forward.recent.settling(call.tool.request, call.arguments, call.forward.upstream.clock.now_s())
        if outgoing.method == "GET":
            return partial(self._relay, call, outgoing, settling)
        answer = await self._sent(call, outgoing, settling=settling)
        await self._noted(call, answer)
        return self._settled(answer)

    async def _sent(self, call: Call, outgoing: requests.Request, *, settling: bool) -> Answer:
        """The answer to a request that changes something."""
        sending = call.forward.upstream.send(outgoing, repeatable=call.tool.repeatable, settling=settling)
        if call.tool.behavior not in (BehaviorName.CANCEL, BehaviorName.DELETE):
            return await sending
        change = audited.change(call.runtime, call.tool.name, str(call.tool.behavior), call.batch_id)
        async with change as failures:
            answer = await sending
            if not answer.succeeded:
                failures.append(f"http_{answer.status}")
        return answer

    async def _created(self) -> Response:
        """What became of a create, whose body is on disk before the first byte of it is sent."""
        from batches_mcp.tools import exposed  # brings msgspec, which only creates need
        from batches_mcp.work.intake import drafts

        # Checked before the body is waited for: it may be large. An empty list stands for its requests.
        call = self._call(None)
        unread = dict.fromkeys(self._route.arguments(Place.BODY, Place.FIELD), ())
        call = replace(call, arguments={**call.arguments, **unread})
        await admit(call)
        again = self.request.headers.get(ALLOW_DUPLICATE, "").lower() == "true"
        with ExitStack() as sources:
            path = sources.enter_context(drafts(self.runtime).draft())
            body = await spooled(self.request, limits.MAX_BODY_BYTES, path, sources)
            try:
                answer = await exposed.create(call, body, sources, self.settings, again=again)
            except UpstreamError as error:
                if not error.body:
                    raise
                answer = Answer(error.report.status or HTTPStatus.BAD_GATEWAY, error.headers, error.body)
        return self._settled(answer)

    def _call(self, body: Any) -> Call:
        """What the request asks for.

        Raises:
            InvalidArguments: it does not fit the route.
        """
        query, headers = query_pairs(self.request.url.query), self.request.headers.items()
        given, more = arguments(self.matched, query, headers, self.request.cookies, body)
        self.check(given)
        refuse_undeclared(self._route, headers, FOR_WHOM_HEADERS)
        tool = with_header(self._route, with_query(self._route.tool, more), headers, BETA_HEADER)
        return Call(self.runtime, tool, given, _nobody_asked)

    async def _noted(self, call: Call, answer: Answer) -> None:
        """Learn from an answer what a tool's call would have."""
        content = _value(answer.body) if answer.succeeded and is_json(answer.media_type) else None
        if isinstance(content, dict):
            from batches_mcp.tools import exposed

            now_s = call.forward.upstream.clock.now_s()
            call.forward.recent.note(call.tool.request, call.arguments, content, now_s)
            await exposed.noted(call, self._route, content)

    def _settled(self, answer: Answer) -> Response:
        """A whole answer."""
        body = answer.body
        if answer.succeeded:
            body = self.relinked(result.projected(self._route.tool.result, answer))
        text = body.decode("utf-8", "replace")
        if self.redactor.found_in(text):
            body = self.redactor.text(text).encode()
        headers = _handed_on(answer)
        repeatable = self._route.tool.repeatable
        if not answer.succeeded and retry_of(answer, repeatable=repeatable) is Retry.UNSAFE:
            # The official clients repeat by themselves whatever seems to have failed.
            headers["x-should-retry"] = "false"
        return Response(body, answer.status, headers)

    async def _relay(
        self, call: Call, outgoing: requests.Request, settling: bool, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Hand on an answer while it comes, for as long as there is somebody to take it."""
        broken: CallError | None = None
        relaying = call.forward.upstream.relay(outgoing, settling=settling)
        async with relaying as relayed, anyio.create_task_group() as tasks:
            tasks.start_soon(_watch, receive, tasks.cancel_scope)
            try:
                await self._hand_on(relayed, call, scope, receive, send)
            except CallError as error:
                broken = error
            tasks.cancel_scope.cancel()
        if broken is not None:
            raise broken

    async def _hand_on(self, relayed: Relayed, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        head, pieces = relayed.head, relayed.pieces()
        begun = bytearray()
        if not head.succeeded or is_json(head.media_type):
            async for piece in pieces:
                begun += piece
                if len(begun) > _LOOKED_INTO_BYTES:
                    break
            else:
                whole_answer = replace(head, body=bytes(begun))
                await self._noted(call, whole_answer)
                await self._settled(whole_answer)(scope, receive, send)
                return
        headers = _handed_on(head)
        if "content-length" in head.headers:
            headers["content-length"] = head.headers["content-length"]
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": head.status, "headers": encoded})
        if self.request.method != "HEAD":
            await send({"type": "http.response.body", "body": bytes(begun), "more_body": True})
            await relayed.each(lambda piece: send({"type": "http.response.body", "body": piece, "more_body": True}))
        await send({"type": "http.response.body"})


async def _watch(receive: Receive, scope: anyio.CancelScope) -> None:
    """Stop handing on when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def _handed_on(answer: Answer) -> dict[str, str]:
    return {
        name: value
        for name, value in answer.headers.items()
        if name in _HANDED_ON or any(part in name for part in _HANDED_ON_PARTS)
    }


def _parsed(body: bytes) -> Any:
    """The JSON that a request's body is; None for none.

    Raises:
        InvalidArguments: it is something else.
    """
    if not body.strip():
        return None
    value = _value(body)
    if value is _NOT_JSON:
        raise invalid("the body is not JSON.")
    return value


_NOT_JSON = object()


def _value(body: bytes) -> Any:
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError:
        return _NOT_JSON


async def _nobody_asked(_done: float, _total: float, _words: str) -> None:
    """Progress, of which HTTP has no notion."""
