"""HTTP requests that are open, so that none of them holds up the end of the server, or ends it with a traceback."""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from batches_mcp.serve.auth import PROBES, Refuse, in_plain_text
from batches_mcp.serve.draining import Draining

_READS = {"GET", "HEAD", "OPTIONS"}
_UNTOUCHED = "The server is shutting down, and did nothing about the request."
_IN_DOUBT = "The server had to shut down before the request was answered; it may have been carried out."


@dataclass(slots=True)
class OpenRequests:
    """Those of one server."""

    draining: Draining
    _number: int = 0
    _none: anyio.Event = field(default_factory=anyio.Event)

    async def answered(self) -> None:
        """Wait until there are none."""
        while self._number:
            self._none = anyio.Event()
            await self._none.wait()

    def begun(self) -> None:
        self._number += 1

    def ended(self) -> None:
        self._number -= 1
        if not self._number:
            self._none.set()


@dataclass(frozen=True, slots=True)
class Ending:
    """ASGI middleware by which requests end with the server.

    One that reads, or whose body is still coming, ends at once; another one is left to end by itself until the time for
    that is over. `refuse` makes the answer to one that ended before it was answered; what has begun to be answered is
    broken off. One that comes after the end has begun is refused, and its connection closed; probes are answered.
    """

    app: ASGIApp
    open: OpenRequests
    refuse: Refuse = in_plain_text

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self.app(scope, receive, send)
            return
        draining = self.open.draining
        if draining.begun.is_set():
            response = self.refuse(503, _UNTOUCHED)
            response.headers["connection"] = "close"
            await response(scope, receive, send)
            return
        received = begun = False

        async def receiving() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body") and not received:
                received = True
                if scope["method"] not in _READS:
                    draining.at_last(ending)
            return message

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        self.open.begun()
        try:
            with draining.at_once() as ending:
                await self.app(scope, receiving, sending)
            if ending.cancelled_caught and not begun:
                in_doubt = received and scope["method"] not in _READS
                response = self.refuse(503, _IN_DOUBT if in_doubt else _UNTOUCHED)
                if in_doubt:
                    response.headers["x-should-retry"] = "false"
                await response(scope, receive, send)
        finally:
            draining.forget(ending)
            self.open.ended()
