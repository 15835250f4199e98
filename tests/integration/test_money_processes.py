"""Nothing is paid twice by several processes, nor by one that was killed: real processes on one state folder."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from batches_mcp.sandbox import Sandbox
from tests.support.create_process import AMBIGUOUS, STEPS
from tests.support.creates import INSTANT, agent, create, existing, persist, requests
from tests.support.servers import ROOT
from tests.support.states import another_machine, leases_run_out

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.both_states,
    pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL"),
]

SEEDS = 50


async def hasty(seconds: float) -> None:
    """A body that a killed process sent may still be on its way: some time must pass between looks."""
    await anyio.sleep(min(seconds, 0.2))


HASTY = replace(INSTANT, sleep=hasty)


@contextmanager
def process(
    url: str, key: str, state: Path, arguments: Mapping[str, Any], kill: str = ""
) -> Iterator[subprocess.Popen[str]]:
    """A process that is about to make a create."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.create_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
    ) as popen:
        assert popen.stdin is not None
        asked = {"url": url, "key": key, "state": str(state), "arguments": arguments, "kill": kill}
        popen.stdin.write(json.dumps(asked) + "\n")
        popen.stdin.flush()
        try:
            yield popen
        finally:
            popen.kill()


def go(popen: subprocess.Popen[str]) -> None:
    assert popen.stdin is not None
    assert popen.stdout is not None
    assert popen.stdout.readline() == "ready\n"
    popen.stdin.write("\n")
    popen.stdin.flush()


def outcome(popen: subprocess.Popen[str]) -> tuple[str | None, dict[str, Any]] | None:
    """What came of it; None for a process that was killed."""
    assert popen.stdout is not None
    line = popen.stdout.readline()
    return tuple(json.loads(line)) if line else None


async def killed_and_called_again(step: str, seed: int, sandbox: Sandbox, key: str, state: Path) -> None:
    """After a kill at this step, the same create comes to one batch, which is the one that exists."""
    chance = random.Random(f"{step} {seed}")  # noqa: S311
    arguments = {"requests": requests(chance.randint(1, 40))}
    if step in AMBIGUOUS:
        sandbox.faults.add("reset_after", on="create", key=key)
    with process(sandbox.url, key, state, arguments, step) as popen:
        go(popen)
        assert outcome(popen) is None
    assert len(existing(sandbox.url, key)) <= 1
    leases_run_out()
    async with agent(sandbox.url, key, state=another_machine(state), clock=HASTY) as client:
        batch_id = await persist(client, arguments, passing=sandbox)
        assert existing(sandbox.url, key) == [batch_id]
        again, error = await create(client, arguments)
    assert (again, error["type"]) == (None, "duplicate_create")


@pytest.mark.parametrize("step", STEPS)
async def test_a_kill_at_any_step_costs_nothing(step: str, sandbox: Sandbox, key: str, state: Path) -> None:
    await killed_and_called_again(step, 0, sandbox, key, state)


@pytest.mark.soak
@pytest.mark.parametrize("step", STEPS)
async def test_kills_at_every_step(step: str, sandbox: Sandbox, key: str, tmp_path: Path) -> None:
    for seed in range(SEEDS):
        await killed_and_called_again(step, seed, sandbox, f"{key}-{seed}", tmp_path / str(seed))
    print(f"\nkilled at {step!r}: {SEEDS} creates, {SEEDS} batches")


async def test_a_server_that_starts_looks_for_what_a_killed_one_left(sandbox: Sandbox, key: str, state: Path) -> None:
    arguments = {"requests": requests(3)}
    with process(sandbox.url, key, state, arguments, "answered") as popen:
        go(popen)
        assert outcome(popen) is None
    leases_run_out()
    async with agent(sandbox.url, key, state=another_machine(state)) as client:
        # Other content, so that it is the start that finds it; its own create waits for nothing.
        await persist(client, {"requests": requests(2, "other")})
        batch_id, words = await create(client, arguments)
        assert words["candidate"]
        assert await persist(client, arguments, passing=sandbox) == batch_id
    assert batch_id in existing(sandbox.url, key)
    assert len(existing(sandbox.url, key)) == 2


def at_once(sandbox: Sandbox, key: str, state: Path, names: str) -> list[str]:
    """The batches that processes were answered with, which create the contents of these names at the same time."""
    with ExitStack() as stack:
        processes = [
            stack.enter_context(process(sandbox.url, key, state, {"requests": requests(3, name)})) for name in names
        ]
        for each in processes:
            go(each)
        came = [outcome(each) for each in processes]
    return [each[0] for each in came if each and each[0]]


async def test_processes_that_create_the_same_make_one_batch(sandbox: Sandbox, key: str, state: Path) -> None:
    sandbox.faults.add("delay", on="create", key=key, seconds=0.5)
    made = at_once(sandbox, key, state, "aaa")
    assert [*set(made)] == existing(sandbox.url, key)


async def test_processes_that_create_different_things_make_one_batch_each(
    sandbox: Sandbox, key: str, state: Path
) -> None:
    made = at_once(sandbox, key, state, "abab")
    assert len(existing(sandbox.url, key)) == 2
    assert set(made) == set(existing(sandbox.url, key))
