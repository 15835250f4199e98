"""The endpoints: a routing table and one small handler for each."""

import re
import tempfile
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import ExitStack, closing
from functools import partial
from typing import IO

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from batches_mcp.sandbox import errors, lifecycle
from batches_mcp.sandbox.answers import Answer
from batches_mcp.sandbox.bodies import receive
from batches_mcp.sandbox.caller import Caller, identify, key_in
from batches_mcp.sandbox.clock import microseconds
from batches_mcp.sandbox.config import SandboxConfig
from batches_mcp.sandbox.connection import ResultStream
from batches_mcp.sandbox.counting import MAX_PARAMS_BYTES, count_tokens
from batches_mcp.sandbox.faults import Endpoint, Faults
from batches_mcp.sandbox.ingest import ingest
from batches_mcp.sandbox.injection import inject
from batches_mcp.sandbox.labels import labelled
from batches_mcp.sandbox.late import LateCreates
from batches_mcp.sandbox.lifecycle import Batch, Status, archived_us, status_at
from batches_mcp.sandbox.limits import LIMITS, RateLimiter
from batches_mcp.sandbox.origin import origin
from batches_mcp.sandbox.rows import result_blocks, shuffled_indexes
from batches_mcp.sandbox.store import Absence, Store
from batches_mcp.sandbox.wire import Json, batch_json, deleted_json, opaque_id, page_json

__all__ = ["Endpoints"]

# Bodies read at the same time: it is work for the processor, and each holds up to 100,000 ids in memory.
_READERS = 2
# Documented.
_LIMIT_DEFAULT = 20
_LIMIT_MAX = 1_000

# Documented: an id's "format and length may change", so little of it is looked at.
_ID = re.compile(r"msgbatch_[a-zA-Z0-9]+", re.ASCII)

_Handler = Callable[[Request, Caller], Awaitable[Response]]


class Endpoints:
    """The six endpoints over one store, and the counting of tokens."""

    def __init__(self, config: SandboxConfig, store: Store, faults: Faults) -> None:
        self._config = config
        self._choices = config.choices
        self._store = store
        self._faults = faults
        self._limits = None if config.tier is None else LIMITS[config.tier]
        self._max_queued = None if self._limits is None else self._limits.queued_requests
        self.late_creates = LateCreates(store, self._max_queued)
        self.rate_limiter = None if self._limits is None else RateLimiter(self._limits.requests_per_minute)
        self._readers = CapacityLimiter(_READERS)

    def routes(self, prefix: str) -> list[Route]:
        """The routing table, under a path prefix."""
        return [
            self._route(prefix, "", {"GET": ("list", self._list), "POST": ("create", self._create)}),
            self._route(
                prefix, "/{batch_id}", {"GET": ("retrieve", self._retrieve), "DELETE": ("delete", self._delete)}
            ),
            self._route(prefix, "/{batch_id}/cancel", {"POST": ("cancel", self._cancel)}),
            self._route(prefix, "/{batch_id}/results", {"GET": ("results", self._results)}),
        ]

    def count_route(self, path: str) -> Route:
        """Where tokens are counted."""
        return self._route(path, "", {"POST": ("count_tokens", self._count_tokens)})

    def _route(self, prefix: str, path: str, handlers: Mapping[str, tuple[Endpoint, _Handler]]) -> Route:
        async def endpoint(request: Request) -> Response:
            # Where this client has the batches: `results_url` leads back there.
            request.state.url = origin(request) + prefix
            name, handler = handlers[request.method]
            if self.late_creates.due(now_us := self._now_us()):
                await to_thread.run_sync(self.late_creates.catch_up, now_us)
            fault = self._faults.take(name, key_in(request.headers))
            handle = partial(self._serve, request, handler)
            return await (handle() if fault is None else inject(fault, request, handle))

        route = Route(prefix + path, endpoint, methods=list(handlers))
        route.methods = set(handlers)  # Without the HEAD that Starlette adds to every GET.
        return route

    async def _serve(self, request: Request, handler: _Handler) -> Response:
        caller = identify(request.headers, request.headers.getlist("anthropic-beta"), self._choices)
        request.state.headers = caller.headers
        # Documented: counting tokens has a limit of its own, which is not kept here.
        if self.rate_limiter is not None and handler != self._count_tokens:
            limits = self.rate_limiter.take(caller.tenant, self._now_us())
            request.state.headers = {**caller.headers, **limits}
        response = await handler(request, caller)
        response.headers.update(request.state.headers)
        return response

    async def _count_tokens(self, request: Request, caller: Caller) -> Response:
        with tempfile.TemporaryFile() as body:
            await receive(request, body, MAX_PARAMS_BYTES)
            tokens = await to_thread.run_sync(count_tokens, body, caller.terms, limiter=self._readers)
        return _ok(Answer.COUNTED, {"input_tokens": tokens})

    async def _create(self, request: Request, caller: Caller) -> Response:
        with tempfile.TemporaryFile() as body:
            await receive(request, body)
            late_s: float | None = getattr(request.state, "late_s", None)
            batch = await to_thread.run_sync(self._accept, caller, body, late_s, limiter=self._readers)
        # Not its status now: with no processing time at all it would be born ended, and no create answers that.
        return _ok(Answer.CREATED, batch_json(batch, Status.IN_PROGRESS, batch.created_us, request.state.url))

    async def _list(self, request: Request, caller: Caller) -> Response:
        limit = self._limit(request.query_params.get("limit"))
        ids = {name: request.query_params[name] for name in _CURSORS if name in request.query_params}
        if len(ids) == 2:
            match self._choices.both_cursors:
                case "400":
                    raise errors.both_cursors()
                case "ignore-before":
                    del ids["before_id"]
                case "ignore-after":
                    del ids["after_id"]
        cursors = {name: self._store.find(caller.tenant, batch_id) for name, batch_id in ids.items()}
        if None in cursors.values():
            ((name, batch_id),) = ids.items()
            if self._choices.unknown_cursor == "empty":
                return _ok(Answer.UNKNOWN_CURSOR, page_json([], has_more=False))
            raise errors.unknown_cursor(name, batch_id, int(self._choices.unknown_cursor))
        before = cursors.get("before_id")
        batches = self._store.page(caller.tenant, limit + 1, after=cursors.get("after_id"), before=before)
        # Documented: has_more looks in the requested direction. The one too many is the farthest.
        page = batches[-limit:] if before else batches[:limit]
        answer = Answer.LISTED_BACKWARDS if before else Answer.LISTED if page else Answer.LISTED_EMPTY
        now_us = self._now_us()
        rows = [self._json(request, batch, status_at(batch, now_us), now_us) for batch in page]
        return _ok(answer, page_json(rows, has_more=len(batches) > limit))

    async def _retrieve(self, request: Request, caller: Caller) -> Response:
        batch = self._find(request, caller)
        now_us = self._now_us()
        status = status_at(batch, now_us)
        body = self._json(request, batch, status, now_us)
        live = self._choices.counts == "live"
        match status:
            case Status.IN_PROGRESS:
                hint = {"retry-after": str(self._config.retry_after_seconds)}  # captured
                return _ok(Answer.RETRIEVED_LIVE if live else Answer.RETRIEVED_IN_PROGRESS, body, hint)
            case Status.CANCELING:
                return _ok(Answer.RETRIEVED_LIVE if live else Answer.RETRIEVED_CANCELING, body)
            case Status.ENDED:
                archived = archived_us(batch, now_us) is not None
                return _ok(Answer.RETRIEVED_ARCHIVED if archived else Answer.RETRIEVED_ENDED, body)

    async def _cancel(self, request: Request, caller: Caller) -> Response:
        batch = self._find(request, caller)
        now_us = self._now_us()
        changed = await to_thread.run_sync(
            partial(self._store.change, batch.id, partial(lifecycle.cancel, now_us=now_us), tenant=caller.tenant)
        )
        if changed is None:
            raise errors.batch_missing(Answer.DELETED_ID, batch.id)
        before, batch = changed
        match status_at(before, now_us):
            case Status.IN_PROGRESS:
                answer, status = Answer.CANCELED, "200"
            case Status.CANCELING:
                answer, status = Answer.CANCEL_CANCELING, self._choices.cancel_canceling
            case Status.ENDED:
                answer, status = Answer.CANCEL_ENDED, self._choices.cancel_ended
        if status != "200":
            raise errors.cancel_refused(answer, batch.id, int(status))
        return _ok(answer, self._json(request, batch, status_at(batch, now_us), now_us))

    async def _delete(self, request: Request, caller: Caller) -> Response:
        batch = self._find(request, caller)
        match status_at(batch, self._now_us()):
            case Status.IN_PROGRESS:
                raise errors.delete_refused(Answer.DELETE_IN_PROGRESS)
            case Status.CANCELING:
                raise errors.delete_refused(Answer.DELETE_CANCELING, int(self._choices.delete_canceling))
            case Status.ENDED:
                if not await to_thread.run_sync(self._store.delete, batch):
                    raise errors.batch_missing(Answer.DELETED_ID, batch.id)
                return _ok(Answer.DELETED, deleted_json(batch.id))

    async def _results(self, request: Request, caller: Caller) -> Response:
        batch = self._find(request, caller)
        now_us = self._now_us()
        match status_at(batch, now_us):
            case Status.IN_PROGRESS:
                raise errors.no_results(Answer.RESULTS_IN_PROGRESS, batch.id)
            case Status.CANCELING:
                raise errors.no_results(Answer.RESULTS_CANCELING, batch.id, int(self._choices.results_canceling))
            case Status.ENDED if archived_us(batch, now_us) is not None:
                raise errors.no_results(Answer.RESULTS_ARCHIVED, batch.id, int(self._choices.results_archived))
            case Status.ENDED:
                return labelled(ResultStream(self._result_blocks(batch)), Answer.RESULTS)

    def _accept(self, caller: Caller, body: IO[bytes], late_s: float | None) -> Batch:
        """A received body as a new batch, which exists `late_s` from now (None: at once)."""
        store, config = self._store, self._config
        number = store.reserve()
        with ExitStack() as undo:
            undo.callback(store.discard, number)
            work = ingest(body, caller.terms, partial(store.add_requests, number), self._choices)
            created_us = self._now_us() + round((late_s or 0) * 1_000_000)
            batch = lifecycle.accept(
                number=number,
                # The time keeps ids of two sandboxes with the same seed apart.
                batch_id=opaque_id("msgbatch_", config.seed, number, created_us),
                tenant=caller.tenant,
                created_us=created_us,
                process_us=round(config.process_seconds * 1_000_000),
                work=work,
                terms=caller.terms,
            )
            if late_s is not None:
                self.late_creates.add(batch, work)
            elif not store.publish(batch, work, max_queued=self._max_queued):
                raise errors.queue_limit(self._max_queued or 0)
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
        if batch is not None:
            return batch
        match self._store.absence(caller.tenant, batch_id):
            case Absence.FOREIGN:
                raise errors.batch_missing(Answer.FOREIGN_ID, batch_id, int(self._choices.foreign_id))
            case Absence.DELETED:
                raise errors.batch_missing(Answer.DELETED_ID, batch_id)
            case Absence.UNKNOWN if not _ID.fullmatch(batch_id):
                raise errors.batch_missing(Answer.MALFORMED_ID, batch_id, int(self._choices.malformed_id))
            case Absence.UNKNOWN:
                raise errors.batch_missing(Answer.UNKNOWN_ID, batch_id)

    def _json(self, request: Request, batch: Batch, status: Status, now_us: int) -> Json:
        url: str = request.state.url
        if status is Status.ENDED or self._choices.counts == "at-end":
            return batch_json(batch, status, now_us, url)
        live = lifecycle.counts_at(batch, self._store.work(batch), now_us)
        return batch_json(batch, status, now_us, url, live)

    def _limit(self, text: str | None) -> int:
        if text is None:
            return _LIMIT_DEFAULT
        if not re.fullmatch(r"-?[0-9]{1,18}", text):
            raise errors.invalid_limit("Input should be a valid integer, unable to parse string as an integer")
        limit = int(text)
        clipped = min(max(limit, 1), _LIMIT_MAX)
        if limit == clipped or self._choices.limit_range == "clip":
            return clipped
        if limit < 1:
            raise errors.invalid_limit("Input should be greater than or equal to 1")
        raise errors.invalid_limit(f"Input should be less than or equal to {_LIMIT_MAX}")

    def _now_us(self) -> int:
        return microseconds(self._config.clock.now())


_CURSORS = ("after_id", "before_id")


def _ok(answer: Answer, body: Json, headers: Mapping[str, str] | None = None) -> Response:
    return labelled(JSONResponse(body, headers=headers), answer)
