"""Starts a server as a host does, and sees whether it answers: both handshakes, the list of tools, one free call."""

from __future__ import annotations

import json
import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from batches_mcp.core.errors import BatchesMcpError
from batches_mcp.core.redact import Redactor, excerpt
from batches_mcp.hosts.launch import Launch

# The strictest host gives up after this long; others wait 10 to 30 s.
HOSTS_WAIT_S = 2.5

_LONGEST_S = 30.0
_ENDING_S = 5.0
_CLIENT = {"name": "batches-mcp-install", "version": "1"}
_INITIALIZE = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": _CLIENT}
_MODERN = {
    "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": _CLIENT,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
}
_MISSING_KEY = "missing_variable"


class NoServer(BatchesMcpError):
    """The command starts no server that answers; the text says what happened instead."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What a server did: its tools, the seconds to its first answer, and why the free call failed, if it did.

    `key_missing` tells that it found no API key.
    """

    tools: tuple[str, ...]
    first_answer_s: float
    call_error: str | None = None
    key_missing: bool = False


def prove(launch: Launch, environment: Mapping[str, str]) -> Proof:
    """Start the command in exactly this environment, twice, and speak each of the protocol's two revisions with it.

    Raises:
        NoServer: it does not start, or does not answer in half a minute.
    """
    began = time.monotonic()
    with _started(launch, environment) as server:
        server.ask("initialize", _INITIALIZE)
        first_answer_s = time.monotonic() - began
        server.tell("notifications/initialized")
        tools = _tools(server.ask("tools/list", {}))
        call_error = _free_call(server, tools)
    with _started(launch, environment) as server:
        server.ask("server/discover", _MODERN)
        modern = _tools(server.ask("tools/list", _MODERN))
    names = tuple(tool["name"] for tool in tools)
    if {tool["name"] for tool in modern} != set(names):
        raise NoServer("it lists other tools to clients of the newer revision of the protocol")
    return Proof(names, first_answer_s, call_error, bool(call_error) and str(call_error).startswith(_MISSING_KEY))


def _tools(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    tools = result.get("tools")
    if not isinstance(tools, list) or not tools:
        raise NoServer("it answers, but lists no tools")
    return tools


def _free_call(server: _Server, tools: Sequence[Mapping[str, Any]]) -> str | None:
    """Call a tool that changes nothing and needs no arguments; the first line of its error, if it failed."""
    for tool in tools:
        schema = tool.get("inputSchema", {})
        if tool.get("annotations", {}).get("readOnlyHint") and not schema.get("required"):
            arguments = {"limit": 1} if "limit" in schema.get("properties", {}) else {}
            result = server.ask("tools/call", {"name": tool["name"], "arguments": arguments})
            texts = [str(block.get("text", "")) for block in result.get("content", ())]
            return excerpt("\n".join(texts).partition("\n")[0]) if result.get("isError") else None
    return None


@dataclass(slots=True)
class _Server:
    popen: subprocess.Popen[bytes]
    answers: queue.Queue[bytes | None]
    error_lines: list[str]
    number: int = 0

    def tell(self, method: str, **more: Any) -> None:
        pipe = self.popen.stdin
        if pipe is None:
            raise NoServer("it has no standard input")
        try:
            pipe.write(json.dumps({"jsonrpc": "2.0", "method": method, **more}).encode() + b"\n")
            pipe.flush()
        except OSError as error:
            raise self._ended() from error

    def ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        self.number += 1
        self.tell(method, id=self.number, params=params)
        deadline_s = time.monotonic() + _LONGEST_S
        while True:
            try:
                line = self.answers.get(timeout=max(0.0, deadline_s - time.monotonic()))
            except queue.Empty as error:
                raise NoServer(f"it did not answer `{method}` in {_LONGEST_S:.0f} s") from error
            if line is None:
                raise self._ended()
            answer = _message(line)
            if answer.get("id") != self.number:
                continue
            if "error" in answer:
                raise NoServer(f"it answers `{method}` with an error: {excerpt(str(answer['error'].get('message')))}")
            result: dict[str, Any] = answer.get("result", {})
            return result

    def _ended(self) -> NoServer:
        with suppress(subprocess.TimeoutExpired):
            self.popen.wait(_ENDING_S)
        said = Redactor.of(()).text(excerpt(" ".join(self.error_lines[-3:])))
        return NoServer(f"it ended with exit code {self.popen.poll()}{': ' + said if said else ''}")


def _message(line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except ValueError as error:
        raise NoServer(
            f"it writes something else than the protocol: {excerpt(line.decode(errors='replace'), 80)}"
        ) from error
    return answer if isinstance(answer, dict) else {}


@contextmanager
def _started(launch: Launch, environment: Mapping[str, str]) -> Iterator[_Server]:
    try:
        popen = subprocess.Popen(  # noqa: S603 (it is the user's own configuration that is tried)
            [launch.command, *launch.args],
            env=dict(environment),
            cwd=Path(tempfile.gettempdir()).anchor,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        raise NoServer(f"{launch.command} cannot be started: {error.strerror or error}") from error
    server = _Server(popen, queue.Queue(), [])
    threads = [
        threading.Thread(target=_read_answers, args=(popen.stdout, server.answers), daemon=True),
        threading.Thread(target=_read_errors, args=(popen.stderr, server.error_lines), daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        yield server
    finally:
        _end(popen)
        for thread in threads:
            thread.join(_ENDING_S)
        for stream in (popen.stdout, popen.stderr):
            if stream is not None:
                stream.close()


def _end(popen: subprocess.Popen[bytes]) -> None:
    if popen.stdin is not None:
        with suppress(OSError):
            popen.stdin.close()
    try:
        popen.wait(_ENDING_S)
    except subprocess.TimeoutExpired:
        popen.kill()
        popen.wait()


def _read_answers(stream: IO[bytes], answers: queue.Queue[bytes | None]) -> None:
    for line in stream:
        answers.put(line)
    answers.put(None)


def _read_errors(stream: IO[bytes], error_lines: list[str]) -> None:
    error_lines.extend(line.decode(errors="replace") for line in stream)
