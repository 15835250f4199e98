"""HTTP/1.1 by hand over sockets: requests as they come, piece by piece, so that they can be cut anywhere."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RawRequest:
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def endpoint(self) -> str:
        path = self.target.partition("?")[0]
        if path.endswith("/batches"):
            return "create" if self.method == "POST" else "list"
        if self.method != "GET":
            return "other"
        return "results" if path.endswith("/results") else "retrieve"


@dataclass(frozen=True, slots=True)
class RawAnswer:
    status: int
    headers: Mapping[str, str]
    body: bytes


def read_head(connection: socket.socket) -> RawRequest | None:
    """A request up to the end of its head; `body` is what came of its body with that."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (piece := connection.recv(65_536)):
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return RawRequest(method, target, headers, body)


def read_until(connection: socket.socket, head: RawRequest, mark: re.Pattern[bytes]) -> RawRequest:
    """The request with so much of its body that `mark` is found in it, if it is there."""
    body = head.body
    with suppress(ConnectionError):
        while len(body) < int(head.headers.get("content-length", 0)) and not mark.search(body):
            if not (piece := connection.recv(65_536)):
                break
            body += piece
    return RawRequest(head.method, head.target, head.headers, body)


def read_rest(connection: socket.socket, head: RawRequest) -> bytes | None:
    """The whole body of a request; None when its sender gave it up."""
    body = bytearray(head.body)
    with suppress(ConnectionError):
        while len(body) < int(head.headers.get("content-length", 0)):
            if not (piece := connection.recv(1 << 18)):
                return None
            body += piece
        return bytes(body)
    return None


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
