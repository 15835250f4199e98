"""Those who ask for creates: clients of servers of ours in processes of their own, which may be killed at any moment."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anthropic
import anyio
import anyio.to_thread
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.soak.process import CLOCK, PID, SKEW, command
from tests.soak.records import Told, now_s
from tests.soak.schedule import Ask, Way
from tests.support.servers import CREATE, environment, error_of

log = logging.getLogger(__name__)

FORKER = "forker"

_CALL_S = 60.0
_MOST_STARTS = 5
_SUBMITTING_PAUSE_S = 0.05
_BATCH_ID = re.compile(r"msgbatch_\w+")
_ALLOW = {"batches-mcp-allow-duplicate": "true"}


@dataclass(frozen=True, slots=True)
class Place:
    """What the processes of an episode have in common; `clock` is the file of the world's time, and when it began."""

    url: str
    key: str
    folder: Path
    clock: str
    world_s: Callable[[], float]
    cap_usd: float | None = None

    def command(self, *arguments: str) -> list[str]:
        return command(self.folder / FORKER, *arguments)

    def serve(self, state: str, *flags: str) -> list[str]:
        cap = ["--max-cost-usd", repr(self.cap_usd)] if self.cap_usd is not None and state == "a" else []
        folder = str(self.folder / state)
        return self.command("serve", "--base-url", self.url, "--state-dir", folder, *cap, *flags)

    def environment(self, skew_s: float, **more: str) -> dict[str, str]:
        return environment(self.key, **{CLOCK: self.clock, SKEW: str(skew_s)}, **more)


Call = Callable[[Ask], Awaitable[Told]]


@dataclass(slots=True)
class Shift:
    """What an actor has to do in one round: asks at the same time, and maybe to be killed after so long."""

    asks: Sequence[Ask]
    kill_s: float | None = None
    done: anyio.Event = field(default_factory=anyio.Event)


@dataclass(slots=True)
class Actor:
    """One process after the other, each of which lives until it is killed; `told` is called with what came of an ask."""

    name: str
    place: Place
    skew_s: float
    told: Callable[[Told], None]
    pid: int = 0
    lives: int = 0

    def life(self) -> AbstractAsyncContextManager[Call]:
        """A process and what calls it."""
        raise NotImplementedError

    @property
    def written(self) -> Path:
        """Where the process writes its id."""
        return self.place.folder / f"{self.name}.pid"

    @property
    def errors(self) -> Path:
        return self.place.folder / f"{self.name}.err"

    async def work(self, shifts: anyio.abc.ObjectReceiveStream[Shift]) -> None:
        """Do shift after shift."""
        async with shifts:
            failed = 0
            shift = await _next(shifts)
            while shift is not None:
                try:
                    self.lives += 1
                    async with self.life() as call:
                        while shift is not None and await self._do(call, shift):
                            shift = await _next(shifts)
                except Exception as error:
                    log.debug("%s: a life ended: %r", self.name, error)
                    failed = failed + 1 if shift is not None and not shift.done.is_set() else 0
                    if failed == _MOST_STARTS:
                        raise RuntimeError(f"{self.name} does not start: {self.errors.read_text()[-1_000:]}") from error
                if shift is not None and shift.done.is_set():
                    shift = await _next(shifts)

    async def _do(self, call: Call, shift: Shift) -> bool:
        """Do a shift; false when the process was killed."""
        killed = False
        heard: set[int] = set()
        began_s = now_s()

        async def ask(number: int, asked: Ask) -> None:
            told = await call(asked)
            heard.add(number)
            self.told(told)

        async def kill(scope: anyio.CancelScope) -> None:
            nonlocal killed
            await anyio.sleep(shift.kill_s or 0.0)
            os.kill(self.pid, signal.SIGKILL)
            killed = True
            await anyio.sleep(0.05)
            scope.cancel()

        try:
            async with anyio.create_task_group() as tasks:
                for number, each in enumerate(shift.asks):
                    tasks.start_soon(ask, number, each)
                if shift.kill_s is not None:
                    tasks.start_soon(kill, tasks.cancel_scope)
        finally:
            for number, each in enumerate(shift.asks):
                if number not in heard:
                    self.told(Told(each, began_s, now_s(), self.place.world_s(), error="lost"))
            shift.done.set()
        return not killed

    async def mcp(self, client: Client, ask: Ask) -> Told:
        """A create by the tool, which is called again while it is being submitted."""
        began_s = now_s()
        arguments: dict[str, Any] = {"requests": ask.content.requests, "label": ask.content.name}
        if ask.again:
            arguments["allow_duplicate"] = True
        try:
            with anyio.fail_after(_CALL_S):
                while True:
                    result = await client.call_tool(CREATE, arguments)
                    content = {} if result.is_error else result.structured_content
                    if not content.get("batches_mcp", {}).get("submitting"):
                        break
                    arguments.pop("allow_duplicate", None)  # it joins the one that is under way
                    await anyio.sleep(_SUBMITTING_PAUSE_S)
        except Exception as error:  # noqa: BLE001 - whatever a client says whose server was killed
            return self._lost(ask, began_s, error)
        times = (began_s, now_s(), self.place.world_s())
        if not result.is_error:
            certain = not content["batches_mcp"].get("candidate")
            return Told(ask, *times, str(content["id"]), certain)
        said = error_of(result)
        kind, message = said["type"], said["message"]
        return Told(
            ask,
            *times,
            _named(message) if kind == "duplicate_create" else None,
            kind == "duplicate_create",
            kind,
            message,
        )

    def _lost(self, ask: Ask, began_s: float, error: Exception) -> Told:
        return Told(ask, began_s, now_s(), self.place.world_s(), error="lost", message=repr(error))


def _named(message: str) -> str | None:
    found = _BATCH_ID.search(message)
    return found[0] if found else None


async def _next(shifts: anyio.abc.ObjectReceiveStream[Shift]) -> Shift | None:
    try:
        return await shifts.receive()
    except anyio.EndOfStream:
        return None


class Stdio(Actor):
    """MCP over stdio, on the state folder that `state` names."""

    state = "a"

    @asynccontextmanager
    async def life(self) -> AsyncIterator[Call]:
        program, *arguments = self.place.serve(self.state)
        env = self.place.environment(self.skew_s, **{PID: str(self.written)})
        parameters = StdioServerParameters(command=program, args=arguments, env=env, cwd=self.place.folder)
        with self.errors.open("a") as errors:
            async with Client(stdio_client(parameters, errlog=errors)) as client:
                self.pid = int(self.written.read_text())
                yield lambda ask: self.mcp(client, ask)


class Other(Stdio):
    """The same, with a state folder of its own."""

    state = "b"


class Http(Actor):
    """MCP over HTTP, and REST by the official SDK, which sends again by itself unless it is told not to."""

    @asynccontextmanager
    async def life(self) -> AsyncIterator[Call]:
        flags = ("--transport", "http", "--port", "0", "--rest", "--rest-port", "0")
        process, mcp_url, rest_url = await anyio.to_thread.run_sync(self._start, *flags)
        try:
            async with AsyncExitStack() as stack:
                client = await stack.enter_async_context(Client(mcp_url))
                sdk = await stack.enter_async_context(
                    _Sdk(base_url=rest_url, api_key="any", max_retries=2, timeout=_CALL_S)
                )

                async def call(ask: Ask) -> Told:
                    return await (self._rest(sdk, ask) if ask.way == "rest" else self.mcp(client, ask))

                yield call
        finally:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            process.wait(10)
            assert process.stderr is not None
            process.stderr.close()

    def _start(self, *flags: str) -> tuple[subprocess.Popen[bytes], str, str]:
        """A server, and where its MCP and REST are."""
        process = subprocess.Popen(
            self.place.serve("a", *flags),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=self.place.environment(self.skew_s, **{PID: str(self.written)}),
            cwd=self.place.folder,
        )
        urls = self._addresses(process)
        self.pid = int(self.written.read_text())
        return process, *urls

    def _addresses(self, process: subprocess.Popen[bytes]) -> tuple[str, str]:
        """Where the server says it is; what else it says goes to a file."""
        assert process.stderr is not None
        for line in process.stderr:
            if said := re.search(r"serving MCP at (http://\S+) and REST at (http://\S+)", line.decode()):
                threading.Thread(target=self._write, args=(process,), daemon=True).start()
                return said[1], said[2]
        raise RuntimeError("the server said no address")

    def _write(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        with self.errors.open("ab") as errors:
            try:
                for line in process.stderr:
                    errors.write(line)
                    errors.flush()
            except ValueError:
                return  # closed by us

    async def _rest(self, sdk: anthropic.AsyncAnthropic, ask: Ask) -> Told:
        began_s = now_s()
        batches = (sdk.with_options(max_retries=0) if ask.again else sdk).messages.batches
        headers = _ALLOW if ask.again else {}
        requests: Any = ask.content.requests
        try:
            answer = await batches.with_raw_response.create(requests=requests, extra_headers=headers)
        except anthropic.APIStatusError as error:
            message = str(error)
            kind = _rest_kind(error.status_code, message)
            named = _named(message) if kind == "duplicate_create" else None
            told = Told(ask, began_s, now_s(), self.place.world_s(), named, named is not None, kind, message)
            may_retry = error.response.headers.get("x-should-retry") != "false"
            return replace(told, status=error.status_code, may_retry=may_retry)
        except Exception as error:  # noqa: BLE001 - whatever a client says whose server was killed
            return self._lost(ask, began_s, error)
        content = json.loads(answer.http_response.content)
        certain = not content.get("batches_mcp", {}).get("candidate")
        return Told(ask, began_s, now_s(), self.place.world_s(), content["id"], certain, status=200)


def _rest_kind(status: int, message: str) -> str:
    if status == 402:
        return "cost_cap"
    if status == 409 and re.search(r"were submitted .* ago as batch", message):
        return "duplicate_create"
    return "internal_error" if "internal error" in message.lower() and status == 500 else f"status {status}"


class _Sdk(anthropic.AsyncAnthropic):
    """The official client with short pauses."""

    def _calculate_retry_timeout(self, *_: Any, **__: Any) -> float:
        return 0.05


ACTORS: dict[str, type[Actor]] = {"stdio": Stdio, "http": Http, "other": Other}
ACTOR_OF: dict[Way, str] = {"stdio": "stdio", "http": "http", "rest": "http", "other": "other"}
__all__ = ["ACTORS", "ACTOR_OF", "FORKER", "Actor", "Place", "Shift"]
