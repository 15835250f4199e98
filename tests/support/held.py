"""An upstream whose answer the test sends piece by piece."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_WAIT_S = 20


@dataclass(slots=True)
class Held:
    """A listening upstream; `accept` waits for the next request, and from then on its answer is in the test's hands."""

    url: str
    listener: socket.socket
    connections: list[socket.socket] = field(default_factory=list)

    def accept(self) -> socket.socket:
        """The connection of the next request, which has been read."""
        connection, _ = self.listener.accept()
        self.connections.append(connection)
        connection.settimeout(_WAIT_S)
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65_536)
        return connection


@contextmanager
def held_upstream() -> Iterator[Held]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(_WAIT_S)
        held = Held(f"http://127.0.0.1:{listener.getsockname()[1]}", listener)
        try:
            yield held
        finally:
            for connection in held.connections:
                connection.close()


def chunk(data: bytes) -> bytes:
    """A chunk of a chunked body."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def chunked(kind: str) -> bytes:
    """The head of a success whose body is chunked."""
    return f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
