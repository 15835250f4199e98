"""How a running server ends: with creates, waits, streams and uploads under way, on every transport."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.e2e.test_stdio import Raw
from tests.support.creates import requests
from tests.support.held import chunk, chunked, held_upstream
from tests.support.rest import BATCHES
from tests.support.scripted import answer as scripted
from tests.support.servers import CREATE, RESULTS, RETRIEVE, STATE_DIR, Process, command, environment, running
from tests.support.slow_creates import batch, slow_creates

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send")

HEADERS = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
MODERN = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call"}
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
}
UNDER_WAY = r"shutting down: \d+ under way, with up to \S+ s to end; a second signal ends at once"


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, and how to begin a call of a tool on it, whose result is the text of the answer.

    `mcp` is the URL of its MCP endpoint over HTTP."""

    process: Process
    call: Callable[[str, dict[str, Any]], Future[str]]
    mcp: str = ""

    def ended(self) -> int:
        """Its exit code, once it has ended without a traceback."""
        code = self.process.popen.wait(20)
        assert not [line for line in self.process.lines if "Traceback" in line], self.process.lines
        return code


@contextmanager
def serving(transport: str, upstream: str, *flags: str) -> Iterator[Server]:
    common = ["--base-url", upstream, *flags]
    with ThreadPoolExecutor(32) as pool:
        if transport == "stdio":
            with running(common) as process:
                client = Raw(process)
                client.start()

                def over_stdio(name: str, arguments: dict[str, Any]) -> Future[str]:
                    message = {"method": "tools/call", "params": {"name": name, "arguments": arguments}}
                    return pool.submit(lambda: json.dumps(client.ask(message)))

                yield Server(process, over_stdio)
            return
        serve = ["--transport", "http", "--port", "0", "--rest", "--rest-port", "0", *common]
        with running(serve) as process:
            said = process.say_until(r"serving MCP at (http://\S+) and REST at (http://\S+)")
            mcp, rest = said[1], said[2]

            def over_http(name: str, arguments: dict[str, Any]) -> Future[str]:
                params: dict[str, Any] = {"name": name, "arguments": arguments}
                headers = HEADERS
                if transport == "http-2026":
                    params["_meta"] = META
                    headers = HEADERS | MODERN | {"mcp-name": name}
                message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
                return pool.submit(lambda: httpx2.post(mcp, json=message, headers=headers, timeout=60).text)

            def over_rest(name: str, arguments: dict[str, Any]) -> Future[str]:
                if name == CREATE:
                    return pool.submit(lambda: httpx2.post(rest + BATCHES, json=arguments, timeout=60).text)
                target = f"{rest}{BATCHES}/{arguments['message_batch_id']}"
                return pool.submit(lambda: httpx2.get(target, timeout=60).text)

            yield Server(process, over_rest if transport == "rest" else over_http, mcp)


ENDS = [
    (transport, number)
    for transport in ("stdio", "http-2025", "http-2026", "rest")
    for number in (signal.SIGTERM, signal.SIGINT)
]


@pytest.mark.parametrize(("transport", "end"), [*ENDS, ("stdio", "end of input")])
def test_a_create_under_way_ends_and_is_answered_and_written_down(transport: str, end: signal.Signals | str) -> None:
    with slow_creates() as upstream, serving(transport, upstream.url) as server:
        answer = server.call(CREATE, {"requests": requests(1)})
        upstream.wait_for(1)
        if isinstance(end, signal.Signals):
            server.process.popen.send_signal(end)
        else:
            assert server.process.popen.stdin is not None
            server.process.popen.stdin.close()
        server.process.say_until(UNDER_WAY)
        upstream.answered.set()
        assert "msgbatch_1" in answer.result(20)
        assert server.ended() == (128 + end if isinstance(end, signal.Signals) else 0)
    jobs = subprocess.run(command("jobs", "--json"), capture_output=True, text=True, env=environment("test-key"))
    assert "msgbatch_1" in jobs.stdout, jobs


@pytest.mark.parametrize(("transport", "number"), [each for each in ENDS if each[0] != "rest"])
def test_a_wait_under_way_is_ended_at_once_with_an_answer(transport: str, number: signal.Signals) -> None:
    with slow_creates() as upstream, serving(transport, upstream.url, "--drain", "3000") as server:
        answer = server.call(RETRIEVE, {"message_batch_id": "msgbatch_1", "wait_seconds": 40})
        assert upstream.asked.wait(20)
        server.process.popen.send_signal(number)
        assert "the server is shutting down; the call was ended, and changed nothing." in answer.result(20)
        assert server.ended() == 128 + number


def test_a_wait_under_way_is_ended_when_standard_input_is_closed() -> None:
    with slow_creates() as upstream, serving("stdio", upstream.url, "--drain", "3000") as server:
        answer = server.call(RETRIEVE, {"message_batch_id": "msgbatch_1", "wait_seconds": 40})
        assert upstream.asked.wait(20)
        assert server.process.popen.stdin is not None
        server.process.popen.stdin.close()
        assert "the server is shutting down" in answer.result(20)
        assert server.ended() == 0


@pytest.mark.parametrize("end", [signal.SIGTERM, "end of input"])
def test_a_download_under_way_is_not_waited_for(end: signal.Signals | str) -> None:
    ended = batch("msgbatch_1") | {"processing_status": "ended", "results_url": "x"}
    with held_upstream() as upstream, serving("stdio", upstream.url, "--drain", "3000") as server:
        answer = server.call(RESULTS, {"message_batch_id": "msgbatch_1"})
        upstream.accept().sendall(scripted(200, ended))
        upstream.accept()
        if isinstance(end, signal.Signals):
            server.process.popen.send_signal(end)
        else:
            assert server.process.popen.stdin is not None
            server.process.popen.stdin.close()
        assert "the server is shutting down" in answer.result(20)
        assert server.ended() == (143 if isinstance(end, signal.Signals) else 0)


@pytest.mark.parametrize("begun", [False, True])
def test_a_stream_under_way_is_broken_off(begun: bool) -> None:
    with held_upstream() as upstream, serving("rest", upstream.url, "--drain", "3000") as server:
        client = http.client.HTTPConnection(*rest_address(server), timeout=20)
        client.request("GET", f"{BATCHES}/msgbatch_1/results")
        connection = upstream.accept()
        if begun:
            connection.sendall(chunked("application/x-jsonl") + chunk(b"{}\n"))
            reply = client.getresponse()
            assert reply.read(3) == b"{}\n"
            server.process.popen.send_signal(signal.SIGTERM)
            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                reply.read()
        else:
            server.process.popen.send_signal(signal.SIGTERM)
            reply = client.getresponse()
            assert (reply.status, b"did nothing about the request" in reply.read()) == (503, True)
        assert server.ended() == 143
        client.close()


@pytest.mark.parametrize("transport", ["stdio", "http-2025", "http-2026", "rest"])
def test_a_create_that_outlasts_the_drain_is_said_to_be_in_doubt(transport: str) -> None:
    with slow_creates() as upstream, serving(transport, upstream.url, "--drain", "0.2") as server:
        answer = server.call(CREATE, {"requests": requests(1)})
        upstream.wait_for(1)
        server.process.popen.send_signal(signal.SIGTERM)
        assert "may have been carried out" in answer.result(20)
        assert server.ended() == 143


@pytest.mark.parametrize("transport", ["stdio", "http-2025", "rest"])
def test_a_second_signal_ends_it_at_once(transport: str) -> None:
    with slow_creates() as upstream, serving(transport, upstream.url, "--drain", "3000") as server:
        server.call(CREATE, {"requests": requests(1)})
        upstream.wait_for(1)
        server.process.popen.send_signal(signal.SIGTERM)
        server.process.say_until(UNDER_WAY)
        server.process.popen.send_signal(signal.SIGINT)
        assert server.ended() == 130


@pytest.mark.parametrize("transport", ["http-2025", "rest"])
def test_creates_that_wait_for_their_turn_are_not_sent(transport: str) -> None:
    with slow_creates() as upstream, serving(transport, upstream.url, "--log-level", "debug") as server:
        answers = [server.call(CREATE, {"requests": requests(1, f"c{number}-")}) for number in range(18)]
        upstream.wait_for(16)
        for _ in range(2):
            server.process.say_until("16 creates are under way; another one waits")
        server.process.popen.send_signal(signal.SIGTERM)
        server.process.say_until(UNDER_WAY)
        upstream.answered.set()
        told = [answer.result(30) for answer in answers]
        assert server.ended() == 143
    assert sum("msgbatch_" in each for each in told) == len(upstream.bodies) == 16
    assert sum("shutting down, and nothing was sent" in each for each in told) == 2


def test_an_upload_to_rest_that_is_not_there_yet_is_ended_and_leaves_no_file() -> None:
    with slow_creates() as upstream, serving("rest", upstream.url, "--drain", "3000") as server:
        with socket.create_connection(rest_address(server), timeout=20) as client:
            head = f"POST {BATCHES} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            client.sendall(f"{head}expect: 100-continue\r\ncontent-length: 200000000\r\n\r\n".encode())
            assert client.recv(65_536).startswith(b"HTTP/1.1 100")
            client.sendall(b" " * 3_000_000)
            server.process.popen.send_signal(signal.SIGTERM)
            with suppress(ConnectionResetError):  # what was sent and not read any more resets the connection
                assert client.recv(65_536).startswith(b"HTTP/1.1 503")
        assert server.ended() == 143
    assert upstream.bodies == []
    assert [*Path(os.environ[STATE_DIR]).glob("incoming/*")] == []


def rest_address(server: Server) -> tuple[str, int]:
    line = next(each for each in server.process.lines if "REST at" in each)
    host, _, port = line.partition("REST at http://")[2].partition(" ")[0].partition(":")
    return host, int(port)
