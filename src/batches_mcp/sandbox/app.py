"""The HTTP face of the sandbox: a routing table, one small handler for each endpoint, one error handler."""

import re
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping
from contextlib import ExitStack, asynccontextmanager, closing
from functools import partial
from typing import IO

from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from batches_mcp.sandbox import errors, lifecycle
from batches_mcp.sandbox.caller import Caller, identify
from batches_mcp.sandbox.clock import microseconds
from batches_mcp.sandbox.config import SandboxConfig
from batches_mcp.sandbox.errors import ApiError
from batches_mcp.sandbox.evidence import Evidence
from batches_mcp.sandbox.ingest import MAX_BODY_BYTES, ingest
from batches_mcp.sandbox.lifecycle import Batch, Status, archived_us, status_at
from batches_mcp.sandbox.requestlog import RequestLog, RequestRecorder
from batches_mcp.sandbox.rows import result_blocks, shuffled_indexes
from batches_mcp.sandbox.store import Store
from batches_mcp.sandbox.wire import BATCHES_PATH, batch_json, deleted_json, error_json, opaque_id, page_json

__all__ = ["create_app"]

_SPOOL_WRITE_BYTES = 256 * 1024
# Bodies read at the same time: it is work for the processor, and each holds up to 100,000 ids in memory.
_READERS = 2
# Documented.
_LIMIT_DEFAULT = 20
_LIMIT_MAX = 1_000

_HOST = re.compile(r"[\w.-]+(:\d+)?|\[[0-9a-fA-F:.]+\](:\d+)?", re.ASCII)

_Handler = Callable[[Request, Caller], Awaitable[Response]]


def create_app(config: SandboxConfig) -> Starlette:
    """The sandbox as an ASGI app. Its lifespan opens and closes the state (StateFileError if that cannot be used).

    The last requests it received are in `app.state.requests`, a `RequestLog`.
    """
    store = Store(config.state)
    requests = RequestLog()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        store.open()
        try:
            yield
        finally:
            store.close()

    app = Starlette(
        routes=_Endpoints(config, store).routes(BATCHES_PATH),
        middleware=[Middleware(RequestRecorder, log=requests, clock=config.clock)],
        exception_handlers={ApiError: _answer_error, HTTPException: _answer_error, Exception: _answer_error},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.requests = requests
    return app


async def _answer_error(request: Request, error: Exception) -> Response:
    """Every answer that is not a success, in the API's envelope."""
    match error:
        case ApiError():
            answer = error
        case HTTPException(status_code=405):
            answer = errors.method_not_allowed(error.headers or {})
        case HTTPException():
            answer = errors.path_not_found()
        case _:
            answer = errors.internal_error()
    request_id: str = request.state.request_id
    body = error_json(answer.error_type, answer.message, request_id)
    if answer.bare:
        body = {"error": body["error"]}
    return JSONResponse(body, answer.status, {**answer.headers, "request-id": request_id})


class _Endpoints:
    """The six endpoints over one store."""

    def __init__(self, config: SandboxConfig, store: Store) -> None:
        self._config = config
        self._store = store
        self._readers = CapacityLimiter(_READERS)

    def routes(self, prefix: str) -> list[Route]:
        """The routing table, under a path prefix."""
        return [
            _route(prefix, {"GET": self._list, "POST": self._create}),
            _route(f"{prefix}/{{batch_id}}", {"GET": self._retrieve, "DELETE": self._delete}),
            _route(f"{prefix}/{{batch_id}}/cancel", {"POST": self._cancel}),
            _route(f"{prefix}/{{batch_id}}/results", {"GET": self._results}),
        ]

    async def _create(self, request: Request, caller: Caller) -> Response:
        if int(request.headers.get("content-length", "0")) > MAX_BODY_BYTES:
            raise errors.request_too_large()
        with tempfile.TemporaryFile() as body:
            await _receive(request, body)
            batch = await to_thread.run_sync(self._accept, caller, body, limiter=self._readers)
        # Not its status now: with no processing time at all it would be born ended, and no create answers that.
        return self._answer(request, batch, Status.IN_PROGRESS, batch.created_us)

    async def _list(self, request: Request, caller: Caller) -> Response:
        limit = _limit(request.query_params.get("limit"))
        after = self._cursor(request, caller, "after_id")
        before = self._cursor(request, caller, "before_id")
        if after and before:
            raise errors.invalid_query("after_id and before_id cannot be used together")
        batches = self._store.page(caller.tenant, limit + 1, after=after, before=before)
        # Documented: has_more looks in the requested direction. The one too many is the farthest.
        page = batches[-limit:] if before else batches[:limit]
        now_us, origin = self._now_us(), _origin(request)
        rows = [batch_json(batch, status_at(batch, now_us), now_us, origin) for batch in page]
        return JSONResponse(page_json(rows, has_more=len(batches) > limit))

    async def _retrieve(self, request: Request, caller: Caller) -> Response:
        batch = self._find(request, caller)
        now_us = self._now_us()
        status = status_at(batch, now_us)
        response = self._answer(request, batch, status, now_us)
        if status is Status.IN_PROGRESS:  # captured
            response.headers["retry-after"] = str(self._config.retry_after_seconds)
        return response

    async def _cancel(self, request: Request, caller: Caller) -> Response:
        batch_id: str = request.path_params["batch_id"]
        now_us = self._now_us()
        batch = await to_thread.run_sync(self._store.cancel, caller.tenant, batch_id, now_us)
        if batch is None:
            raise errors.batch_not_found(batch_id)
        status = status_at(batch, now_us)
        if status is Status.ENDED:
            raise errors.cancel_after_end(batch_id)
        return self._answer(request, batch, status, now_us)

    async def _delete(self, request: Request, caller: Caller) -> Response:
        batch = self._find(request, caller)
        status = status_at(batch, self._now_us())
        if status is not Status.ENDED:
            raise errors.not_deletable(Evidence.CAPTURED if status is Status.IN_PROGRESS else Evidence.INFERRED)
        if not await to_thread.run_sync(self._store.delete, batch):
            raise errors.batch_not_found(batch.id)
        return JSONResponse(deleted_json(batch.id))

    async def _results(self, request: Request, caller: Caller) -> Response:
        batch = self._find(request, caller)
        now_us = self._now_us()
        status = status_at(batch, now_us)
        if status is not Status.ENDED:
            raise errors.no_results(batch.id, Evidence.CAPTURED if status is Status.IN_PROGRESS else Evidence.INFERRED)
        if archived_us(batch, now_us) is not None:  # documented: gone after 29 days; inferred: the same answer
            raise errors.no_results(batch.id, Evidence.INFERRED)
        return _Results(self._result_blocks(batch))

    def _accept(self, caller: Caller, body: IO[bytes]) -> Batch:
        """A received body as a new batch."""
        store, config = self._store, self._config
        number = store.reserve()
        with ExitStack() as undo:
            undo.callback(store.discard, number)
            fates = ingest(body, caller.terms, partial(store.add_requests, number))
            created_us = self._now_us()
            batch = lifecycle.accept(
                number=number,
                # The time keeps ids of two sandboxes with the same seed apart.
                batch_id=opaque_id("msgbatch_", config.seed, number, created_us),
                tenant=caller.tenant,
                created_us=created_us,
                process_us=round(config.process_seconds * 1_000_000),
                fates=fates,
                terms=caller.terms,
            )
            store.publish(batch, fates)
            undo.pop_all()
        return batch

    def _result_blocks(self, batch: Batch) -> Generator[bytes]:
        seed = self._config.seed
        with closing(self._store.requests(batch, shuffled_indexes(batch, seed))) as requests:
            yield from result_blocks(batch, requests, seed)

    def _find(self, request: Request, caller: Caller) -> Batch:
        # On the event loop: one indexed read takes less time than a change of threads.
        batch_id: str = request.path_params["batch_id"]
        batch = self._store.find(caller.tenant, batch_id)
        if batch is None:
            raise errors.batch_not_found(batch_id)
        return batch

    def _cursor(self, request: Request, caller: Caller, name: str) -> Batch | None:
        batch_id = request.query_params.get(name)
        if batch_id is None:
            return None
        batch = self._store.find(caller.tenant, batch_id)
        if batch is None:
            raise errors.invalid_query(f"{name}: Message Batch {batch_id} not found.")
        return batch

    def _answer(self, request: Request, batch: Batch, status: Status, now_us: int) -> Response:
        return JSONResponse(batch_json(batch, status, now_us, _origin(request)))

    def _now_us(self) -> int:
        return microseconds(self._config.clock.now())


class _Results(StreamingResponse):
    """Result rows made in a worker thread as fast as the client reads, and no longer than it reads."""

    def __init__(self, blocks: Generator[bytes]) -> None:
        super().__init__(blocks, media_type="application/x-jsonl")
        self._blocks = blocks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with closing(self._blocks):
            await super().__call__(scope, receive, send)


def _route(path: str, handlers: Mapping[str, _Handler]) -> Route:
    async def endpoint(request: Request) -> Response:
        caller = identify(request.headers, request.headers.getlist("anthropic-beta"))
        return await handlers[request.method](request, caller)

    route = Route(path, endpoint, methods=list(handlers))
    route.methods = set(handlers)  # Without the HEAD that Starlette adds to every GET.
    return route


async def _receive(request: Request, body: IO[bytes]) -> None:
    """Write the request's body to a file and rewind it; ApiError 413 beyond the limit."""
    held = bytearray()
    received_bytes = 0
    try:
        async for part in request.stream():
            received_bytes += len(part)
            if received_bytes > MAX_BODY_BYTES:
                raise errors.request_too_large()
            held += part
            if len(held) >= _SPOOL_WRITE_BYTES:
                await to_thread.run_sync(body.write, bytes(held))
                held.clear()
    except ClientDisconnect:
        raise errors.invalid_json("the body ended early") from None
    body.write(held)
    body.seek(0)


def _limit(text: str | None) -> int:
    if text is None:
        return _LIMIT_DEFAULT
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise errors.invalid_query("limit: Input should be a valid integer, unable to parse string as an integer")
    limit = int(text)
    if limit < 1:
        raise errors.invalid_query("limit: Input should be greater than or equal to 1")
    if limit > _LIMIT_MAX:
        raise errors.invalid_query(f"limit: Input should be less than or equal to {_LIMIT_MAX}")
    return limit


def _origin(request: Request) -> str:
    """Where this sandbox is, as its client sees it: the Host header, else the socket's own address.

    Never a host of Anthropic's, whatever a proxy in between says: SDKs send the credential to `results_url`.
    """
    host = request.headers.get("host", "")
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if not _HOST.fullmatch(host) or name.lower().rstrip(".").endswith("anthropic.com"):
        address, port = request.scope["server"]
        host = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    return f"{request.scope['scheme']}://{host}"
