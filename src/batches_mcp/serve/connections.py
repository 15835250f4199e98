"""Connections of clients over HTTP, each of its steps within a time: uvicorn itself waits for as long as bytes trickle.

It has a limit for one that is kept open between two requests, which ends with the first byte of the next one.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from batches_mcp.core.limits import LIMITS, Limits

log = logging.getLogger(__name__)


class Connection(H11Protocol):
    """A connection that is closed when it takes too long: for the head of a request, for a piece of its body, or to
    take what is sent to it. Who can still be answered is answered with 408.
    """

    limits = LIMITS

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._reading: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None
        self._deadline_s = 0.0
        self._cycle_read: object = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_reading()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        awaited_head = self.conn.their_state is h11.IDLE
        super().data_received(data)
        if self.transport.is_closing():
            return
        match self.conn.their_state:
            case h11.IDLE:
                if not awaited_head or self._reading is None:
                    self._await_head()
            case h11.SEND_BODY:
                self._await_body(len(data))
            case _:
                self._stop_reading()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._writing is None:
            self._writing = self.loop.call_later(self.limits.unread_s, self._unread)

    def resume_writing(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
        super().resume_writing()

    def _await_head(self) -> None:
        self._stop_reading()
        self._reading = self.loop.call_later(self.limits.head_s, self._too_slow, "the head of a request")

    def _await_body(self, received_bytes: int) -> None:
        """A body has `body_s`, and more for all that has come of it."""
        now_s = self.loop.time()
        if self._cycle_read is not self.cycle:
            self._stop_reading()
            self._cycle_read, self._deadline_s = self.cycle, now_s + self.limits.body_s
            self._reading = self.loop.call_at(self._deadline_s, self._look_at_body)
        self._deadline_s += received_bytes / self.limits.body_bytes_per_s

    def _look_at_body(self) -> None:
        self._reading = None
        now_s = self.loop.time()
        if self.flow.read_paused:
            self._deadline_s = now_s + self.limits.body_s  # it waits for us
        if now_s >= self._deadline_s:
            self._too_slow("the body of a request")
        else:
            self._reading = self.loop.call_at(self._deadline_s, self._look_at_body)

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _too_slow(self, what: str) -> None:
        """End the connection, with an answer if none has begun and anything of a request came."""
        self._reading = None
        in_head = self.conn.their_state is h11.IDLE
        asked = bool(self.conn.trailing_data[0]) if in_head else not self.cycle.response_started
        log.debug("a connection is closed: %s does not come", what)
        if not asked:
            self.transport.close()
            return
        if not in_head:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        text = f"{what.capitalize()} took too long to arrive.\n".encode()
        headers = [
            ("content-type", "text/plain; charset=utf-8"),
            ("content-length", str(len(text))),
            ("connection", "close"),
        ]
        response = h11.Response(status_code=408, headers=headers, reason="Request Timeout")
        for event in (response, h11.Data(data=text), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _unread(self) -> None:
        log.debug("a connection is closed: its client does not take what is sent to it")
        self.transport.abort()


def limited(limits: Limits) -> type[Connection]:
    """The class of connections that keep to these limits."""
    return type("LimitedConnection", (Connection,), {"limits": limits})
