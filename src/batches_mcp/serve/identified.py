"""Requests over HTTP by their ids: each is done under its own, and leaves one line in the log."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from batches_mcp.core.context import CallContext, enter
from batches_mcp.core.logs import FIELDS
from batches_mcp.core.redact import excerpt
from batches_mcp.serve.auth import PROBES
from batches_mcp.serve.requestids import HARMLESS, SCOPE_KEY, made, trace_id

log = logging.getLogger(__name__)

HEADER = "x-request-id"


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
            given if HARMLESS.fullmatch(given) else made(), trace_id(headers.get("traceparent")), address=address
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
            await self.app({**scope, SCOPE_KEY: call}, receive, sending)
        finally:
            if scope["path"] not in PROBES and log.isEnabledFor(logging.INFO):
                _log_request(scope, status, time.monotonic() - began_s)


def _log_request(scope: Scope, status: int, duration_s: float) -> None:
    asked = f"{scope['method']} {excerpt(scope['path'], 200)}"
    fields = {"http_status": status, "duration_s": round(duration_s, 6)}
    log.info("%s: %s", asked, status or "no answer", extra={FIELDS: fields})
