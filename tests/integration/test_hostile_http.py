"""What a client over HTTP can make the server hold: heads that do not end, bodies that lie about their length."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.support.servers import http_server

HEAD = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: application/json, text/event-stream\r\n"
CHUNKED = HEAD + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
MIB = b"100000\r\n" + b"a" * 0x100000 + b"\r\n"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with http_server("--base-url", "http://127.0.0.1:9") as running_url:
        yield running_url


def sent(url: str, pieces: Iterable[bytes]) -> bytes:
    """The beginning of what the server answers to pieces of a request; nothing when it breaks the connection."""
    with socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=30) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
            return connection.recv(12)
        except ConnectionError:
            return b""


@pytest.mark.parametrize(
    ("pieces", "answers"),
    [
        ([HEAD, *[b"X: " + b"a" * 1_000_000] * 40], {b"", b"HTTP/1.1 400"}),
        ([HEAD, *[b"X: " + b"a" * 1000 + b"\r\n"] * 40_000], {b"", b"HTTP/1.1 400"}),
        ([CHUNKED, b"zz\r\n{}\r\n0\r\n\r\n"], {b"HTTP/1.1 400"}),
        ([CHUNKED, *[MIB] * 40], {b"HTTP/1.1 413"}),
        ([HEAD + b"Content-Length: abc\r\n\r\n{}"], {b"HTTP/1.1 400"}),
    ],
    ids=["endless header", "endless headers", "no chunk size", "chunks beyond 32 MiB", "no length"],
)
def test_a_hostile_request_is_refused_and_others_are_served(url: str, pieces: list[bytes], answers: set[bytes]) -> None:
    assert sent(url, pieces) in answers
    assert httpx2.get(url.replace("/mcp", "/healthz")).status_code == 200
