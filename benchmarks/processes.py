"""The processes that are measured: how each is started, and that each is ended, whatever happens."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ROOT = Path(__file__).resolve().parents[1]
_READY_S = 30.0
_ENDING_S = 10.0


@dataclass(frozen=True, slots=True)
class Contender:
    """A server that can be started on either transport."""

    name: str
    stdio: tuple[str, ...]
    http: tuple[str, ...]  # the port is appended


BARE: Final = Contender("bare SDK server", ("-m", "benchmarks.bare_server"), ("-m", "benchmarks.bare_server"))
SUBJECT: Final = Contender(
    "batches-mcp", ("-m", "batches_mcp"), ("-m", "batches_mcp", "serve", "--transport", "http", "--port")
)
# The baseline first, as in every table.
CONTENDERS: Final = (BARE, SUBJECT)


class ProcessFailed(Exception):
    """A process did not do its part; the text has the end of what it said on standard error."""


@dataclass(frozen=True, slots=True)
class Running:
    """A process, and where it was started as `time.perf_counter` tells time."""

    process: subprocess.Popen[bytes]
    started_s: float


@contextmanager
def python(arguments: Sequence[str], environment: dict[str, str], errors: Path | None = None) -> Iterator[Running]:
    """Run this Python with `arguments` and pipes, and end it; standard error goes to `errors`, if given.

    Raises:
        ProcessFailed: in place of any error while it was in use, with what the process said.
    """
    with tempfile.TemporaryFile() as unread, errors.open("wb") if errors else unread as stderr:
        started_s = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=_ROOT,
            env=_ENVIRONMENT | environment,
        )
        try:
            yield Running(process, started_s)
        except (OSError, EOFError, ValueError) as error:
            _end(process)
            unread.seek(0)
            said = unread.read()[-2000:].decode(errors="replace")
            raise ProcessFailed(f"{' '.join(arguments)}: {type(error).__name__}: {error}\n{said}") from error
        finally:
            _end(process)


# What hosts pass on, and no more; bytecode is cached as in an ordinary installation.
_ENVIRONMENT = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "SYSTEMROOT") if name in os.environ}


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process: by the end of its input, else by signals."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    try:
        process.wait(_ENDING_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    finally:
        process.stdout.close()


@contextmanager
def stub() -> Iterator[int]:
    """The upstream stub's port, while it runs."""
    with _upstream("benchmarks.stub") as port:
        yield port


@contextmanager
def sink() -> Iterator[int]:
    """The port of the upstream for uploads, while it runs."""
    with _upstream("benchmarks.sink") as port:
        yield port


@contextmanager
def outlet(rows: int) -> Iterator[int]:
    """The port of the upstream for results, while it runs."""
    with _upstream("benchmarks.outlet", str(rows)) as port:
        yield port


@contextmanager
def _upstream(module: str, *arguments: str) -> Iterator[int]:
    with python(["-m", module, *arguments], {}) as running:
        assert running.process.stdout is not None
        yield int(running.process.stdout.readline())


def upstream_environment(stub_port: int) -> dict[str, str]:
    """What makes a server send its requests to the stub."""
    return {"ANTHROPIC_API_KEY": "not-a-key", "BATCHES_MCP_BASE_URL": f"http://127.0.0.1:{stub_port}"}


@contextmanager
def http_server(contender: Contender, stub_port: int, **environment: str) -> Iterator[int]:
    """The contender's port, once it serves Streamable HTTP there."""
    port = _free_port()
    with python([*contender.http, str(port)], upstream_environment(stub_port) | environment) as running:
        _wait(port, running, contender)
        try:
            yield port
        finally:
            running.process.terminate()


@dataclass(frozen=True, slots=True)
class Served:
    """A server with REST: the port of that, and its process."""

    port: int
    pid: int


@contextmanager
def rest_server(upstream_port: int, *flags: str) -> Iterator[Served]:
    """Ours, once it serves REST."""
    port = _free_port()
    arguments = [*SUBJECT.http, str(_free_port()), "--rest", "--rest-port", str(port), *flags]
    with python(arguments, upstream_environment(upstream_port)) as running:
        _wait(port, running, SUBJECT)
        try:
            yield Served(port, running.process.pid)
        finally:
            running.process.terminate()


def _wait(port: int, running: Running, contender: Contender) -> None:
    deadline_s = time.perf_counter() + _READY_S
    while not _accepts(port):
        if running.process.poll() is not None or time.perf_counter() > deadline_s:
            raise TimeoutError(f"{contender.name} does not serve over HTTP")
        time.sleep(0.02)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
