"""Long answers over REST: handed on while they come, never shorter than they are without it being seen."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator

import httpx2
import pytest

from tests.support.held import Held, chunk, chunked, held_upstream
from tests.support.rest import BATCHES, Served, raw, rest_server
from tests.support.scripted import answer, scripted_upstream

RESULTS = f"{BATCHES}/msgbatch_1/results"
JSONL = "application/x-jsonl"
ROW = b'{"custom_id":"a","result":{"type":"expired"}}\n'


@pytest.fixture
def held() -> Iterator[Held]:
    with held_upstream() as upstream:
        yield upstream


@pytest.fixture
def served(held: Held) -> Iterator[Served]:
    with rest_server(held.url) as running:
        yield running


def begin(served: Served, target: str = RESULTS) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(*served.address, timeout=20)
    connection.request("GET", target)
    return connection


def test_a_row_is_handed_on_before_the_next_one_comes(held: Held, served: Served) -> None:
    client = begin(served)
    upstream = held.accept()
    upstream.sendall(chunked(JSONL) + chunk(ROW))
    reply = client.getresponse()
    assert (reply.status, reply.headers["content-type"]) == (200, JSONL)
    assert reply.read(len(ROW)) == ROW
    upstream.sendall(chunk(ROW) + chunk(b""))
    assert reply.read() == ROW
    client.close()


@pytest.mark.parametrize(
    "begun",
    [
        chunked(JSONL) + chunk(ROW),
        chunked(JSONL) + chunk(ROW) + b"ff\r\nonly a part",
        chunked(JSONL),
        b"HTTP/1.1 200 OK\r\ncontent-type: application/x-jsonl\r\ncontent-length: 500\r\n\r\n" + ROW,
    ],
)
@pytest.mark.parametrize("reset", [False, True])
def test_a_stream_that_is_cut_is_cut_for_the_client(held: Held, served: Served, begun: bytes, reset: bool) -> None:
    client = begin(served)
    upstream = held.accept()
    upstream.sendall(begun)
    reply = client.getresponse()
    if reset:
        upstream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    upstream.close()
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        reply.read()
    client.close()
    served.process.say_until("the answer broke off")


def test_an_http_client_notices_a_cut() -> None:
    cut = chunked(JSONL) + chunk(ROW)
    with scripted_upstream(cut) as upstream, rest_server(upstream.url) as served, pytest.raises(httpx2.HTTPError):
        httpx2.get(served.url + RESULTS)


@pytest.mark.parametrize("rows", [0, 1])
def test_a_client_that_leaves_ends_the_stream_upstream(held: Held, served: Served, rows: int) -> None:
    client = begin(served)
    upstream = held.accept()
    upstream.sendall(chunked(JSONL) + chunk(ROW) * rows)
    reply = client.getresponse()
    if rows:
        assert reply.read(len(ROW)) == ROW
    reply.close()
    client.close()
    assert upstream.recv(1) == b""


def test_a_batch_that_is_cut_is_a_bad_gateway(held: Held, served: Served) -> None:
    client = begin(served, f"{BATCHES}/msgbatch_1")
    upstream = held.accept()
    upstream.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{")
    upstream.close()
    reply = client.getresponse()
    assert reply.status == 502
    assert b"broke before the answer was complete" in reply.read()
    client.close()


def test_a_large_json_answer_is_handed_on_as_well() -> None:
    body = b'["' + b"x" * 17_000_000 + b'"]'
    with scripted_upstream(answer(200, body)) as upstream, rest_server(upstream.url) as served:
        reply = raw(served, "GET", f"{BATCHES}/msgbatch_1")
        assert reply.headers["content-length"] == str(len(body))
        assert reply.body == body


def test_many_rows_arrive_byte_for_byte_and_the_connection_is_kept() -> None:
    body = b"".join(b'{"custom_id":"r-%d","x":"%s"}\n' % (n, b"y" * (n % 3_000)) for n in range(5_000))
    with scripted_upstream(answer(200, body, kind=JSONL)) as upstream, rest_server(upstream.url) as served:
        client = http.client.HTTPConnection(*served.address, timeout=20)
        for _ in range(3):
            client.request("GET", RESULTS)
            assert client.getresponse().read() == body
        client.close()
        assert len(upstream.received) == 3
