"""One request to a route: its call, sent upstream with this server's credential, and the answer handed on.

The answer keeps its status, its body, and the headers that a client can use. What is changed is where a batch says its
results are, and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import anyio
from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from batches_mcp import request as requests
from batches_mcp import result
from batches_mcp.arguments import ArgumentCheck
from batches_mcp.batch.call import Desk
from batches_mcp.errors import CallError, Retry
from batches_mcp.failure import retry_of
from batches_mcp.incoming import Matched, arguments, query_pairs, with_query
from batches_mcp.plan import RoutePlan
from batches_mcp.redact import Redactor, excerpt
from batches_mcp.relayed import Relayed
from batches_mcp.request import Upload, invalid
from batches_mcp.result import Answer, is_json
from batches_mcp.serve.bodies import Spooled, spooled, whole
from batches_mcp.serve.envelope import refusal

log = logging.getLogger(__name__)

# https://platform.claude.com/docs/en/build-with-claude/batch-processing#batch-limitations
MAX_CREATE_BYTES = 256_000_000
MAX_BODY_BYTES = 32 << 20
# A JSON answer up to this size is looked into for links; a larger one is no batch, and no page of them.
_LOOKED_INTO_BYTES = 16_000_000

# Cookies, redirects and the rules for browsers are between this server and the upstream.
_HANDED_ON = {"cache-control", "content-encoding", "content-type", "request-id", "x-request-id", "x-should-retry"}
_HANDED_ON_PARTS = ("ratelimit", "retry-after")

_WITHOUT_BODY = {"GET", "HEAD"}

Create: TypeAlias = Callable[[Desk, RoutePlan, Mapping[str, Any], Spooled, ExitStack], Awaitable[Answer]]
"""Sends a create whose body is on disk: what the upstream answered, whatever its status, or CallError. The mapping
holds the arguments that are not of the body; the stack closes the body, and may be taken over to keep it longer."""

Respond: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


async def straight(
    desk: Desk, route: RoutePlan, given: Mapping[str, Any], body: Spooled, _sources: ExitStack
) -> Answer:
    """Send a create as it is."""
    outgoing = requests.build(route.tool.request, given, desk.forward.variables)
    outgoing = replace(outgoing, body=Upload(body.length, body.pieces))
    return await desk.forward.upstream.send(outgoing, repeatable=False)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and the route it is for; `relinked` makes the links of a JSON answer lead here."""

    desk: Desk
    request: Request
    matched: Matched
    check: ArgumentCheck
    redactor: Redactor
    relinked: Callable[[bytes], bytes]
    create: Create

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
            return self._settled(await self._created())
        body = await whole(self.request, MAX_BODY_BYTES)
        given, more = self._arguments(_parsed(body))
        outgoing = requests.build(self._route.tool.request, given, self.desk.forward.variables)
        outgoing = replace(outgoing, url=with_query(outgoing.url, more))
        now_s = self.desk.forward.upstream.clock.now_s()
        settling = self.desk.forward.recent.settling(self._route.tool.request, given, now_s)
        if outgoing.method == "GET":
            return lambda scope, receive, send: self._relay(outgoing, settling, scope, receive, send)
        repeatable = self._route.tool.repeatable
        answer = await self.desk.forward.upstream.send(outgoing, repeatable=repeatable, settling=settling)
        if answer.succeeded:
            self._note(given, answer)
        return self._settled(answer)

    async def _created(self) -> Answer:
        """What became of a create, whose body is on disk before the first byte of it is sent."""
        # Checked before the body is waited for: it may be large.
        given, more = self._arguments(None)
        if more:
            raise invalid(f"{more[0][0]}: no such query is known here.")
        with ExitStack() as sources:
            folder = self.desk.state.folder("incoming")
            body = await spooled(self.request, MAX_CREATE_BYTES, folder, sources)
            answer = await self.create(self.desk, self._route, given, body, sources)
        if answer.succeeded:
            self._note(given, answer)
        return answer

    def _arguments(self, body: Any) -> tuple[dict[str, Any], Any]:
        query = query_pairs(self.request.url.query)
        given, more = arguments(self.matched, query, self.request.headers.items(), self.request.cookies, body)
        self.check(given)
        return given, more

    def _note(self, given: Mapping[str, Any], answer: Answer) -> None:
        content = _parsed(answer.body)
        if isinstance(content, dict):
            now_s = self.desk.forward.upstream.clock.now_s()
            self.desk.forward.recent.note(self._route.tool.request, given, content, now_s)

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
        self, outgoing: requests.Request, settling: bool, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Hand on an answer while it comes, for as long as there is somebody to take it."""
        broken: CallError | None = None
        relaying = self.desk.forward.upstream.relay(outgoing, settling=settling)
        async with relaying as relayed, anyio.create_task_group() as tasks:
            tasks.start_soon(_watch, receive, tasks.cancel_scope)
            try:
                await self._hand_on(relayed, scope, receive, send)
            except CallError as error:
                broken = error
            tasks.cancel_scope.cancel()
        if broken is not None:
            raise broken

    async def _hand_on(self, relayed: Relayed, scope: Scope, receive: Receive, send: Send) -> None:
        head, pieces = relayed.head, relayed.pieces()
        begun = bytearray()
        if not head.succeeded or is_json(head.media_type):
            async for piece in pieces:
                begun += piece
                if len(begun) > _LOOKED_INTO_BYTES:
                    break
            else:
                await self._settled(replace(head, body=bytes(begun)))(scope, receive, send)
                return
        headers = _handed_on(head)
        if "content-length" in head.headers:
            headers["content-length"] = head.headers["content-length"]
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": head.status, "headers": encoded})
        if self.request.method != "HEAD":
            await send({"type": "http.response.body", "body": bytes(begun), "more_body": True})
            async for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
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
    """The JSON that a body is; None for none.

    Raises:
        InvalidArguments: it is something else.
    """
    if not body.strip():
        return None
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise invalid(f"the body is not JSON: {excerpt(str(error), 200)}.") from error
