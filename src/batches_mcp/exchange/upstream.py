"""The only door to the upstream: sends requests, bounds what comes back, and retries what may be retried."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import Self

import anyio
import anyio.to_thread
import httpx2

from batches_mcp.core.context import current
from batches_mcp.core.errors import Retry, UpstreamUnreachable
from batches_mcp.core.limits import LIMITS, Limits
from batches_mcp.core.observe import Observer
from batches_mcp.core.redact import excerpt
from batches_mcp.exchange.failure import retry_after_s, retry_of, time_of
from batches_mcp.exchange.queue import FairQueue
from batches_mcp.exchange.relayed import Relayed
from batches_mcp.exchange.request import Request, Upload, invalid
from batches_mcp.exchange.result import Answer
from batches_mcp.exchange.transfer import Opened, Transfers
from batches_mcp.exchange.transport import Body, ClientSettings, no_answer

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Clock:
    """Time as we need it; tests give their own. `now_s` only goes forward, `wall_s` is the time of day (Unix time)."""

    now_s: Callable[[], float] = time.monotonic
    wall_s: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    jitter: Callable[[], float] = random.random


class Upstream:
    """Owns the HTTP clients; an async context manager, entered once for a server's life.

    `wall_ahead_s` is by how much the upstream's time of day is ahead of this machine's, by the last `Date` it gave.
    """

    def __init__(self, limits: Limits = LIMITS, clock: Clock | None = None, observers: Sequence[Observer] = ()) -> None:
        self.limits = limits
        self.clock = clock or Clock()
        self.observers = observers
        waiting = self.limits.waiting
        # Each of its own, so that quick calls do not wait for what takes long.
        self.calls = FairQueue("calls of the API", self.limits.upstream_calls, waiting, self.limits.waiting_s)
        self.uploads = FairQueue("creates", self.limits.uploads, waiting)
        self.downloads = FairQueue("downloads", self.limits.downloads, waiting)
        self._settings = ClientSettings(self.limits)
        self._transfers = Transfers(self.limits, self._settings)
        self._stack = AsyncExitStack()
        self._clients: dict[bool, httpx2.AsyncClient] = {}
        self._ahead_s: float | None = None
        self.wall_ahead_s = 0.0

    def time_s(self) -> float:
        """The upstream's time of day (Unix time), by the last `Date` it gave; our own as long as there was none."""
        return self.clock.wall_s() if self._ahead_s is None else self.clock.now_s() + self._ahead_s

    @property
    def time_is_known(self) -> bool:
        """Whether the time of the upstream is known."""
        return self._ahead_s is not None

    @property
    def waiting(self) -> int:
        """How many requests wait for their turn."""
        return self.calls.waiting + self.uploads.waiting + self.downloads.waiting

    def load(self) -> None:
        """Import and make in advance, in any thread, what the first request would otherwise wait for."""
        self._settings.load()

    async def __aenter__(self) -> Self:
        self._stack.callback(self._transfers.close)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def send(
        self,
        request: Request,
        *,
        repeatable: bool,
        declared_jsonl: bool = False,
        settling: bool = False,
        once: bool = False,
    ) -> Answer:
        """Send a request and read its answer, whatever its status.

        A `repeatable` request is sent again after any failure that may pass; another one only when the upstream
        certainly did not accept it, and one that is sent `once` not at all. JSONL is read just as far as one result
        can hold. `settling` tells that what the request names was made just now, so that a 404 may pass as well. Each
        attempt waits for its turn among `calls`, an upload as a whole among `uploads`.

        Raises:
            UpstreamUnreachable: there was no answer within the time of a call, or of an upload; or no turn.
            UnusableAnswer: the answer is larger than anything one result could be made of.
            InvalidArguments: the request cannot be sent at all.
        """
        if isinstance(request.body, Upload):
            upload = partial(self._exchange, request, repeatable, declared_jsonl)
            async with self.uploads.turn():
                return await self._until_answered(request, upload, None, repeatable=repeatable, settling=settling)
        deadline_s = self.clock.now_s() + self.limits.call_s

        async def exchange() -> Answer:
            with anyio.fail_after(max(0.0, deadline_s - self.clock.now_s())):
                return await self._exchange(request, repeatable, declared_jsonl)

        attempts = 1 if once else self.limits.attempts
        return await self._until_answered(
            request, exchange, self.calls, repeatable=repeatable, settling=settling, attempts=attempts
        )

    async def download(self, request: Request, take: Callable[[bytes], bool], *, settling: bool = False) -> Answer:
        """Read a JSONL answer of any size, which is handed to `take` as it comes, in a worker thread.

        Reading stops, and the connection is closed, when `take` says that it has enough (false). The answer holds no
        body, but for an error's, and is `complete` when the stream came to its end. One that breaks after its
        beginning is not asked for again. As long as bytes come there is no limit of time; a call that is canceled
        takes no further piece.

        Raises:
            UpstreamUnreachable: no answer began within the time of a call.
            UnusableAnswer: the answer is not JSONL.
            InvalidArguments: the request cannot be sent at all.
        """
        async with self.downloads.turn():
            return await self._until_answered(
                request, lambda: self._transfers.download(request, take), None, repeatable=True, settling=settling
            )

    @asynccontextmanager
    async def relay(self, request: Request, *, settling: bool = False) -> AsyncIterator[Relayed]:
        """An answer to be handed on while it comes, to a request that is repeatable; leaving closes its connection.

        Until the answer begins the rules are those of `send`. Its body may take as long as bytes keep coming; one
        that breaks off is not asked for again. The body of an error status is cut at what an error may hold.

        Raises:
            UpstreamUnreachable: no answer began within the time of a call.
            InvalidArguments: the request cannot be sent at all.
        """
        opened = Opened()
        head = await self._until_answered(
            request, lambda: self._transfers.open(request, opened), self.calls, repeatable=True, settling=settling
        )
        relayed = self._transfers.relayed(request, head, opened)
        try:
            yield relayed
        finally:
            relayed.stop()

    async def _until_answered(
        self,
        request: Request,
        exchange: Callable[[], Awaitable[Answer]],
        queue: FairQueue | None,
        *,
        repeatable: bool,
        settling: bool,
        attempts: int | None = None,
    ) -> Answer:
        """The outcome of the first exchange after which there is to be no other; each waits for its turn in `queue`."""
        deadline_s = self.clock.now_s() + self.limits.call_s
        most = attempts or self.limits.attempts
        attempt = 1
        while True:
            async with nullcontext() if queue is None else queue.turn(deadline_s - self.clock.now_s()):
                outcome = await self._attempt(request, exchange, repeatable, attempt)
            if isinstance(outcome, Answer):
                self._note(outcome)
            pause_s = None if attempt == most else self._pause_s(outcome, repeatable, settling, attempt)
            if pause_s is None or self.clock.now_s() + pause_s >= deadline_s:
                if isinstance(outcome, UpstreamUnreachable):
                    raise outcome
                return outcome
            log.info("%r: trying again in %.1f s", request, pause_s)
            await self.clock.sleep(pause_s)
            attempt += 1

    def _note(self, answer: Answer) -> None:
        if (date_s := time_of(answer.headers.get("date"))) is not None:
            self._ahead_s = date_s - self.clock.now_s()
            self.wall_ahead_s = date_s - self.clock.wall_s()
        if (call := current()) is not None:
            call.upstream_request_id = excerpt(answer.request_id, 100) if answer.request_id else None

    def _pause_s(
        self, outcome: Answer | UpstreamUnreachable, repeatable: bool, settling: bool, attempt: int
    ) -> float | None:
        """How long to wait before the next attempt; None when there is to be none."""
        asked_s = None
        if isinstance(outcome, UpstreamUnreachable):
            if outcome.maybe_accepted and not repeatable:
                return None
        elif outcome.status == HTTPStatus.NOT_FOUND and settling:
            pass
        elif outcome.succeeded or retry_of(outcome, repeatable=repeatable) is not Retry.HELPS:
            return None
        else:
            asked_s = retry_after_s(outcome.headers)
        if asked_s is not None:
            return asked_s
        # The official SDKs' schedule: doubling, capped, and up to a quarter shorter so that clients spread out.
        pause_s = min(self.limits.first_pause_s * 2.0 ** (attempt - 1), self.limits.longest_pause_s)
        return pause_s * (1 - 0.25 * self.clock.jitter())

    async def _attempt(
        self, request: Request, exchange: Callable[[], Awaitable[Answer]], repeatable: bool, attempt: int
    ) -> Answer | UpstreamUnreachable:
        """One exchange, observed."""
        if not self.observers:
            return await self._exchanged(request, exchange, repeatable)
        with ExitStack() as around:
            observing = [
                around.enter_context(each.exchange(request.method, request.url, attempt)) for each in self.observers
            ]
            outcome = await self._exchanged(request, exchange, repeatable)
            for tell in observing:
                tell(outcome.status if isinstance(outcome, Answer) else outcome.report.type)
            return outcome

    async def _exchanged(
        self, request: Request, exchange: Callable[[], Awaitable[Answer]], repeatable: bool
    ) -> Answer | UpstreamUnreachable:
        """One exchange; foreign exceptions end here."""
        try:
            return await exchange()
        except (TimeoutError, httpx2.TransportError) as error:
            return no_answer(request, error, repeatable, self.limits)
        except httpx2.InvalidURL as error:
            raise invalid(f"the URL of the request cannot be sent: {excerpt(str(error), 200)}.") from error

    async def _exchange(self, request: Request, repeatable: bool, declared_jsonl: bool) -> Answer:
        client = await self._client(repeatable)
        headers, time_s = list(request.headers), None
        content: bytes | AsyncIterator[bytes] | None
        if isinstance(request.body, Upload):
            headers.append(("content-length", str(request.body.length)))
            content, time_s = _streamed(request.body), self.limits.upload_s
        else:
            content = request.body
        timeout = self._settings.timeout(time_s)
        outgoing = client.build_request(request.method, request.url, headers=headers, content=content, timeout=timeout)
        response = await client.send(outgoing, stream=True)
        try:
            body = Body(response, self.limits, declared_jsonl)
            async for chunk in response.aiter_raw():
                if not body.take(chunk):
                    break
        finally:
            await response.aclose()
        return body.answer()

    async def _client(self, keep_alive: bool) -> httpx2.AsyncClient:
        """The client for repeatable requests, or the one for the others: made when first needed.

        A kept connection may be closed by the upstream just as a request goes out, which leaves open whether it was
        accepted. A request that must not be sent twice therefore gets a connection of its own.
        """
        if keep_alive not in self._clients:
            most = self.limits.upstream_calls + self.limits.uploads
            limits = httpx2.Limits(max_connections=most, max_keepalive_connections=20 if keep_alive else 0)
            client = httpx2.AsyncClient(**self._settings.options(), limits=limits, timeout=self._settings.timeout(None))
            self._clients[keep_alive] = await self._stack.enter_async_context(client)
        return self._clients[keep_alive]


async def _streamed(upload: Upload) -> AsyncIterator[bytes]:
    """The pieces of a body, each made in a worker thread; after a cancellation no further one is sent."""
    pieces = upload.pieces()
    while piece := await anyio.to_thread.run_sync(next, pieces, b""):
        yield piece
