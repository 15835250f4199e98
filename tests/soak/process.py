"""Our command line in the soak's time: batches of a few requests, pauses that are short, and the world's clock.

One process imports everything, and forks one that runs the command line for whoever connects to its socket. The
environment says where the clock is, how far the process's time of day is off, and where it is to write its id.
"""

from __future__ import annotations

import gc
import importlib
import json
import mmap
import os
import pkgutil
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import anyio

import batches_mcp
from batches_mcp.cli import run as command_line  # before the module of that name takes its place
from batches_mcp.core.limits import LIMITS, Limits
from batches_mcp.exchange.upstream import Clock
from tests.support.servers import ROOT

CLOCK, SKEW, PID, ROWS = "SOAK_CLOCK", "SOAK_SKEW_S", "SOAK_PID", "SOAK_ROWS"
_TIMES = struct.Struct("d")
_SHORTER, _LONGEST_S = 20.0, 0.06
_LOOK_S, _PARENT_S = 0.01, 1.0


class WorldClock:
    """How much time has passed since the beginning: a file that the test writes and processes read."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(_TIMES.pack(0.0))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _TIMES.size)

    @property
    def passed_s(self) -> float:
        return float(_TIMES.unpack(self._map[:])[0])

    @passed_s.setter
    def passed_s(self, seconds: float) -> None:
        self._map[:] = _TIMES.pack(seconds)


@contextmanager
def forker(path: Path) -> Iterator[None]:
    """Run the process that forks, listening at `path`."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    command = [sys.executable, "-m", "tests.soak.process", str(path)]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # and whatever it forked


def command(path: Path, *arguments: str) -> list[str]:
    """What runs our command line by a fork."""
    return [sys.executable, "-I", "-S", str(ROOT / "tests" / "soak" / "forked.py"), str(path), *arguments]


async def shorter(seconds: float) -> None:
    """A pause that is short, and yet one."""
    await anyio.sleep(min(seconds / _SHORTER, _LONGEST_S))


def _clock(world: WorldClock, started_s: float, skew_s: float) -> Clock:
    """A clock that goes forward as the world's does; the world's time was `started_s` at its beginning."""
    return Clock(
        now_s=lambda: time.monotonic() + world.passed_s,
        wall_s=lambda: started_s + world.passed_s + skew_s,
        sleep=shorter,
        jitter=lambda: 0.0,
    )


def _serve(path: str) -> None:
    for module in pkgutil.walk_packages(batches_mcp.__path__, "batches_mcp."):
        if "sandbox" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ("genai_prices", "jsonschema", "uvicorn.protocols.http.h11_impl", "anyio._backends._asyncio"):
        importlib.import_module(name)
    gc.freeze()
    children: dict[int, socket.socket] = {}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        print("ready", flush=True)
        parent = os.getppid()
        while os.getppid() == parent:
            if select.select([listener], [], [], _LOOK_S)[0]:
                connection, _ = listener.accept()
                pid = _fork(connection, listener, children)
                children[pid] = connection
            _reap(children)


def _fork(connection: socket.socket, listener: socket.socket, others: dict[int, socket.socket]) -> int:
    head, streams, _, _ = socket.recv_fds(connection, 4, 3)
    content = b""
    while len(content) < int.from_bytes(head, "big"):
        content += connection.recv(65_536)
    pid = os.fork()
    if pid:
        for stream in streams:
            os.close(stream)
        return pid
    for own in (connection, listener, *others.values()):
        own.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    asked = json.loads(content)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.argv = ["batches-mcp", *asked["arguments"]]
    _run()
    raise AssertionError("the command line ends the process")


def _die_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_S)
    os._exit(1)


def _run() -> None:
    code = 1
    try:
        threading.Thread(target=_die_with, args=(os.getppid(),), daemon=True).start()
        if PID in os.environ:
            Path(os.environ[PID]).write_text(str(os.getpid()))
        path, _, started = os.environ[CLOCK].rpartition("@")
        clock = _clock(WorldClock(Path(path)), float(started), float(os.environ[SKEW]))
        limits = Limits(batch_requests=int(os.environ[ROWS])) if ROWS in os.environ else LIMITS
        code = command_line(limits=limits, clock=clock)
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else 1 if exit_.code else 0
    except BaseException:  # noqa: BLE001 - as Python itself would end it
        sys.excepthook(*sys.exc_info())
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def _reap(children: dict[int, socket.socket]) -> None:
    """Tell of those that have ended how they did."""
    for pid in list(children):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            with children.pop(pid) as connection, suppress(OSError):
                connection.sendall(bytes([os.waitstatus_to_exitcode(status) % 256]))


if __name__ == "__main__":
    _serve(sys.argv[1])
