"""An upstream that follows a script: raw bytes, cut connections and silence, over a real socket.

The question for the newest batch, which comes before each create, is answered aside: there is none.
"""

from __future__ import annotations

import itertools
import json
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived; requests of the same `connection` came over the same one."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    connection: int = field(default=0, compare=False)


# A step answers one request: bytes are sent as they are; the others do what they are called.
Step = bytes | str
RESET, CLOSE, HANG = "reset", "close", "hang"


def answer(
    status: int, body: Any = b"", headers: Mapping[str, str] | None = None, *, kind: str = "application/json"
) -> bytes:
    """A complete HTTP answer; a `body` that is not bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [
        f"HTTP/1.1 {status} Whatever",
        f"content-length: {len(content)}",
        *([f"content-type: {kind}"] if kind else []),
    ]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def failure(status: int, kind: str, message: str, **headers: str) -> bytes:
    """An error in the API's envelope."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return answer(
        status, {"type": "error", "error": {"type": kind, "message": message}}, {"request-id": "req_scripted", **named}
    )


_numbers = itertools.count(1)


@dataclass
class Scripted:
    """A running scripted upstream. The last step is repeated for whatever comes after it."""

    url: str
    steps: list[Step]
    received: list[Received] = field(default_factory=list)
    arrived: threading.Event = field(default_factory=threading.Event)
    closing: threading.Event = field(default_factory=threading.Event)


@contextmanager
def scripted_upstream(*steps: Step) -> Iterator[Scripted]:
    """Run an upstream that answers request after request with the steps of its script."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        upstream = Scripted(f"http://127.0.0.1:{listener.getsockname()[1]}", list(steps))
        threads = [threading.Thread(target=_accept, args=(listener, upstream), daemon=True)]
        threads[0].start()
        try:
            yield upstream
        finally:
            upstream.closing.set()
            with suppress(OSError):
                socket.create_connection(listener.getsockname(), timeout=1).close()
            threads[0].join(5)


def _accept(listener: socket.socket, upstream: Scripted) -> None:
    connections: list[threading.Thread] = []
    while True:
        connection, _ = listener.accept()
        if upstream.closing.is_set():
            connection.close()
            break
        connections.append(threading.Thread(target=_converse, args=(connection, upstream), daemon=True))
        connections[-1].start()
    for thread in connections:
        thread.join(5)


_LOOKS_UP_EVERY_S = 0.2  # whether the script is over, while it waits for a request


def _send(connection: socket.socket, step: bytes) -> None:
    """Send all of a step, however slowly it is read: the time-out of a socket is for `sendall` as a whole."""
    connection.settimeout(None)
    connection.sendall(step)
    connection.settimeout(_LOOKS_UP_EVERY_S)


def _converse(connection: socket.socket, upstream: Scripted) -> None:
    with connection, suppress(OSError):
        connection.settimeout(_LOOKS_UP_EVERY_S)
        number = next(_numbers)
        while (request := _request(connection, upstream.closing)) is not None:
            if request.method == "GET" and request.target.endswith("/batches?limit=1"):
                _send(connection, answer(200, {"data": []}))
                continue
            upstream.received.append(replace(request, connection=number))
            upstream.arrived.set()
            step = upstream.steps.pop(0) if len(upstream.steps) > 1 else upstream.steps[0]
            if step == HANG:
                upstream.closing.wait(30)
                return
            if step == RESET:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            if step == CLOSE:
                return
            assert isinstance(step, bytes)
            _send(connection, step)
            head, _, content = step.partition(b"\r\n\r\n")
            if f"content-length: {len(content)}\r\n".encode() not in head + b"\r\n":
                return  # a step that is no complete answer ends with its connection


def _request(connection: socket.socket, closing: threading.Event) -> Received | None:
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = _receive(connection, closing)
        if not chunk:
            return None
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        chunk = _receive(connection, closing)
        if not chunk:
            return None  # given up by the client: such a request was never received
        body += chunk
    method, target, _ = first.split(" ")
    return Received(method, target, headers, body)


def _receive(connection: socket.socket, closing: threading.Event) -> bytes:
    while not closing.is_set():
        with suppress(TimeoutError):
            return connection.recv(65_536)
    return b""
