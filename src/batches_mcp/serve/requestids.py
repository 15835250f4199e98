"""The ids by which a request is found again in logs: taken from who sent it where they are harmless, else made."""

from __future__ import annotations

import re
import secrets
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

from batches_mcp.core.context import CallContext, current, enter

# Of an id that somebody else made.
HARMLESS = re.compile(r"[A-Za-z0-9._~+/=:@-]{1,128}")
# Where a request over HTTP keeps its context in its ASGI scope.
SCOPE_KEY = "batches_mcp.call"
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


async def identify(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Middleware of MCP: each message is a call, whose context is that of its request over HTTP, if it came so."""
    request = ctx.request
    found = None if request is None else request.scope.get(SCOPE_KEY)
    call = found if isinstance(found, CallContext) else CallContext(made())
    if ctx.meta is not None:
        call.trace_id = trace_id(ctx.meta.get("traceparent")) or call.trace_id
    enter(call)
    return await call_next(ctx)
