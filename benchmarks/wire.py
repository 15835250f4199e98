"""Raw MCP clients: JSON lines over pipes and JSON over HTTP/1.1, with as little work of their own as possible.

Both kinds can have several calls in flight: `send` never waits for an answer, `receive` returns whichever comes next.
"""

from __future__ import annotations

import json
import os
import re
import select
import selectors
import socket
import subprocess
import time
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, Self

Era = Literal["2025-11-25", "2026-07-28"]
LEGACY: Final[Era] = "2025-11-25"
MODERN: Final[Era] = "2026-07-28"
ERAS: Final[tuple[Era, ...]] = (LEGACY, MODERN)
RETRIEVE: Final = "anthropic-retrieve-message-batch"
CREATE: Final = "anthropic-create-message-batch"

_ANSWER_S = 120.0
_CLIENT = {"name": "benchmark", "version": "1"}


def request(era: Era, number: int, method: str, **params: Any) -> dict[str, Any]:
    """A request as clients of that revision send it; the newer ones put who they are into every request."""
    if era == MODERN:
        params["_meta"] = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": _CLIENT,
            "io.modelcontextprotocol/clientCapabilities": {},
        }
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def retrieve(era: Era, number: int) -> dict[str, Any]:
    """A call of the tool that is measured."""
    return request(era, number, "tools/call", name=RETRIEVE, arguments={"message_batch_id": f"msgbatch_{number:024}"})


def result_of(answer: dict[str, Any]) -> dict[str, Any]:
    """The result in an answer.

    Raises:
        ValueError: it is an error, of the protocol or of the tool.
    """
    result: dict[str, Any] | None = answer.get("result")
    if result is None or result.get("isError"):
        raise ValueError(f"not a successful answer: {json.dumps(answer)[:500]}")
    return result


class Wire(Protocol):
    """A client of one server."""

    def send(self, message: dict[str, Any]) -> None: ...
    def receive(self) -> dict[str, Any]: ...


class StdioWire:
    """Speaks to a process over its pipes."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._to, self._from = process.stdin, process.stdout.fileno()
        self._buffer = b""

    def send(self, message: dict[str, Any]) -> None:
        self._to.write(json.dumps(message).encode() + b"\n")

    def receive(self) -> dict[str, Any]:
        while b"\n" not in self._buffer:
            if not select.select([self._from], [], [], _ANSWER_S)[0]:
                raise TimeoutError(f"no answer within {_ANSWER_S:g} s")
            chunk = os.read(self._from, 1 << 16)
            if not chunk:
                raise EOFError("the server closed its output")
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def handshake(self, era: Era) -> None:
        """What a client of that revision says before its first request."""
        if era == LEGACY:
            hello = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": _CLIENT}
            self.send(request(era, 0, "initialize", **hello))
            result_of(self.receive())
            self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})


def http_request(host: str, era: Era, message: dict[str, Any], token: str | None = None) -> bytes:
    """The HTTP request of a message to a server at `host`, as clients of that revision send it."""
    body = json.dumps(message).encode()
    lines = [
        "POST /mcp HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/json",
        "Accept: application/json, text/event-stream",
        f"MCP-Protocol-Version: {era}",
        f"Content-Length: {len(body)}",
    ]
    if era == MODERN:
        lines += [f"Mcp-Method: {message['method']}", f"Mcp-Name: {message['params']['name']}"]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def answer_in(response: bytes) -> dict[str, Any] | None:
    """The message in an HTTP response; None while the response is not all there.

    Raises:
        ValueError: it is not a successful one.
    """
    body = _body(response)
    return None if body is None else _json_of(body)


# Servers close a kept connection after some idle seconds (uvicorn: 5); one that idled longer than this is not used.
_KEPT_S = 2.0


@dataclass(eq=False, slots=True)
class _Connection:
    socket: socket.socket
    received: bytearray = field(default_factory=bytearray)
    used_s: float = field(default_factory=time.perf_counter)


class HttpWire:
    """Speaks to a port over kept connections, one call at a time on each; made when needed."""

    def __init__(self, port: int, era: Era) -> None:
        self._port = port
        self._era = era
        self._idle: list[_Connection] = []
        self._busy = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in [*self._idle, *(key.data for key in self._busy.get_map().values())]:
            each.socket.close()
        self._busy.close()

    def send(self, message: dict[str, Any]) -> None:
        connection = self._connection()
        connection.socket.sendall(http_request(f"127.0.0.1:{self._port}", self._era, message))
        self._busy.register(connection.socket, selectors.EVENT_READ, connection)

    def receive(self) -> dict[str, Any]:
        while True:
            ready = self._busy.select(_ANSWER_S)
            if not ready:
                raise TimeoutError(f"no answer within {_ANSWER_S:g} s")
            for key, _ in ready:
                connection: _Connection = key.data
                chunk = connection.socket.recv(1 << 16)
                if not chunk:
                    raise EOFError("the server closed a connection")
                connection.received += chunk
                answer = answer_in(bytes(connection.received))
                if answer is not None:
                    connection.received.clear()
                    self._busy.unregister(connection.socket)
                    connection.used_s = time.perf_counter()
                    self._idle.append(connection)
                    return answer

    def _connection(self) -> _Connection:
        while self._idle:
            kept = self._idle.pop()
            if time.perf_counter() - kept.used_s < _KEPT_S:
                return kept
            kept.socket.close()
        made = socket.create_connection(("127.0.0.1", self._port), timeout=_ANSWER_S)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _Connection(made)


def _body(response: bytes) -> bytes | None:
    """The body of a response to a kept connection; None while it is not all there."""
    head, end, rest = response.partition(b"\r\n\r\n")
    if not end:
        return None
    if not head.startswith(b"HTTP/1.1 200 "):
        raise ValueError(f"not a successful answer: {response[:500]!r}")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    if length:
        return rest if len(rest) >= int(length[1]) else None
    body = b""
    while True:
        size, end, rest = rest.partition(b"\r\n")
        if not end or len(rest) < int(size, 16) + 2:
            return None
        if int(size, 16) == 0:
            return body
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]


def _json_of(body: bytes) -> dict[str, Any]:
    """The message in a body that is JSON, or server-sent events of which one is the message."""
    if not body.startswith(b"{"):
        events = re.findall(rb"(?m)^data: (\{.*\})\r?$", body)
        if len(events) != 1:
            raise ValueError(f"expected one event, found {body[:500]!r}")
        body = events[0]
    answer: dict[str, Any] = json.loads(body)
    return answer
