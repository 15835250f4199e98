"""Our server, reached as its users reach it: in memory, over stdio and over HTTP, by clients of both protocol eras."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx2
import mcp.types as t
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.lowlevel import Server
from pydantic import SecretStr

from batches_mcp import language
from batches_mcp.core.limits import LIMITS, Limits
from batches_mcp.core.redact import Redactor
from batches_mcp.core.settings import BatchSettings
from batches_mcp.exchange.upstream import Clock, Upstream
from batches_mcp.language.compile import compile_server
from batches_mcp.language.offer import offer
from batches_mcp.serve.calls import Calls
from batches_mcp.serve.mcp import build_server
from batches_mcp.tools.behaviors import behaviors, contributions
from tests.support import states
from tests.support.states import state_in

ROOT = Path(__file__).parents[2]
CAPABILITY = ROOT / "capability.yaml"
SEED = ROOT / "tests" / "corpus" / "seed" / "message-batches-message-batches.yaml"

# The smallest request that nothing is wrong with.
REQUEST = {
    "custom_id": "a",
    "params": {"model": "claude-haiku-5-5", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]},
}

STATE_DIR = states.STATE_DIR
CONFIG_HOME = "XDG_CONFIG_HOME"

Transport = Literal["memory", "stdio", "http"]
# The client's `mode`: `auto` speaks 2026-07-28 with this server, `legacy` speaks 2025-11-25.
Era = Literal["auto", "legacy"]

LIST, CREATE, RETRIEVE, DELETE, CANCEL, RESULTS = (
    "anthropic-list-message-batches",
    "anthropic-create-message-batch",
    "anthropic-retrieve-message-batch",
    "anthropic-delete-message-batch",
    "anthropic-cancel-message-batch",
    "anthropic-retrieve-message-batch-results",
)


def server_for(
    base_url: str,
    key: str | None = "test-key",
    *,
    file: Path = CAPABILITY,
    limits: Limits = LIMITS,
    clock: Clock | None = None,
    variables: Mapping[str, str] | None = None,
    roots: Sequence[Path] = (),
    state: Path | None = None,
    batch: BatchSettings | None = None,
) -> Server[Calls]:
    """Our server in this process, as the command line builds it."""
    batch = batch or BatchSettings(tuple(roots))
    table = behaviors(batch)
    plan = offer(compile_server(language.read(file), base_url, contributions=contributions(table))).server
    values = {**({"ANTHROPIC_API_KEY": key} if key else {}), **(variables or {})}
    secrets = {name: SecretStr(value) for name, value in values.items()}
    redactor = Redactor.of(value for name, value in values.items() if name in plan.secrets)
    return build_server(
        plan,
        table,
        secrets,
        redactor,
        state_in(state),
        Upstream(limits, clock),
        ledger=batch.ledger,
        account=batch.account,
    )


def command(*arguments: str) -> list[str]:
    """The command line of our program."""
    return [sys.executable, "-m", "batches_mcp", *arguments]


def environment(key: str | None, **more: str) -> dict[str, str]:
    """A host's small environment, with nothing of the developer's own settings in it."""
    kept = {
        name: os.environ[name]
        for name in ("PATH", "HOME", "SYSTEMROOT", *states.SETTINGS, CONFIG_HOME)
        if name in os.environ
    }
    return {**kept, **({"ANTHROPIC_API_KEY": key} if key else {}), **more}


@asynccontextmanager
async def connected(
    transport: Transport,
    era: Era,
    base_url: str,
    key: str = "test-key",
    *,
    file: Path = CAPABILITY,
    flags: Sequence[str] = (),
    roots: Sequence[Path] = (),
) -> AsyncIterator[Client]:
    """An SDK client of our server over a transport."""
    flags = [*flags, *(word for root in roots for word in ("--root", str(root)))]
    serve = ["serve", "--base-url", base_url, "--capability", str(file), *flags]
    if transport == "memory":
        async with Client(server_for(base_url, key, file=file, roots=roots), mode=era) as client:
            yield client
    elif transport == "stdio":
        program, *arguments = command(*serve)
        parameters = StdioServerParameters(command=program, args=arguments, env=environment(key))
        async with Client(stdio_client(parameters), mode=era) as client:
            yield client
    else:
        with http_server(*serve[1:], key=key) as url:
            async with Client(url, mode=era) as client:
                yield client


@dataclass
class Process:
    """A running command; `lines` are what it said on standard error so far."""

    popen: subprocess.Popen[bytes]
    lines: list[str] = field(default_factory=list)
    _fresh: queue.Queue[str] = field(default_factory=queue.Queue)

    def say_until(self, pattern: str) -> re.Match[str]:
        """Wait for a line on standard error that matches."""
        while True:
            line = self._fresh.get(timeout=30)
            if match := re.search(pattern, line):
                return match

    def listen(self) -> None:
        assert self.popen.stderr is not None
        for raw in self.popen.stderr:
            self.lines.append(raw.decode().rstrip("\n"))
            self._fresh.put(self.lines[-1])


@contextmanager
def running(
    arguments: Sequence[str],
    key: str | None = "test-key",
    cwd: Path | str | None = None,
    limits: str | None = None,
    **env: str,
) -> Iterator[Process]:
    """Run our program until the end of the block, then see to it that it ends; `limits`, in JSON, replace its own."""
    program = command(*arguments)
    if limits is not None:
        program = [sys.executable, "-m", "tests.support.limited", limits, *arguments]
        env["PYTHONPATH"] = str(ROOT)
    popen = subprocess.Popen(
        program,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(key, **env),
        cwd=cwd,
    )
    process = Process(popen)
    listener = threading.Thread(target=process.listen, daemon=True)
    listener.start()
    try:
        yield process
    finally:
        if popen.poll() is None:
            popen.send_signal(signal.SIGTERM)
        try:
            popen.wait(10)
        except subprocess.TimeoutExpired:
            popen.kill()
            popen.wait(10)
        listener.join(10)
        for stream in (popen.stdin, popen.stdout, popen.stderr):
            if stream is not None:
                stream.close()


@contextmanager
def http_server(*flags: str, key: str | None = "test-key", cwd: Path | str | None = None, **env: str) -> Iterator[str]:
    """Our server over HTTP on a free port; the URL of its MCP endpoint."""
    with running(["serve", "--transport", "http", "--port", "0", *flags], key, cwd, **env) as process:
        yield process.say_until(r"serving MCP at (http://\S+)")[1]


@asynccontextmanager
async def http_client(url: str, headers: Mapping[str, str], era: Era = "auto") -> AsyncIterator[Client]:
    """An SDK client that sends headers of its own, as an agent framework with a token does."""
    async with (
        httpx2.AsyncClient(headers=dict(headers)) as http,
        Client(streamable_http_client(url, http_client=http), mode=era) as client,
    ):
        yield client


def text_of(result: t.CallToolResult) -> str:
    """The text of a result's content."""
    return "\n".join(block.text for block in result.content if isinstance(block, t.TextContent))


def error_of(result: t.CallToolResult) -> dict[str, Any]:
    """What a failed call says as data."""
    assert result.is_error
    assert result.meta is not None
    data: dict[str, Any] = result.meta["batches-mcp/error"]
    return data
