"""Replicas of a service that share their state, what can happen to them, and clients that go on all the same."""

from __future__ import annotations

import itertools
import os
import queue
import random
import re
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx2
import psycopg
from anyio.abc import TaskStatus
from mcp.shared.exceptions import MCPError

from batches_mcp.core.settings import DATABASE_URL
from batches_mcp.sandbox import Sandbox
from batches_mcp.store.lease import TERM_S
from tests.support.cable import Cable, cable_to, laid
from tests.support.creates import create, end, requests
from tests.support.objects import object_server
from tests.support.postgres import fresh_tables, url_of
from tests.support.proxied import free_ports
from tests.support.servers import Era, Process, http_client, running
from tests.support.states import OBJECT_STORE

TOKEN = "soak-token"
HEADERS = {"authorization": f"Bearer {TOKEN}"}
_CALL_S = 90.0
# Each takes 0.2 s at least, so that what a lease or a cable holds up is over.
_MOST_CALLS = 150
# What an agent does not take for an answer: the server is away, or its answer was lost.
_LOST = (
    httpx2.HTTPError,
    MCPError,
    TimeoutError,
    OSError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
    ExceptionGroup,
)


@dataclass
class Replica:
    """A server with a port and a folder of its own, which may come and go; `database` is its way there."""

    number: int
    port: int
    database: Cable
    settings: dict[str, str]
    flags: list[str]
    _running: ExitStack = field(default_factory=ExitStack)
    process: Process | None = None
    said: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.popen.poll() is None

    def start(self) -> None:
        self.process = self._running.enter_context(running(self.flags, None, **self.settings))
        try:
            self.process.say_until("serving MCP at")
        except queue.Empty:
            self.signal(signal.SIGABRT)  # which shows where it is
            self.ended(10)
            raise AssertionError("\n".join(["it does not start:", *self.said])) from None

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.popen.send_signal(number)

    def ended(self, within_s: float) -> int:
        """Wait for its end; its exit code."""
        assert self.process is not None
        code = self.process.popen.wait(within_s)
        self.said += self.process.lines
        self._running.close()
        return code


@dataclass
class Service:
    """Two replicas, and what they share."""

    replicas: list[Replica]
    store: Cable
    host: str

    def restart_database(self) -> None:
        """Break all connections, as a server that is started again does, and let nobody in for a moment."""
        for replica in self.replicas:
            replica.database.cut()
        with psycopg.connect(url_of(self.host), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname IS NOT NULL"
            )

    def mend(self) -> None:
        for cable in (self.store, *(replica.database for replica in self.replicas)):
            cable.mend()

    def calm(self) -> None:
        """Whatever was happening is over."""
        self.mend()
        for replica in self.replicas:
            if replica.is_running:
                replica.signal(signal.SIGCONT)
            else:
                replica.start()


@contextmanager
def service(sandbox: Sandbox, key: str, postgres: str, folder: Path) -> Iterator[Service]:
    """Start it, and end it."""
    with ExitStack() as stack:
        objects = stack.enter_context(object_server())
        assert httpx2.put(f"{objects}/batches").status_code == 200
        store = stack.enter_context(laid(urlsplit(objects).port or 0))
        schema = fresh_tables(postgres)
        replicas = []
        for number, port in enumerate(free_ports(2)):
            database = stack.enter_context(cable_to(postgres))
            settings = {
                "ANTHROPIC_API_KEY": key,
                "PYTHONFAULTHANDLER": "1",
                "BATCHES_MCP_TOKEN": TOKEN,
                "BATCHES_MCP_STATE_DIR": str(folder / f"replica-{number}"),
                DATABASE_URL: url_of("127.0.0.1", schema, database.port),
                OBJECT_STORE: "s3://batches/soak",
                "AWS_ACCESS_KEY_ID": "x",
                "AWS_SECRET_ACCESS_KEY": "x",
                "AWS_REGION": "us-east-1",
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{store.port}",
                "AWS_ALLOW_HTTP": "true",
            }
            flags = ["serve", "--transport", "http", "--port", str(port), "--base-url", sandbox.url]
            replica = Replica(number, port, database, settings, flags)
            replica.start()
            stack.callback(replica.ended, 30)
            stack.callback(replica.signal, signal.SIGTERM)
            replicas.append(replica)
        yield Service(replicas, store, postgres)


@dataclass
class Clients:
    """Clients that make creates, each again and again at the next replica until there is a batch of it.

    Those stay undecided of which it cannot be told before their time of doubt is over.
    """

    service: Service
    sandbox: Sandbox
    made: dict[str, str] = field(default_factory=dict)
    said: Counter[str] = field(default_factory=Counter)
    texts: set[str] = field(default_factory=set)
    undecided: list[str] = field(default_factory=list)
    lost: int = 0
    _turns: Iterator[int] = field(default_factory=itertools.count)

    async def make(self, names: Iterator[str], era: Era) -> None:
        for name in names:
            for _ in range(_MOST_CALLS):
                if await self._create(name, era):
                    break
                await anyio.sleep(0.2)
            else:
                self.undecided.append(name)

    async def _create(self, name: str, era: Era) -> bool:
        """Whether there is a batch of a content for certain."""
        replica = self.service.replicas[next(self._turns) % len(self.service.replicas)]
        arguments = {"requests": requests(1 + int(name[-1]) % 3, f"{name}-")}
        try:
            with anyio.fail_after(_CALL_S):
                async with http_client(replica.url, HEADERS, era) as client:
                    batch_id, words = await create(client, arguments)
        except _LOST:
            self.lost += 1
            return False
        self.said[str(words.get("type", "created"))] += 1
        self.texts.add(str(words.get("message", "")))
        if batch_id is not None and not words.get("candidate"):
            self.made[name] = batch_id
        elif words.get("type") == "duplicate_create":
            self.made[name] = str(re.search(r"batch (msgbatch_\w+)", words["message"])[1])  # type: ignore[index]
        else:
            for each in {*re.findall(r"msgbatch_\w+", str(words)), *([batch_id] if batch_id else [])}:
                end(self.sandbox, each)
            return False
        return True


Fate = Callable[[Service, Replica, random.Random], Awaitable[None]]


async def killed(_: Service, replica: Replica, chance: random.Random) -> None:
    replica.signal(signal.SIGKILL)
    await anyio.to_thread.run_sync(replica.ended, 30)
    await anyio.sleep(chance.uniform(0, 4))
    await anyio.to_thread.run_sync(replica.start)


async def stopped(_: Service, replica: Replica, chance: random.Random) -> None:
    """Longer than its lease lasts, so that the other takes over."""
    replica.signal(signal.SIGSTOP)
    await anyio.sleep(TERM_S + chance.uniform(1, 8))
    replica.signal(signal.SIGCONT)


async def cut_off(_: Service, replica: Replica, chance: random.Random) -> None:
    replica.database.cut()
    await anyio.sleep(chance.choice([1.0, 6.0, TERM_S + 3]))
    replica.database.mend()


async def database_restarted(all_of_it: Service, _: Replica, chance: random.Random) -> None:
    await anyio.to_thread.run_sync(all_of_it.restart_database)
    await anyio.sleep(chance.uniform(0.5, 4))
    all_of_it.mend()


async def store_gone(all_of_it: Service, _: Replica, __: random.Random) -> None:
    all_of_it.store.cut()
    await anyio.sleep(10)
    all_of_it.store.mend()


FATES: tuple[Fate, ...] = (killed, stopped, cut_off, database_restarted, store_gone)


async def befall(
    whole: Service,
    seed: str,
    met: Counter[str],
    *,
    task_status: TaskStatus[anyio.CancelScope] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Let one thing after another happen, each to a replica by chance, all of them before any again."""
    chance = random.Random(seed)
    with anyio.CancelScope() as scope:
        task_status.started(scope)
        while True:
            for fate in chance.sample(FATES, len(FATES)):
                await anyio.sleep(chance.uniform(0.5, 3))
                met[fate.__name__] += 1
                await fate(whole, chance.choice(whole.replicas), chance)


def creates_wanted() -> int:
    return int(os.environ.get("SOAK_REPLICA_CREATES", "1000"))
