"""Routes -> HTTP: the ASGI application of what a capability file exposes over REST."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, MutableMapping
from functools import cached_property
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from batches_mcp.api.links import leads_to_results, relinked
from batches_mcp.core.errors import ErrorReport
from batches_mcp.core.plan import Feed, Place
from batches_mcp.core.redact import Redactor, excerpt
from batches_mcp.core.server_plan import RestPlan
from batches_mcp.core.settings import BatchSettings
from batches_mcp.exchange.arguments import ArgumentCheck
from batches_mcp.serve.boundary import attempt
from batches_mcp.serve.callers import Callers
from batches_mcp.serve.envelope import failed, refusal
from batches_mcp.serve.exchange import Exchange, Respond
from batches_mcp.serve.fields import in_fields
from batches_mcp.serve.incoming import matching, path_of
from batches_mcp.serve.openapi import document

log = logging.getLogger(__name__)

DOCUMENT_PATH = "/openapi.json"


class Rest:
    """Answers requests to the routes of a plan; `callers` are the server's, once it runs."""

    def __init__(
        self, plan: RestPlan, redactor: Redactor, settings: BatchSettings, callers: Callable[[], Callers]
    ) -> None:
        self._plan = plan
        self._redactor = redactor
        self._callers = callers
        self._settings = settings
        self._checks = {(route.method, route.path): ArgumentCheck(route.tool, in_fields) for route in plan.routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        asked = f"{request.method} {excerpt(request.url.path, 200)}"
        begun = False

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal begun
            begun = True
            await send(message)

        async def answered() -> None:
            await (await self._response(request))(scope, receive, sending)

        try:
            report = await attempt(asked, answered())
        except ClientDisconnect:
            log.info("%s: the client left before its request was complete", asked)
            return
        if report is None:
            return
        log.info("%s: %s", asked, report.message)
        if begun:
            # The connection is closed without the answer's end, which no client takes for a whole one.
            log.warning("%s: the answer broke off", asked)
        else:
            await self._failed(report)(scope, receive, send)

    async def _response(self, request: Request) -> Respond:
        """The response to a request, or what sends it as it comes.

        Raises:
            CallError: there is no answer to hand on.
        """
        path = request.scope["raw_path"].decode("latin-1")
        found = {each.route.method: each for each in matching(self._plan.routes, path)}
        described = not found and path == DOCUMENT_PATH
        if not found and not described:
            return refusal(404, f"nothing is at {excerpt(path, 200)}; GET {DOCUMENT_PATH} says what there is.")
        allowed = _allowed(found or {"GET"})
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"allow": allowed})
        method = "GET" if request.method == "HEAD" else request.method
        if method not in (found or {"GET"}):
            return refusal(405, f"{request.method} is not allowed here; allowed are {allowed}.", {"allow": allowed})
        if described:
            return JSONResponse({**self._document, "servers": [{"url": _own_origin(request)}]})
        route = found[method].route
        check = self._checks[route.method, route.path]

        def links(body: bytes) -> bytes:
            return relinked(body, lambda batch_id: self._results_url(request, batch_id))

        exchange = Exchange(
            await self._callers().of(request, route.tool.name),
            request,
            found[method],
            check,
            self._redactor,
            links,
            self._settings,
        )
        return await exchange.response()

    @cached_property
    def _document(self) -> dict[str, Any]:
        return document(self._plan)

    def _results_url(self, request: Request, batch_id: str) -> str | None:
        """Where this server hands on the results of a batch, as its caller reaches it; None when it does not."""
        for route in self._plan.routes:
            variables = route.arguments(Place.PATH)
            if route.reads_only and len(variables) == 1 and leads_to_results(route.tool.request.path[-1]):
                return _own_origin(request) + path_of(route, {variables[0]: batch_id})
        return None

    def _failed(self, report: ErrorReport) -> Response:
        response = failed(report)
        body = bytes(response.body).decode()
        if self._redactor.found_in(body):
            response.body = json.dumps(self._redactor.json(json.loads(body))).encode()
            response.headers["content-length"] = str(len(response.body))
        return response


def key_headers(plan: RestPlan) -> frozenset[str]:
    """The headers into which clients of the upstream put their key, in lower case."""
    credentials = [route.tool.request.credential for route in plan.routes]
    headers = [each for each in credentials if isinstance(each, Feed) and each.place is Place.HEADER]
    return frozenset(each.name.lower() for each in headers) - {"authorization"}


def _allowed(methods: Iterable[str]) -> str:
    return ", ".join(sorted({*methods, "OPTIONS", *({"HEAD"} if "GET" in methods else set())}))


def _own_origin(request: Request) -> str:
    return f"{request.url.scheme}://{request.headers['host']}"
