"""The last requests a sandbox received, and the headers it puts on every answer."""

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from uuid import uuid4

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from batches_mcp.sandbox.caller import masked
from batches_mcp.sandbox.clock import Clock
from batches_mcp.sandbox.wire import opaque_id

__all__ = ["RecordedRequest", "RequestLog", "RequestRecorder"]

_KEPT_REQUESTS = 1_000
_KEPT_BODY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request as it arrived.

    at: the sandbox's time.
    path: as sent, percent-encoding included. query: without the `?`.
    headers: every (name, value) in order, names in lower case, a credential shown as `sha256:` and 12 digits.
    body: its first 64 KiB. body_bytes: how much of it was read, which is 0 when the answer did not need it.
    status: None when there was no answer, or the sandbox itself failed.
    """

    at: datetime
    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    body_bytes: int
    status: int | None
    request_id: str

    def header(self, name: str) -> str | None:
        """The first header of this name, any case; None if it was not sent."""
        return next((value for key, value in self.headers if key == name.lower()), None)


class RequestLog:
    """The last 1,000 requests, oldest first. An answered request is in it before its client sees the answer."""

    def __init__(self) -> None:
        self._entries: deque[RecordedRequest] = deque(maxlen=_KEPT_REQUESTS)

    def add(self, entry: RecordedRequest) -> None:
        self._entries.append(entry)

    def entries(self) -> list[RecordedRequest]:
        """A copy, safe to keep."""
        return list(self._entries)


class RequestRecorder:
    """ASGI middleware: records each request and adds `request-id` and `date` (of the sandbox's clock) to its answer."""

    def __init__(self, app: ASGIApp, log: RequestLog, clock: Clock) -> None:
        self._app = app
        self._log = log
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        at = self._clock.now().astimezone(UTC)
        request_id = opaque_id("req_", uuid4().hex)
        scope.setdefault("state", {})["request_id"] = request_id
        body = bytearray()
        body_bytes = 0
        recorded = False

        async def counted_receive() -> Message:
            nonlocal body_bytes
            message = await receive()
            part: bytes = message.get("body", b"")
            body_bytes += len(part)
            body.extend(part[: _KEPT_BODY_BYTES - len(body)])
            return message

        def record(status: int | None) -> None:
            nonlocal recorded
            recorded = True
            headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
            self._log.add(
                RecordedRequest(
                    at=at,
                    method=scope["method"],
                    path=scope["raw_path"].decode("latin-1"),
                    query=scope["query_string"].decode("latin-1"),
                    headers=tuple((name, masked(name, value)) for name, value in headers),
                    body=bytes(body),
                    body_bytes=body_bytes,
                    status=status,
                    request_id=request_id,
                )
            )

        async def labelled_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                headers["request-id"] = request_id
                headers["date"] = format_datetime(at, usegmt=True)
                record(message["status"])
            await send(message)

        try:
            await self._app(scope, counted_receive, labelled_send)
        finally:
            if not recorded:
                record(None)
