"""The ids by which a request is found again in logs: taken from who sent it where they are harmless, else made."""

from __future__ import annotations

import logging
import re
import secrets
import time
from dataclasses import dataclass
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from batches_mcp.core.context import CallContext, current, enter
from batches_mcp.core.logs import FIELDS
from batches_mcp.core.redact import excerpt
from batches_mcp.serve.auth import PROBES

log = logging.getLogger(__name__)

HEADER = "x-request-id"
# Where a request over HTTP keeps its context in its ASGI scope.
_SCOPE_KEY = "batches_mcp.call"
_HARMLESS = re.compile(r"[A-Za-z0-9._~+/=:@-]{1,128}")
# https://www.w3.org/TR/trace-context/#traceparent-header
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")


def made() -> str:
    """An id of a request that came without one."""
    return f"req_own_{secrets.token_hex(8)}"


def request_id() -> str:
    """The id of the request that is being answered; a new one outside of any."""
    call = current()
    return made() if call is None else call.request_id


def trace_id(traceparent: object) -> str | None:
    """The trace that a `traceparent` of W3C's names; None when it is not one."""
    found = _TRACEPARENT.fullmatch(traceparent) if isinstance(traceparent, str) else None
    return None if found is None else found[1]


@dataclass(frozen=True, slots=True)
class Identified:
    """ASGI middleware: each request has an id, which its answer has as `x-request-id`, and its log lines have."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get(HEADER, "")
        address = scope["client"][0] if scope.get("client") else None
        call = CallContext(
            given if _HARMLESS.fullmatch(given) else made(), trace_id(headers.get("traceparent")), address=address
        )
        # It stays entered: what the server still says of the request once the application has ended is its own.
        enter(call)
        began_s = time.monotonic()
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = call.request_id
            await send(message)

        try:
            await self.app({**scope, _SCOPE_KEY: call}, receive, sending)
        finally:
            if scope["path"] not in PROBES and log.isEnabledFor(logging.INFO):
                _told(scope, status, time.monotonic() - began_s)


def _told(scope: Scope, status: int, duration_s: float) -> None:
    asked = f"{scope['method']} {excerpt(scope['path'], 200)}"
    fields = {"http_status": status, "duration_s": round(duration_s, 6)}
    log.info("%s: %s", asked, status or "no answer", extra={FIELDS: fields})


async def identify(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Middleware of MCP: each message is a call, whose context is that of its request over HTTP, if it came so."""
    request = ctx.request
    found = None if request is None else request.scope.get(_SCOPE_KEY)
    call = found if isinstance(found, CallContext) else CallContext(made())
    if ctx.meta is not None:
        call.trace_id = trace_id(ctx.meta.get("traceparent")) or call.trace_id
    enter(call)
    return await call_next(ctx)
