"""What a client over HTTP can make the server hold: heads that do not end, bodies that lie about their length."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.support.held import chunk, chunked, held_upstream
from tests.support.rest import BATCHES, rest_server
from tests.support.servers import http_server, running

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


REST_CREATE = f"POST {BATCHES} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n".encode()
# So short that nothing has to be waited for; what must not run out is as long as it comes.
SLOW_HEAD, SLOW_BODY = '{"head_s": 0.2}', '{"body_s": 0.2}'


def connected(url: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=60)


def until(connection: socket.socket, mark: bytes | None = None) -> bytes:
    """All that comes, up to a mark, or before the server closes the connection."""
    received = b""
    with suppress(ConnectionResetError):
        while (mark is None or mark not in received) and (piece := connection.recv(65_536)):
            received += piece
    return received


@pytest.mark.parametrize(
    ("kept", "begun", "answer"),
    [
        (False, b"", b""),
        (False, b"P", b"HTTP/1.1 408 "),
        (False, HEAD + b"X-Slow: a", b"HTTP/1.1 408 "),
        (True, b"P", b"HTTP/1.1 408 "),
    ],
    ids=["nothing", "a byte", "half a head", "a byte of the next request"],
)
def test_a_head_that_does_not_end_in_time_ends_the_connection(kept: bool, begun: bytes, answer: bytes) -> None:
    with rest_server("http://127.0.0.1:9", limits=SLOW_HEAD) as served:
        with connected(served.mcp) as connection:
            if kept:
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert until(connection, b"}").startswith(b"HTTP/1.1 200 ")
            connection.sendall(begun)
            assert until(connection)[:13] == answer
        assert httpx2.get(served.mcp.replace("/mcp", "/healthz")).status_code == 200


@pytest.mark.parametrize("length", [b"Content-Length: 100\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n5\r\n"])
@pytest.mark.parametrize("over", ["mcp", "rest"])
def test_a_body_that_does_not_come_ends_the_connection(over: str, length: bytes) -> None:
    with rest_server("http://127.0.0.1:9", limits=SLOW_BODY) as served:
        url, head = (served.mcp, HEAD) if over == "mcp" else (served.url, REST_CREATE)
        with connected(url) as connection:
            connection.sendall(head + length + b"{")
            said = until(connection)
    assert said.startswith(b"HTTP/1.1 408 ")
    assert said.endswith(b"\r\n\r\nThe body of a request took too long to arrive.\n")


def test_a_body_that_trickles_after_its_answer_ends_the_connection() -> None:
    with (
        running(
            ["serve", "--transport", "http", "--port", "0", "--base-url", "http://127.0.0.1:9"], limits=SLOW_BODY
        ) as process,
        connected(process.say_until(r"serving MCP at (http://\S+)")[1]) as connection,
    ):
        # Refused for its host, before the body has come, and with more of it to come for ever.
        connection.sendall(b"POST /mcp HTTP/1.1\r\nHost: elsewhere\r\nContent-Length: 1000000\r\n\r\n{")
        assert until(connection).startswith(b"HTTP/1.1 421 ")


def test_a_large_body_has_as_long_as_it_needs_while_it_comes() -> None:
    """Its 100,000 bytes make 100 s more at the slowest rate, in which all the pieces have their time."""
    with rest_server("http://127.0.0.1:9", limits=SLOW_BODY) as served, connected(served.url) as connection:
        connection.sendall(REST_CREATE + b"Content-Length: 100001\r\n\r\n" + b" " * 100_000)
        # Another request's limit has run out meanwhile, and its connection was closed.
        with connected(served.url) as other:
            other.sendall(REST_CREATE + b"Content-Length: 2\r\n\r\n{")
            assert until(other).startswith(b"HTTP/1.1 408 ")
        connection.sendall(b"x")
        assert connection.recv(12) == b"HTTP/1.1 400"


def test_a_client_that_takes_nothing_of_its_answer_is_left() -> None:
    target = f"{BATCHES}/msgbatch_1/results"
    with (
        held_upstream() as held,
        rest_server(held.url, limits='{"unread_s": 0.2}') as served,
        connected(served.url) as connection,
    ):
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        upstream = held.accept()
        upstream.sendall(chunked("application/x-jsonl"))
        # More than sockets hold on the way; the server hangs up, for nobody takes it.
        with pytest.raises(ConnectionError):
            upstream.sendall(chunk(b"1" * (256 << 20)))


def test_a_request_for_a_web_socket_is_one_like_any_other_for_the_gate() -> None:
    asked = b"GET /mcp HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
    key = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    with rest_server("http://127.0.0.1:9", BATCHES_MCP_TOKEN="a-token-of-32-characters-or-so-00") as served:
        for url in (served.mcp, served.url):
            with connected(url) as connection:
                connection.sendall(asked + key)
                assert connection.recv(12) == b"HTTP/1.1 401"
