"""One episode of the soak: its schedule carried out by processes against a sandbox behind a gateway, and then judged."""

from __future__ import annotations

import json
import random
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx2
from anyio.streams.memory import MemoryObjectSendStream
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from batches_mcp.sandbox import ManualClock, Sandbox, running_sandbox
from tests.soak.actors import ACTOR_OF, ACTORS, FORKER, Place, Shift
from tests.soak.process import WorldClock, forker
from tests.soak.records import Made, Record, Told, batches_of, lines
from tests.soak.result import Result, line_of
from tests.soak.rules import broken, unsettled
from tests.soak.runs import Run
from tests.soak.schedule import OURS, Ask, Content, Schedule, schedule
from tests.support.gateway import Gateway, running_gateway
from tests.support.servers import CREATE

_KEY = "sk-ant-soak"
_HEADERS = {"x-api-key": _KEY, "anthropic-version": "2023-06-01"}
_FEWEST_CALM_ROUNDS, _CALM_ROUNDS = 3, 8
_RUN_WAIT_S = 20.0
# At most so many creates of earlier rounds are asked for again in each.
_OPEN_PER_ROUND = 16


def play(seed: str, creates: int, folder: Path | None = None) -> Result:
    """Carry out an episode and judge it. `folder` keeps what the processes leave; a temporary one otherwise."""
    with ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True)))
        started = datetime.now(UTC)
        sandbox = stack.enter_context(running_sandbox(clock=ManualClock(started), retry_after_seconds=1))
        gateway = stack.enter_context(running_gateway(sandbox, seed))
        stack.enter_context(forker(folder / FORKER))
        clock = folder / "clock"
        world = WorldClock(clock)
        gateway.passed = lambda: setattr(world, "passed_s", gateway.now_s - started.timestamp())
        place = Place(gateway.url, _KEY, folder, f"{clock}@{started.timestamp()}", lambda: gateway.now_s)
        episode = Episode(schedule(seed, creates), sandbox, gateway, place)
        began_s = time.monotonic()
        anyio.run(episode.main)
        episode.close()
        record = episode.record
        gateway.note("the end")
        told = sorted(record.told, key=lambda each: each.ended_s)
        return Result(
            seed,
            creates,
            broken(record),
            unsettled(record),
            time.monotonic() - began_s,
            episode.counts(),
            gateway.met,
            gateway.log,
            [line_of(each) for each in told],
        )


@dataclass(slots=True)
class Episode:
    """The conductor."""

    schedule: Schedule
    sandbox: Sandbox
    gateway: Gateway
    place: Place
    record: Record = field(init=False)
    runs: list[Run] = field(default_factory=list)
    kills: int = 0
    _shifts: dict[str, MemoryObjectSendStream[Shift]] = field(default_factory=dict)
    _tries: Counter[str] = field(default_factory=Counter)
    _open: dict[str, Content] = field(default_factory=dict)

    def __post_init__(self) -> None:
        strangers = {each.name: each for turn in self.schedule.rounds for each in turn.strangers}
        self.record = Record(self.schedule.contents, strangers)

    async def main(self) -> None:
        if self.schedule.cap_share is not None:
            await self._price()
        async with anyio.create_task_group() as tasks:
            for name, actor in ACTORS.items():
                send, receive = anyio.create_memory_object_stream[Shift](1)
                self._shifts[name] = send
                skew_s = self._chance(f"skew {name}").uniform(-90, 90)
                tasks.start_soon(actor(name, self.place, skew_s, self._told).work, receive)
            for turn in self.schedule.rounds:
                for job in turn.jobs:
                    skew_s = self._chance(f"skew {job.name}").uniform(-90, 90)
                    self.runs.append(Run(job, self.place, skew_s))
                    self.runs[-1].start()
                asks = [*turn.asks, *self._asked_again(_OPEN_PER_ROUND)]
                for ask in turn.asks:
                    self._open[ask.content.name] = ask.content
                self._settle()
                await self._round(asks, turn.strangers, turn.kills_s)
                _ = [run.ended for run in self.runs]
                await self._advance(turn.advance_s)
            await self._calm()
            for send in self._shifts.values():
                send.close()
        await anyio.to_thread.run_sync(self._collect)

    def close(self) -> None:
        for run in self.runs:
            run.kill()

    def counts(self) -> Counter[str]:
        record = self.record
        made = Counter(each.content for each in record.made)
        return Counter(
            {
                "batches": sum(count for name, count in made.items() if name in record.contents),
                "strangers": sum(count for name, count in made.items() if name in record.strangers),
                "posts": len(record.posts),
                "calls": len(record.told),
                "candidates": sum(bool(each.batch_id) and not each.certain for each in record.told),
                "kills": self.kills,
                "jobs": len(self.runs),
                "jobs stuck": len(record.unfinished),
                "jobs that gave up": sum(run.gave_up for run in self.runs),
                "unsettled": len(unsettled(record)),
            }
        )

    def _chance(self, name: str) -> random.Random:
        return random.Random(f"{self.schedule.seed} {name}")

    def _told(self, told: Told) -> None:
        self.record.told.append(told)
        self._settle()

    def _settle(self) -> None:
        for told in self.record.told[-50:]:
            if told.final:
                self._open.pop(told.ask.content.name, None)

    def _asked_again(self, most: int) -> list[Ask]:
        """Creates that are not settled are asked for again, by whoever it is now."""
        asks = []
        for content in list(self._open.values())[:most]:
            self._tries[content.name] += 1
            chance = self._chance(f"{content.name} {self._tries[content.name]}")
            asks.append(Ask(content, "other" if content.other_folder else chance.choice(OURS)))
        return asks

    async def _round(self, asks: Sequence[Ask], strangers: Sequence[Content], kills_s: Any) -> None:
        async with anyio.create_task_group() as tasks:
            for name, send in self._shifts.items():
                mine = [ask for ask in asks if ACTOR_OF[ask.way] == name]
                if not mine and name not in kills_s:
                    continue
                shift = Shift(mine, kills_s.get(name))
                self.kills += name in kills_s
                await send.send(shift)
                tasks.start_soon(shift.done.wait)
            if strangers:
                tasks.start_soon(anyio.to_thread.run_sync, self._strangers, strangers)
            if "run" in kills_s:
                tasks.start_soon(self._kill_runs, kills_s["run"])

    async def _kill_runs(self, after_s: float) -> None:
        await anyio.sleep(after_s)
        for run in self.runs:
            if run.kill():
                self.kills += 1
                run.start()

    def _strangers(self, contents: Sequence[Content]) -> None:
        """Another program of the same account makes batches past our server."""
        for content in contents:
            time.sleep(0.05)
            url = f"{self.sandbox.url}/v1/messages/batches"
            answer = httpx2.post(url, json={"requests": content.requests}, headers=_HEADERS)
            self.gateway.note(f"stranger {content.name}: {answer.raise_for_status().json()['id']}")

    async def _advance(self, seconds: float) -> None:
        await anyio.to_thread.run_sync(self.gateway.advance, seconds)

    async def _calm(self) -> None:
        """Nothing fails any more: what is open is asked for until it is settled, and jobs come to their end."""
        self.gateway.calm = True
        for number in range(_CALM_ROUNDS):
            await self._round(self._asked_again(10_000), (), {})
            await self._advance(1_000.0)
            if self._settled(provable=number >= _FEWEST_CALM_ROUNDS):
                return
        deadline_s = time.monotonic() + _RUN_WAIT_S
        while not self._settled(provable=True) and time.monotonic() < deadline_s:
            await anyio.sleep(0.2)
            await self._advance(100.0)

    def _settled(self, *, provable: bool) -> bool:
        """Whether nothing is open, or, with `provable`, only what custom_ids cannot prove."""
        open_ = [content.common for content in self._open.values()]
        open_ += [any(each.common for each in run.job.contents) for run in self.runs if not run.ended]
        return all(open_) if provable else not open_

    def _collect(self) -> None:
        record = self.record
        for run in self.runs:
            if run.ended and run.code == 0:
                record.outs.append((run.job, lines(run.out)))
            else:
                record.unfinished.append((run.job, f"exit {run.code}: {run.said}"))
            run.kill()
        record.posts = self.gateway.posts
        record.made = [replace(each, rows=self._rows(each)) for each in batches_of(self.sandbox)]
        record.known = self._known()
        for path in sorted(self.place.folder.glob("*.err")):
            text = path.read_text("utf-8", "replace")
            if (at := text.find("Traceback (most recent call last)")) >= 0:
                record.wrong.append(f"{path.name}: {text[at:][-1_500:]}")

    def _rows(self, batch: Made) -> dict[str, Any]:
        url = f"{self.sandbox.url}/v1/messages/batches/{batch.id}/results"
        answer = httpx2.get(url, headers=_HEADERS)
        rows = [json.loads(line) for line in answer.content.splitlines()] if answer.status_code == 200 else []
        return {row["custom_id"]: row for row in rows}

    def _known(self) -> dict[str, str]:
        """The batches of the ledgers by their labels, which are the names of contents."""
        known: dict[str, str] = {}
        for state in ("a", "b"):
            command = self.place.command(
                "jobs", "--json", "--base-url", self.gateway.url, "--state-dir", str(self.place.folder / state)
            )
            done = subprocess.run(
                command, env=self.place.environment(0.0), cwd=self.place.folder, capture_output=True, check=False
            )
            if done.returncode:
                self.record.wrong.append(f"`jobs` ended with {done.returncode}: {done.stderr.decode()[-600:]}")
                continue
            jobs = json.loads(done.stdout)
            known |= {job["batch_id"]: job["label"] for job in jobs if job["batch_id"] and job["label"]}
        return known

    async def _price(self) -> None:
        """Set the cap to a share of what all of it may cost, as a dry run estimates."""
        program, *arguments = self.place.serve("price")
        parameters = StdioServerParameters(
            command=program, args=arguments, env=self.place.environment(0.0), cwd=self.place.folder
        )
        content = Content("price", 1_000, common=False)
        with (self.place.folder / "price.err").open("w") as errors:
            async with Client(stdio_client(parameters, errlog=errors)) as client:
                result = await client.call_tool(CREATE, {"requests": content.requests, "dry_run": True})
        assert result.structured_content is not None
        high_usd = result.structured_content["batches_mcp"]["dry_run"]["estimate"]["cost_usd"]["high"]
        self.record.row_usd = high_usd / content.rows
        ours = sum(each.rows for each in self.schedule.contents.values() if not each.other_folder)
        self.record.cap_usd = ours * self.record.row_usd * (self.schedule.cap_share or 1.0)
        self.place = replace(self.place, cap_usd=self.record.cap_usd)


__all__ = ["Result", "play"]
