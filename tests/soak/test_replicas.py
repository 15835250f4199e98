"""Two replicas that die, stop, and lose their database and their store, while 16 clients create: nothing is paid twice."""

from __future__ import annotations

import itertools
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from batches_mcp.sandbox import ManualClock, Sandbox, running_sandbox
from batches_mcp.store.entry import DOUBT_S
from tests.soak.replicas import Clients, Service, befall, creates_wanted, service
from tests.support.creates import existing

pytestmark = [
    pytest.mark.soak,
    pytest.mark.anyio,
    pytest.mark.timeout(3 * 3_600),
    pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL and SIGSTOP"),
]

CLIENTS = 16
# What callers are told meanwhile: each says what to do, and that nothing was sent, or that it is in doubt.
CLEAR = {
    "created", "duplicate_create", "state_unusable", "connection_error", "timeout", "shutting_down", "create_unsettled",
}  # fmt: skip


async def test_whatever_happens_to_replicas_each_content_is_sent_once(postgres: str, tmp_path: Path) -> None:
    key, met, wanted = "sk-ant-soak-replicas", Counter[str](), creates_wanted()
    with running_sandbox(clock=ManualClock()) as sandbox, service(sandbox, key, postgres, tmp_path) as whole:
        clients = Clients(whole, sandbox)
        begun = anyio.Event()
        names = named(wanted, begun)
        async with anyio.create_task_group() as chaos:
            happening = await chaos.start(befall, whole, "replicas", met)
            chaos.start_soon(pass_time, sandbox)
            async with anyio.create_task_group() as making:
                for number in range(CLIENTS):
                    making.start_soon(clients.make, names, "auto" if number % 2 else "legacy")
                await begun.wait()
                happening.cancel()
                await anyio.to_thread.run_sync(whole.calm)
            chaos.cancel_scope.cancel()
        print(met, clients.said, f"{clients.lost} answers lost, {len(clients.undecided)} undecided")
        # Nothing is under way any more, so that what the upstream does not list was never accepted.
        sandbox.clock.advance(DOUBT_S + 1)
        await clients.make(iter(list(clients.undecided)), "auto")
        assert len(clients.made) == wanted
        assert sorted(clients.made.values()) == sorted(existing(sandbox.url, key))
        assert set(clients.said) <= CLEAR, clients.said
        assert not [text for text in clients.texts if "internal error" in text or "Traceback" in text]


async def test_a_rolling_restart_loses_no_create(postgres: str, tmp_path: Path) -> None:
    key = "sk-ant-soak-rolling"
    with running_sandbox(clock=ManualClock()) as sandbox, service(sandbox, key, postgres, tmp_path) as whole:
        clients = Clients(whole, sandbox)
        rolled = anyio.Event()
        async with anyio.create_task_group() as tasks:
            for number in range(CLIENTS):
                names = until(rolled, f"r{number}x")
                tasks.start_soon(clients.make, names, "auto" if number % 2 else "legacy")
            await restart_one_after_the_other(whole)
            rolled.set()
        print(clients.said, f"{clients.lost} answers lost")
        assert sorted(clients.made.values()) == sorted(existing(sandbox.url, key))
        # No create was cut: those under way were answered, and what came later went to the other replica.
        assert set(clients.said) <= {"created", "duplicate_create", "shutting_down"}, clients.said


async def pass_time(sandbox: Sandbox) -> None:
    """Let the upstream's time go on as ours does; it stands still otherwise, so that it can be advanced."""
    while True:
        await anyio.sleep(0.1)
        sandbox.clock.advance(0.1)


def named(number: int, all_of_them: anyio.Event) -> Iterator[str]:
    for each in range(number):
        yield f"c{each}"
    all_of_them.set()


def until(over: anyio.Event, name: str) -> Iterator[str]:
    for number in itertools.count():
        if over.is_set():
            return
        yield f"{name}{number}"


async def restart_one_after_the_other(whole: Service) -> None:
    for replica in whole.replicas:
        await anyio.sleep(2)
        replica.signal(signal.SIGTERM)
        assert await anyio.to_thread.run_sync(replica.ended, 60) == 128 + signal.SIGTERM
        await anyio.to_thread.run_sync(replica.start)
    await anyio.sleep(2)
