"""Downloads of any size, in worker threads: they take less time there, and leave the event loop to other calls.

BENCHMARKS.md ("threads") has the figures.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cached_property

import anyio
import anyio.to_thread
import httpx2

from batches_mcp.core.limits import Limits
from batches_mcp.exchange.relayed import Relayed
from batches_mcp.exchange.request import Request
from batches_mcp.exchange.result import Answer, is_jsonl
from batches_mcp.exchange.transport import Body, ClientSettings, no_answer


class Transfers:
    """Each method is one exchange, and may raise TimeoutError and httpx2.TransportError, as a client does."""

    def __init__(self, limits: Limits, settings: ClientSettings) -> None:
        self._limits = limits
        self._settings = settings
        self._working = threading.Lock()
        self._client: httpx2.Client | None = None

    async def download(self, request: Request, take: Callable[[bytes], bool]) -> Answer:
        """Hand a JSONL body to `take` as it comes, until that says that it has enough; an error's is in the answer.

        A call that is canceled takes no further piece.

        Raises:
            UnusableAnswer: the answer is not JSONL.
        """
        stopped = threading.Event()
        client = self._shared_client

        def take_alone(chunk: bytes) -> bool:
            # Threads that compute take turns of 5 ms, and the event loop would have to wait for each of them.
            with self._working:
                return not stopped.is_set() and take(chunk)

        def exchange() -> Answer:
            outgoing = client.build_request(request.method, request.url, headers=list(request.headers))
            response = client.send(outgoing, stream=True)
            try:
                body = Body(response, self._limits, declared_jsonl=True)
                chunks = response.iter_raw()
                if not body.succeeded:
                    body.take_all(chunks)
                    return body.answer()
                return replace(body.jsonl(), complete=_hand_over(chunks, take_alone))
            finally:
                response.close()

        try:
            return await anyio.to_thread.run_sync(exchange, abandon_on_cancel=True, limiter=self._downloading)
        finally:
            stopped.set()

    async def open(self, request: Request, opened: Opened) -> Answer:
        """The head of a success, whose body stays to be read, or the whole of an error."""
        client = self._shared_client

        def exchange() -> Answer:
            outgoing = client.build_request(request.method, request.url, headers=list(request.headers))
            response = client.send(outgoing, stream=True)
            try:
                body = Body(response, self._limits, declared_jsonl=False)
                if body.succeeded and opened.keep(response):
                    return body.answer()
                body.take_all(response.iter_raw())
            finally:
                if response is not opened.response:
                    response.close()
            return body.answer()

        try:
            return await anyio.to_thread.run_sync(exchange, abandon_on_cancel=True, limiter=self._quick)
        except anyio.get_cancelled_exc_class():
            opened.give_up()
            raise

    def relayed(self, request: Request, head: Answer, opened: Opened) -> Relayed:
        """The answer that was opened, to be read once."""
        long = is_jsonl(head.media_type, declared=False) and head.succeeded
        return opened.relayed(request, head, self._limits, self._relaying if long else self._quick)

    def close(self) -> None:
        """Close the connections that are kept."""
        if self._client is not None:
            self._client.close()

    @property
    def _shared_client(self) -> httpx2.Client:
        if self._client is None:
            timeout = self._settings.timeout(self._limits.call_s)
            # Threads are what bounds its connections.
            limits = httpx2.Limits(max_connections=None, max_keepalive_connections=20)
            self._client = httpx2.Client(**self._settings.options(), limits=limits, timeout=timeout)
        return self._client

    # Long downloads must not use up the threads that all else runs in, nor those of each other's kind.

    @cached_property
    def _downloading(self) -> anyio.CapacityLimiter:
        return anyio.CapacityLimiter(self._limits.downloads)

    @cached_property
    def _relaying(self) -> anyio.CapacityLimiter:
        return anyio.CapacityLimiter(self._limits.downloads)

    @cached_property
    def _quick(self) -> anyio.CapacityLimiter:
        return anyio.CapacityLimiter(self._limits.upstream_calls)


def _hand_over(chunks: Iterator[bytes], take: Callable[[bytes], bool]) -> bool:
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


class Opened:
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
            return Relayed(
                head, iter((head.body,)), lambda: False, lambda: None, lambda: None, limiter, limits.piece_bytes
            )
        stream = response.extensions["network_stream"]

        def parts() -> Iterator[bytes]:
            try:
                yield from response.iter_raw()
            except httpx2.TransportError as error:
                raise no_answer(request, error, True, limits) from error

        def hang_up() -> None:
            # Closing a socket does not wake a thread that reads from it; shutting it down does.
            connection = stream.get_extra_info("socket")
            if connection is not None and not response.is_closed:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

        def more() -> bool:
            return bool(stream.get_extra_info("is_readable"))

        return Relayed(head, parts(), more, hang_up, response.close, limiter, limits.piece_bytes)
