"""The only door to the upstream: sends requests, bounds what comes back, and retries what may be retried."""

from __future__ import annotations

import logging
import random
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self, TypedDict
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx2

from batches_mcp import __version__
from batches_mcp.core.errors import ErrorReport, Retry, UnusableAnswer, UpstreamUnreachable
from batches_mcp.core.redact import excerpt
from batches_mcp.exchange.failure import retry_after_s, retry_of, time_of
from batches_mcp.exchange.relayed import Relayed
from batches_mcp.exchange.request import Request, Upload, invalid
from batches_mcp.exchange.result import MAX_BYTES, Answer, is_jsonl
from batches_mcp.exchange.turns import Turns

log = logging.getLogger(__name__)

# The connection was never made, so the upstream cannot have seen the request.
_NEVER_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
)
_MOST_DOWNLOADS = 16
# An upload holds its thread until it is answered, and 256 MB of disk at the most.
_MOST_UPLOADS = 16
# Proxies of the environment are for the world outside, not for this machine.
_NO_PROXY: dict[str, None] = {"all://127.0.0.1": None, "all://localhost": None, "all://[::1]": None}


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one call. Hosts give a call 60 s; what is left of them is the host's own time.

    An upload is not bound by a call: each of its pieces, and its answer, may take `upload_s`.
    """

    call_s: float = 50.0
    upload_s: float = 600.0
    connect_s: float = 5.0
    attempts: int = 3
    first_pause_s: float = 0.5
    longest_pause_s: float = 8.0
    answer_bytes: int = 16_000_000
    error_bytes: int = 64_000


@dataclass(frozen=True, slots=True)
class Clock:
    """Time as we need it; tests give their own. `now_s` only goes forward, `wall_s` is the time of day (Unix time)."""

    now_s: Callable[[], float] = anyio.current_time
    wall_s: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    jitter: Callable[[], float] = random.random


class Upstream:
    """Owns the HTTP clients; an async context manager, entered once for a server's life."""

    def __init__(self, limits: Limits | None = None, clock: Clock | None = None) -> None:
        self.limits = limits or Limits()
        self.clock = clock or Clock()
        self.uploads = Turns(_MOST_UPLOADS)
        self._stack = AsyncExitStack()
        self._clients: dict[bool, httpx2.AsyncClient] = {}
        self._ahead_s: float | None = None

    def time_s(self) -> float:
        """The upstream's time of day (Unix time), by the last `Date` it gave; our own as long as there was none."""
        return self.clock.wall_s() if self._ahead_s is None else self.clock.now_s() + self._ahead_s

    @property
    def time_is_known(self) -> bool:
        """Whether the upstream has told its time."""
        return self._ahead_s is not None

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Slow to make, and the same for both clients."""
        return httpx2.create_ssl_context()

    async def __aenter__(self) -> Self:
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
        can hold. `settling` tells that what the request names was made just now, so that a 404 may pass as well. An
        upload waits for its turn among `uploads` before its first byte is sent.

        Raises:
            UpstreamUnreachable: there was no answer within the time of a call, or of an upload; or there are no more
                turns for uploads.
            UnusableAnswer: the answer is larger than anything one result could be made of.
            InvalidArguments: the request cannot be sent at all.
        """
        if isinstance(request.body, Upload):
            upload = partial(self._upload, request, request.body)
            async with self.uploads.turn():
                return await self._until_answered(request, upload, repeatable=repeatable, settling=settling)
        content = request.body
        deadline_s = self.clock.now_s() + self.limits.call_s

        async def exchange() -> Answer:
            with anyio.fail_after(max(0.0, deadline_s - self.clock.now_s())):
                return await self._exchange(request, content, repeatable, declared_jsonl)

        attempts = 1 if once else self.limits.attempts
        return await self._until_answered(
            request, exchange, repeatable=repeatable, settling=settling, attempts=attempts
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
        return await self._until_answered(
            request, lambda: self._download(request, take), repeatable=True, settling=settling
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
        opened = _Opened()
        head = await self._until_answered(
            request, lambda: self._open(request, opened), repeatable=True, settling=settling
        )
        relayed = opened.relayed(request, head, self.limits, self._bulk_limiter)
        try:
            yield relayed
        finally:
            relayed.stop()

    async def _until_answered(
        self,
        request: Request,
        exchange: Callable[[], Awaitable[Answer]],
        *,
        repeatable: bool,
        settling: bool,
        attempts: int | None = None,
    ) -> Answer:
        """The outcome of the first exchange after which there is to be no other."""
        deadline_s = self.clock.now_s() + self.limits.call_s
        most = attempts or self.limits.attempts
        attempt = 1
        while True:
            outcome = await self._attempt(request, exchange, repeatable)
            if isinstance(outcome, Answer) and (date_s := time_of(outcome.headers.get("date"))) is not None:
                self._ahead_s = date_s - self.clock.now_s()
            pause_s = None if attempt == most else self._pause_s(outcome, repeatable, settling, attempt)
            if pause_s is None or self.clock.now_s() + pause_s >= deadline_s:
                if isinstance(outcome, UpstreamUnreachable):
                    raise outcome
                return outcome
            log.info("%r: trying again in %.1f s", request, pause_s)
            await self.clock.sleep(pause_s)
            attempt += 1

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
        self, request: Request, exchange: Callable[[], Awaitable[Answer]], repeatable: bool
    ) -> Answer | UpstreamUnreachable:
        """One exchange; foreign exceptions end here."""
        try:
            return await exchange()
        except (TimeoutError, httpx2.TransportError) as error:
            return _no_answer(request, error, repeatable, self.limits)
        except httpx2.InvalidURL as error:
            raise invalid(f"the URL of the request cannot be sent: {excerpt(str(error), 200)}.") from error

    async def _exchange(
        self, request: Request, content: bytes | None, repeatable: bool, declared_jsonl: bool
    ) -> Answer:
        client = await self._client(repeatable)
        outgoing = client.build_request(request.method, request.url, headers=list(request.headers), content=content)
        response = await client.send(outgoing, stream=True)
        try:
            body = _Body(response, self.limits, declared_jsonl)
            async for chunk in response.aiter_raw():
                if not body.take(chunk):
                    break
        finally:
            await response.aclose()
        return body.answer()

    async def _upload(self, request: Request, upload: Upload) -> Answer:
        """Send a body while it is made, in a worker thread: there it goes twice as fast as on the event loop.

        When it is canceled, no further piece is sent, without which it is not accepted, and the connection ends, so
        that the thread does as well.
        """
        stopped = threading.Event()
        sockets: list[socket.socket] = []

        def connected(event: str, about: dict[str, Any]) -> None:
            if event.endswith(("connect_tcp.complete", "start_tls.complete")):
                sockets.append(about["return_value"].get_extra_info("socket"))

        def pieces() -> Iterator[bytes]:
            for piece in upload.pieces():
                if stopped.is_set():
                    raise httpx2.WriteError("the call was given up")
                yield piece

        def exchange() -> Answer:
            headers = [*request.headers, ("content-length", str(upload.length))]
            with httpx2.Client(**self._options(), timeout=self._timeout(self.limits.upload_s)) as client:
                outgoing = client.build_request(
                    request.method, request.url, headers=headers, content=pieces(), extensions={"trace": connected}
                )
                response = client.send(outgoing, stream=True)
                try:
                    body = _Body(response, self.limits, declared_jsonl=False)
                    for chunk in response.iter_raw():
                        if not body.take(chunk):
                            break
                finally:
                    response.close()
                return body.answer()

        try:
            # Its turn counts, so that it needs none of the threads that all else runs in.
            return await anyio.to_thread.run_sync(exchange, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1))
        finally:
            stopped.set()
            for each in sockets:
                with suppress(OSError):  # closed already, as it is after every answer
                    each.shutdown(socket.SHUT_RDWR)

    async def _download(self, request: Request, take: Callable[[bytes], bool]) -> Answer:
        stopped = threading.Event()
        client = self._bulk_client

        def exchange() -> Answer:
            outgoing = client.build_request(request.method, request.url, headers=list(request.headers))
            response = client.send(outgoing, stream=True)
            try:
                body = _Body(response, self.limits, declared_jsonl=True)
                chunks = response.iter_raw()
                if not body.succeeded:
                    for chunk in chunks:
                        if not body.take(chunk):
                            break
                    return body.answer()
                head = body.jsonl()
                complete = _hand_on(chunks, lambda chunk: not stopped.is_set() and take(chunk))
                return replace(head, complete=complete)
            finally:
                response.close()

        try:
            return await anyio.to_thread.run_sync(exchange, abandon_on_cancel=True, limiter=self._bulk_limiter)
        finally:
            stopped.set()

    async def _open(self, request: Request, opened: _Opened) -> Answer:
        """The head of a success, whose body stays to be read, or the whole of an error."""
        client = self._bulk_client

        def exchange() -> Answer:
            outgoing = client.build_request(request.method, request.url, headers=list(request.headers))
            response = client.send(outgoing, stream=True)
            try:
                body = _Body(response, self.limits, declared_jsonl=False)
                if body.succeeded and opened.keep(response):
                    return body.answer()
                for chunk in response.iter_raw():
                    if not body.take(chunk):
                        break
            finally:
                if response is not opened.response:
                    response.close()
            return body.answer()

        try:
            return await anyio.to_thread.run_sync(exchange, abandon_on_cancel=True, limiter=self._bulk_limiter)
        except anyio.get_cancelled_exc_class():
            opened.give_up()
            raise

    @cached_property
    def _bulk_client(self) -> httpx2.Client:
        """The client for downloads: outside the event loop a stream is read twice as fast."""
        client = httpx2.Client(**self._options(), timeout=self._timeout(self.limits.call_s))
        self._stack.callback(client.close)
        return client

    @cached_property
    def _bulk_limiter(self) -> anyio.CapacityLimiter:
        """Long downloads must not use up the threads that all else runs in."""
        return anyio.CapacityLimiter(_MOST_DOWNLOADS)

    async def _client(self, keep_alive: bool) -> httpx2.AsyncClient:
        """The client for repeatable requests, or the one for the others: made when first needed.

        A kept connection may be closed by the upstream just as a request goes out, which leaves open whether it was
        accepted. A request that must not be sent twice therefore gets a connection of its own.
        """
        if keep_alive not in self._clients:
            limits = httpx2.Limits(max_connections=100, max_keepalive_connections=20 if keep_alive else 0)
            client = httpx2.AsyncClient(**self._options(), limits=limits, timeout=self._timeout(None))
            self._clients[keep_alive] = await self._stack.enter_async_context(client)
        return self._clients[keep_alive]

    def _options(self) -> _Options:
        return {
            "verify": self._tls,
            "follow_redirects": False,
            "mounts": _NO_PROXY,
            # Identity: an answer's size is bounded as it arrives, and nothing can unpack into more.
            "headers": {"user-agent": f"batches-mcp/{__version__}", "accept": "*/*", "accept-encoding": "identity"},
        }

    def _timeout(self, seconds: float | None) -> httpx2.Timeout:
        return httpx2.Timeout(seconds, connect=self.limits.connect_s, pool=self.limits.connect_s)


class _Options(TypedDict):
    """What all our clients have in common."""

    verify: ssl.SSLContext
    follow_redirects: bool
    mounts: dict[str, None]
    headers: dict[str, str]


def _hand_on(chunks: Iterator[bytes], take: Callable[[bytes], bool]) -> bool:
    """Hand over chunks until it is enough; whether that was all of them. A stream that broke later on was not."""
    begun = False
    try:
        for chunk in chunks:
            begun = True
            if not take(chunk):
                return False
    except httpx2.TransportError:
        if not begun:
            raise
        return False
    return True


class _Opened:
    """A response whose body is still to be read, from the thread that opened it to the caller, who may have left."""

    def __init__(self) -> None:
        self.response: httpx2.Response | None = None
        self._given_up = False
        self._lock = threading.Lock()

    def keep(self, response: httpx2.Response) -> bool:
        """Hand a response over; false when nobody waits for it any more."""
        with self._lock:
            if not self._given_up:
                self.response = response
            return not self._given_up

    def give_up(self) -> None:
        with self._lock:
            self._given_up = True
            if self.response is not None:
                self.response.close()

    def relayed(self, request: Request, head: Answer, limits: Limits, limiter: anyio.CapacityLimiter) -> Relayed:
        response = self.response
        if response is None:
            return Relayed(head, iter((head.body,)), lambda: False, lambda: None, lambda: None, limiter)
        stream = response.extensions["network_stream"]

        def parts() -> Iterator[bytes]:
            try:
                yield from response.iter_raw()
            except httpx2.TransportError as error:
                raise _no_answer(request, error, True, limits) from error

        def hang_up() -> None:
            # Closing a socket does not wake a thread that reads from it; shutting it down does.
            connection = stream.get_extra_info("socket")
            if connection is not None and not response.is_closed:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

        return Relayed(
            head, parts(), lambda: bool(stream.get_extra_info("is_readable")), hang_up, response.close, limiter
        )


class _Body:
    """The body of an answer as it arrives, up to what can be used of it."""

    def __init__(self, response: httpx2.Response, limits: Limits, declared_jsonl: bool) -> None:
        log.debug("%s %s: %d", response.request.method, response.request.url.path, response.status_code)
        headers = {name.lower(): value for name, value in response.headers.items()}
        self._head = Answer(response.status_code, headers, b"")
        self._jsonl = is_jsonl(self._head.media_type, declared=declared_jsonl) and self._head.succeeded
        self._most = limits.answer_bytes if self._head.succeeded else limits.error_bytes
        self._content = bytearray()
        self._complete = True

    @property
    def succeeded(self) -> bool:
        return self._head.succeeded

    def jsonl(self) -> Answer:
        """The head of an answer that is JSONL.

        Raises:
            UnusableAnswer: it is something else.
        """
        if self._jsonl:
            return self._head
        message = f"expected JSONL, found {excerpt(self._head.media_type, 80)}."
        next_step = "Check the base URL: something else than the API answers there."
        raise UnusableAnswer(
            ErrorReport("unusable_answer", message, next_step, status=self._head.status, at_shell=next_step)
        )

    def take(self, chunk: bytes) -> bool:
        """Add a chunk; false when enough was there before it, so that it is known that there is more.

        Raises:
            UnusableAnswer: a success that is larger than anything one result could be made of.
        """
        if self._enough():
            self._complete = False
            return False
        self._content += chunk
        if self._head.succeeded and len(self._content) > self._most:
            message = f"the upstream's answer is larger than {self._most:,} bytes."
            next_step = "For a list, ask for less of it at a time."
            raise UnusableAnswer(ErrorReport("answer_too_large", message, next_step, status=self._head.status))
        return True

    def _enough(self) -> bool:
        if self._jsonl:
            return len(self._content) > MAX_BYTES and b"\n" in self._content
        return not self._head.succeeded and len(self._content) > self._most

    def answer(self) -> Answer:
        return replace(self._head, body=bytes(self._content), complete=self._complete)


def _no_answer(
    request: Request, error: TimeoutError | httpx2.TransportError, repeatable: bool, limits: Limits
) -> UpstreamUnreachable:
    host = urlsplit(request.url).netloc
    maybe_accepted = not isinstance(error, _NEVER_SENT)
    match error:
        case httpx2.ConnectTimeout():
            what = f"no connection to {host} within {limits.connect_s:g} s"
        case TimeoutError() | httpx2.TimeoutException():
            time_s = limits.upload_s if isinstance(request.body, Upload) else limits.call_s
            what = f"{host} did not answer {request.method} within {round(time_s, 1):g} s"
        case httpx2.ConnectError() | httpx2.ProxyError():
            what = f"no connection to {host}: {excerpt(str(error), 200)}"
        case _:
            what = f"the connection to {host} broke before the answer was complete ({type(error).__name__})"
    kind = "timeout" if isinstance(error, TimeoutError | httpx2.TimeoutException) else "connection_error"
    if maybe_accepted and not repeatable:
        next_step = (
            "The request may have been carried out. Look at what exists upstream now (list it) before anything else."
        )
        return UpstreamUnreachable(
            ErrorReport(kind, f"{what}.", next_step, Retry.UNSAFE, at_shell=next_step), maybe_accepted=True
        )
    next_step = (
        "Check that the upstream can be reached from where this server runs, and the base URL it was started with."
    )
    at_shell = "Check that the upstream can be reached from here, and the base URL; then give the same command again."
    report = ErrorReport(kind, f"{what}.", next_step, Retry.HELPS, at_shell=at_shell)
    return UpstreamUnreachable(report, maybe_accepted=maybe_accepted)
