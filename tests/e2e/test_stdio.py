"""The stdio server as a process: what it writes, how it ends, and what a client that mixes eras gets."""

from __future__ import annotations

import json
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.scripted import HANG, answer, scripted_upstream
from tests.support.servers import LIST, Process, command, environment, running

INITIALIZE = {
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}},
}
posix_signals = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send")


class Raw:
    """A client of raw JSON lines, which sees every byte of standard output."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.number = 0

    def send(self, message: dict[str, Any]) -> None:
        assert self.process.popen.stdin is not None
        self.process.popen.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self.process.popen.stdin.flush()

    def request(self, message: dict[str, Any]) -> int:
        self.number += 1
        self.send({"id": self.number, **message})
        return self.number

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        number = self.request(message)
        while True:
            answer = self.line()
            if answer.get("id") == number:
                return answer

    def line(self) -> dict[str, Any]:
        assert self.process.popen.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.popen.stdout.readline())
        return answer

    def start(self) -> None:
        self.ask(INITIALIZE)
        self.send({"method": "notifications/initialized"})


@contextmanager
def raw(*flags: str, upstream: str = "http://127.0.0.1:9", **env: str) -> Iterator[Raw]:
    with running(["--base-url", upstream, *flags], **env) as process:
        yield Raw(process)


def test_standard_output_is_the_protocols_alone() -> None:
    with (
        scripted_upstream(answer(200, {"data": []})) as upstream,
        raw("--log-level", "debug", upstream=upstream.url) as client,
    ):
        client.start()
        assert len(client.ask({"method": "tools/list"})["result"]["tools"]) == 6
        assert client.ask({"method": "tools/call", "params": {"name": LIST}})["result"]["structuredContent"] == {
            "data": []
        }
        assert client.process.popen.stdin is not None
        client.process.popen.stdin.close()
        assert client.process.popen.stdout is not None
        assert client.process.popen.stdout.read() == b""
        assert client.process.popen.wait(10) == 0


def test_garbage_on_standard_input_is_survived() -> None:
    with raw() as client:
        client.start()
        assert client.process.popen.stdin is not None
        client.process.popen.stdin.write(b"not json\n\xff\xfe\n{}\n\n[1]\n")
        client.process.popen.stdin.flush()
        assert "tools" in client.ask({"method": "tools/list"})["result"]


def test_a_client_that_does_not_read_for_a_while_gets_every_answer_and_does_not_hold_up_calls() -> None:
    # 13 kB each, of which a pipe holds five.
    listings = 100
    with scripted_upstream(answer(200, {"data": []})) as upstream, raw(upstream=upstream.url) as client:
        client.start()
        numbers = {client.request({"method": "tools/list"}) for _ in range(listings)}
        numbers.add(client.request({"method": "tools/call", "params": {"name": LIST}}))
        assert upstream.arrived.wait(20)
        assert {client.line()["id"] for _ in numbers} == numbers


def test_input_and_output_may_be_files(tmp_path: Path) -> None:
    messages: list[dict[str, Any]] = [
        {"id": 1, **INITIALIZE},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/list"},
    ]
    asked, answered = tmp_path / "asked", tmp_path / "answered"
    asked.write_text("\n".join(json.dumps({"jsonrpc": "2.0", **message}) for message in messages))
    with asked.open() as stdin, answered.open("w") as stdout:
        done = subprocess.run(command(), stdin=stdin, stdout=stdout, env=environment("key"), timeout=30, check=False)
    assert done.returncode == 0
    assert [json.loads(line)["id"] for line in answered.read_text().splitlines()] == [1, 2]


def test_a_client_that_reads_no_more_gets_nothing_and_the_end_of_its_input_is_the_end() -> None:
    with raw() as client:
        client.start()
        assert client.process.popen.stdout is not None
        client.process.popen.stdout.close()
        client.request({"method": "tools/list"})
        assert client.process.popen.stdin is not None
        client.process.popen.stdin.close()
        assert client.process.popen.wait(10) == 0
    assert not any("error" in line for line in client.process.lines)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such shell")
@pytest.mark.parametrize(("redirected", "name"), [("<&-", "standard input"), (">&-", "standard output")])
def test_a_stream_that_is_closed_is_named(redirected: str, name: str) -> None:
    line = ["sh", "-c", f"{shlex.join(command())} {redirected}"]
    done = subprocess.run(line, capture_output=True, env=environment("key"), timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr.decode().startswith(f"batches-mcp: {name} is closed")
    assert len(done.stderr.splitlines()) == 1


def test_the_end_of_input_ends_the_process_soon_even_with_a_call_under_way() -> None:
    with scripted_upstream(HANG) as upstream, raw(upstream=upstream.url) as client:
        client.start()
        client.request({"method": "tools/call", "params": {"name": LIST}})
        assert upstream.arrived.wait(20)
        started = time.monotonic()
        assert client.process.popen.stdin is not None
        client.process.popen.stdin.close()
        assert client.process.popen.wait(10) == 0
        # A call may take 50 s; measured are 0.1 s, and hosts give a server about 2 s before they kill it.
        assert time.monotonic() - started < 5


@posix_signals
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stage", ["before any message", "after the handshake", "during a call"])
def test_a_signal_ends_the_process_with_its_code_and_closes_the_lifespan(number: signal.Signals, stage: str) -> None:
    with scripted_upstream(HANG) as upstream, raw("--log-level", "debug", upstream=upstream.url) as client:
        if stage == "before any message":
            client.process.say_until("asyncio: Using selector")  # the event loop runs
            client.ask({"method": "ping"})
        else:
            client.start()
        if stage == "during a call":
            client.request({"method": "tools/call", "params": {"name": LIST}})
            assert upstream.arrived.wait(20)
        client.process.popen.send_signal(number)
        assert client.process.popen.wait(10) == 128 + number
    assert any("lifespan closed" in line for line in client.process.lines)
    assert not any("Traceback" in line for line in client.process.lines)


@posix_signals
@pytest.mark.parametrize("end", ["signal", "end of input"])
def test_an_embedded_sandbox_leaves_nothing_behind(end: str, tmp_path: Path) -> None:
    with running(["--sandbox"], None, TMPDIR=str(tmp_path)) as process:
        client = Raw(process)
        client.start()
        assert "structuredContent" in client.ask({"method": "tools/call", "params": {"name": LIST}})["result"]
        assert list(tmp_path.iterdir())
        assert process.popen.stdin is not None
        if end == "signal":
            process.popen.send_signal(signal.SIGTERM)
        else:
            process.popen.stdin.close()
        assert process.popen.wait(10) == (143 if end == "signal" else 0)
    assert list(tmp_path.iterdir()) == []


def test_a_client_that_probes_first_and_then_shakes_hands_needs_protocol_legacy() -> None:
    probe = {"method": "server/discover", "params": {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28",
             "io.modelcontextprotocol/clientCapabilities": {}, "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"}}}}  # fmt: skip
    with raw("--protocol", "legacy") as client:
        assert client.ask(probe)["error"]["code"] == -32601
        assert client.ask(INITIALIZE)["result"]["protocolVersion"] == "2025-11-25"
    with raw() as client:
        assert client.ask(probe)["result"]["supportedVersions"] == ["2026-07-28"]
        assert "error" in client.ask(INITIALIZE)


def test_a_host_may_launch_it_with_an_empty_environment() -> None:
    popen = subprocess.run(
        [sys.executable, "-m", "batches_mcp"], input=(json.dumps({"jsonrpc": "2.0", "id": 1, **INITIALIZE}) + "\n").encode(),
        capture_output=True, env={}, timeout=30, check=False,
    )  # fmt: skip
    assert json.loads(popen.stdout)["result"]["serverInfo"]["name"] == "batches-mcp"
    assert (popen.returncode, popen.stderr) == (0, b"")


def test_once_tools_are_listed_what_calls_need_is_loaded_in_the_background() -> None:
    listing = {"method": "tools/list", "params": {}}
    call = {"method": "tools/call", "params": {"name": LIST, "arguments": {}}}
    with scripted_upstream(answer(200, b'{"data": [], "has_more": false}')) as upstream:
        flags = ["--base-url", upstream.url, "--log-level", "debug"]
        with running(flags, PYTHONPROFILEIMPORTTIME="1") as process:
            client = Raw(process)
            client.start()
            client.ask(listing)
            process.say_until("what calls need is loaded")
            before = len(process.lines)
            assert not client.ask(call)["result"].get("isError")
    imported = {line.rpartition("|")[2].strip() for line in process.lines[before:] if line.startswith("import time:")}
    slow = {name.partition(".")[0] for name in imported} & {"attr", "h11", "httpcore2", "jsonschema", "referencing"}
    assert not slow


def test_what_cannot_be_loaded_in_advance_is_no_matter_until_it_is_called(tmp_path: Path) -> None:
    certificates = tmp_path / "certificates.pem"
    certificates.write_text("no certificate")
    listing = {"method": "tools/list", "params": {}}
    with running(["--log-level", "debug"], SSL_CERT_FILE=str(certificates)) as process:
        client = Raw(process)
        client.start()
        client.ask(listing)
        process.say_until("what calls need could not be loaded")
        assert len(client.ask(listing)["result"]["tools"]) == 6


@pytest.mark.skipif(sys.platform == "win32", reason="hosts on Windows use pipes")
def test_a_host_that_dies_with_answers_unread_is_the_end_of_input() -> None:
    ours, hosts = socket.socketpair()  # as Node makes it for the processes that it starts
    with ours, hosts:
        popen = subprocess.Popen(
            command(),
            stdin=ours.fileno(),
            stdout=ours.fileno(),
            stderr=subprocess.PIPE,
            env=environment("key"),
            text=True,
        )
        hosts.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, **INITIALIZE}).encode() + b"\n")
        assert hosts.recv(1, socket.MSG_PEEK) == b"{"
    said = popen.communicate(timeout=20)[1]
    assert (popen.returncode, said) == (0, "")
