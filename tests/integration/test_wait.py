"""Waiting for a batch within a call: to its end or to the deadline, through whatever passes, and never in earnest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count, pairwise
from typing import Any

import anyio
import mcp.types as t
import pytest
from mcp.client.client import Client

from batches_mcp.core.limits import Limits
from batches_mcp.exchange.upstream import Clock
from batches_mcp.sandbox import Sandbox, running_sandbox
from tests.support.scripted import HANG, RESET, Step, answer, failure, scripted_upstream
from tests.support.servers import (
    CANCEL,
    CREATE,
    REQUEST,
    RETRIEVE,
    Era,
    Transport,
    connected,
    error_of,
    http_server,
    server_for,
    text_of,
)

pytestmark = pytest.mark.anyio

ID = "msgbatch_1"
START_S = 1_800_000_000.0


class Time:
    """A clock that moves only when something sleeps; `asleep` hears of it."""

    def __init__(self, asleep: Callable[[float], object] = lambda _: None) -> None:
        self.seconds: list[float] = []
        self._asleep = asleep

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self._asleep(seconds)

    def clock(self) -> Clock:
        return Clock(
            now_s=lambda: 100.0 + sum(self.seconds),
            wall_s=lambda: START_S + sum(self.seconds),
            sleep=self.sleep,
            jitter=lambda: 0.0,
        )


def batch(status: str = "in_progress", **changes: Any) -> dict[str, Any]:
    counts = {"processing": 3, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
    if status == "ended":
        counts |= {"processing": 0, "succeeded": 3}
    return {
        "id": ID,
        "type": "message_batch",
        "processing_status": status,
        "request_counts": counts,
        "created_at": "2027-01-15T08:00:00.000001Z",  # START_S
        "archived_at": None,
        **changes,
    }


def state(status: str = "in_progress", retry_after: str | None = None, **changes: Any) -> bytes:
    return answer(200, batch(status, **changes), {"retry-after": retry_after} if retry_after else None)


GONE = failure(404, "not_found_error", "Message Batch msgbatch_1 not found.")
OVERLOADED = failure(529, "overloaded_error", "Overloaded", retry_after="7")

Told = list[tuple[float, float | None, str | None]]


async def waited(
    *steps: Step, wait_seconds: int = 45, time: Time | None = None, limits: Limits | None = None
) -> tuple[t.CallToolResult, Told, int]:
    """A wait against a script: its result, the progress that was told, and how often the upstream was asked."""
    told: Told = []

    async def progress(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total, message))

    with scripted_upstream(*steps) as upstream:
        server = server_for(upstream.url, limits=limits or Limits(attempts=1), clock=(time or Time()).clock())
        async with Client(server) as client:
            result = await client.call_tool(
                RETRIEVE, {"message_batch_id": ID, "wait_seconds": wait_seconds}, progress_callback=progress
            )
        return result, told, len(upstream.received)


def ours(result: t.CallToolResult) -> dict[str, Any]:
    assert not result.is_error, text_of(result)
    remarks: dict[str, Any] = result.structured_content["batches_mcp"]
    return remarks


async def test_without_a_wait_it_asks_once() -> None:
    result, told, asked = await waited(state(), wait_seconds=0)
    assert (asked, told) == (1, [])
    assert {**batch(), "batches_mcp": ours(result)} == result.structured_content
    assert ours(result) == {
        "done": False,
        "waited_s": 0,
        "poll_after_s": 60,
        "next_step": "It goes on without you; most batches end within an hour, all within 24. Tell the user its id, msgbatch_1, and "
        "come back in 1 minute, rather than ask over and over.",
    }


@pytest.mark.parametrize(("status", "wait_seconds"), [("in_progress", 0), ("ended", 30)])
async def test_the_time_an_answer_takes_is_no_wait(status: str, wait_seconds: int) -> None:
    now_s = count(100.0, 0.4)  # each look at the clock finds it later
    clock = replace(Time().clock(), now_s=lambda: next(now_s))
    with scripted_upstream(state(status)) as upstream:
        async with Client(server_for(upstream.url, clock=clock)) as client:
            result = await client.call_tool(RETRIEVE, {"message_batch_id": ID, "wait_seconds": wait_seconds})
    assert ours(result)["waited_s"] == 0


@pytest.mark.parametrize("time", [None, 1_800_000_000, {"seconds": 1}])
async def test_times_that_are_no_text_are_handed_on(time: object) -> None:
    names = ("created_at", "expires_at", "ended_at", "cancel_initiated_at", "archived_at")
    times: dict[str, Any] = dict.fromkeys(names, time)
    result, _, _ = await waited(state(**times), wait_seconds=0)
    assert result.structured_content is not None
    assert {name: result.structured_content[name] for name in names} == times


async def test_it_returns_at_the_end_of_the_batch() -> None:
    time = Time()
    result, _, asked = await waited(state(retry_after="10"), state(retry_after="3"), state("ended"), time=time)
    assert ours(result) == {
        "done": True,
        "waited_s": 13.0,
        "poll_after_s": None,
        "next_step": "Every request succeeded: retrieve the results.",
    }
    assert asked == 3
    assert sum(time.seconds) == 13.0  # what the upstream asked for, then what it asked for next


async def test_without_the_upstreams_pace_it_asks_every_five_seconds_and_last_at_the_deadline() -> None:
    time = Time()
    result, told, asked = await waited(state(), wait_seconds=12, time=time)
    assert asked == 4  # at 0, 5, 10 and 12 s
    assert time.seconds == [5.0, 5.0, 2.0]
    assert ours(result)["waited_s"] == 12.0
    assert [each[:2] for each in told] == [(0.0, 12.0), (5.0, 12.0), (10.0, 12.0)]
    assert {each[2] for each in told} == {"in_progress: 3 requests"}


async def test_progress_increases_with_each_notification() -> None:
    _, told, _ = await waited(state(retry_after="600"), OVERLOADED, state(), wait_seconds=45)
    _, unanswered, _ = await waited(RESET, OVERLOADED, RESET, state(), wait_seconds=45)
    for each in (told, unanswered):
        values = [value for value, _, _ in each]
        assert len(values) > 5
        assert all(before < after for before, after in pairwise(values)), values
        assert {total for _, total, _ in each} == {45.0}


async def test_a_pace_beyond_the_deadline_is_kept_short() -> None:
    time = Time()
    _, _, asked = await waited(state(retry_after="600"), wait_seconds=20, time=time)
    assert (asked, sum(time.seconds)) == (2, 20.0)


async def test_a_wait_over_the_cap_is_cut_and_the_answer_says_so() -> None:
    time = Time()
    result, _, _ = await waited(state(), wait_seconds=600, time=time)
    assert sum(time.seconds) == 45.0
    assert ours(result)["notice"] == "wait_seconds was cut from 600 to 45, the longest this server waits in a call."


@pytest.mark.parametrize(
    "passing", [OVERLOADED, failure(500, "api_error", "Oops"), RESET, answer(502, b"<html>", kind="text/html")]
)
@pytest.mark.parametrize("first", [True, False], ids=["at first", "in between"])
async def test_it_survives_what_passes(passing: Step, first: bool) -> None:
    before = [] if first else [state()]
    result, _, asked = await waited(*before, passing, passing, state("ended"))
    assert ours(result)["done"]
    assert asked == len(before) + 3


async def test_a_failing_upstream_is_asked_at_the_pace_it_names() -> None:
    time = Time()
    await waited(OVERLOADED, state("ended"), time=time)
    assert sum(time.seconds) == 7.0


async def test_a_state_that_is_known_is_told_although_the_upstream_fails_at_the_end() -> None:
    result, _, _ = await waited(state(), OVERLOADED)
    assert ours(result)["waited_s"] == 45.0
    assert result.structured_content["processing_status"] == "in_progress"


async def test_when_there_never_was_a_state_the_error_is_told() -> None:
    result, _, asked = await waited(OVERLOADED, wait_seconds=14)
    assert error_of(result)["type"] == "overloaded_error"
    assert asked == 3


@pytest.mark.parametrize("before", [[], [state()]], ids=["at first", "in between"])
async def test_what_does_not_pass_ends_the_wait(before: list[Step]) -> None:
    result, _, asked = await waited(*before, GONE)
    assert error_of(result)["type"] == "not_found_error"
    assert asked == len(before) + 1


async def test_an_upstream_that_falls_silent_does_not_hold_the_call() -> None:
    time = Time(lambda _: time.seconds.append(44.9))
    result, _, asked = await waited(state(), HANG, time=time)
    assert asked == 2
    assert ours(result)["done"] is False
    assert result.structured_content["processing_status"] == "in_progress"


async def test_a_batch_unknown_a_moment_after_its_creation_is_waited_for() -> None:
    with scripted_upstream(answer(200, batch()), GONE, GONE, state("ended")) as upstream:
        async with Client(server_for(upstream.url, limits=Limits(attempts=1), clock=Time().clock())) as client:
            await client.call_tool(CREATE, {"requests": [REQUEST]})
            result = await client.call_tool(RETRIEVE, {"message_batch_id": ID, "wait_seconds": 30})
    assert ours(result)["done"]


@pytest.mark.parametrize(
    ("age_s", "poll_after_s"), [(0, 60), (-500, 60), (240, 60), (2_000, 500), (86_000, 900)], ids=str
)
async def test_the_older_a_batch_the_later_the_next_look(age_s: int, poll_after_s: int) -> None:
    time = Time()
    time.seconds.append(age_s)  # a clock behind the upstream's is none of the batch's business
    result, _, _ = await waited(state(), wait_seconds=0, time=time)
    assert ours(result)["poll_after_s"] == poll_after_s


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (state("canceling"), "It is being canceled, which takes up to some minutes. Tell the user, and come back"),
        (
            state("ended", request_counts={"processing": 0, "succeeded": 970, "errored": 1_020, "expired": 10}),
            "but 1,020 errored, 10 expired: retrieve the results with result_types [errored, expired], whose",
        ),
        (state("ended", archived_at="2027-03-01T00:00:00Z"), "no longer available"),
        (answer(200, {"id": ID, "unheard_of": True}), "It goes on without you"),
    ],
    ids=["canceling", "failures", "archived", "unheard of"],
)
async def test_the_next_step_fits_the_state(found: Step, words: str) -> None:
    result, _, _ = await waited(found, wait_seconds=0)
    assert words in ours(result)["next_step"]


@pytest.mark.parametrize("wait_seconds", [-1, 1.5, "ten"])
async def test_a_wait_that_is_no_whole_number_is_refused(wait_seconds: Any, sandbox: Sandbox, key: str) -> None:
    async with connected("memory", "auto", sandbox.url, key) as client:
        result = await client.call_tool(RETRIEVE, {"message_batch_id": ID, "wait_seconds": wait_seconds})
    assert "wait_seconds" in text_of(result)
    assert error_of(result)["type"] == "invalid_arguments"


async def test_canceling_the_call_leaves_the_batch_alone(sandbox: Sandbox, key: str) -> None:
    asleep = anyio.Event()
    server = server_for(sandbox.url, key, clock=Clock(sleep=lambda _: _forever(asleep)))
    async with Client(server) as client:
        made = await client.call_tool(CREATE, {"requests": [REQUEST]})
        batch_id = made.structured_content["id"]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, RETRIEVE, {"message_batch_id": batch_id, "wait_seconds": 40})
            await asleep.wait()
            tasks.cancel_scope.cancel()
        found = await client.call_tool(RETRIEVE, {"message_batch_id": batch_id})
    assert found.structured_content["processing_status"] == "in_progress"
    assert found.structured_content["cancel_initiated_at"] is None
    asked = [each for each in sandbox.requests if batch_id in each.path]
    assert {each.method for each in asked} == {"GET"}


async def _forever(asleep: anyio.Event) -> None:
    asleep.set()
    await anyio.sleep_forever()


async def test_the_clock_of_the_batch_runs_on_while_it_is_waited_for(sandbox: Sandbox, key: str) -> None:
    time = Time(sandbox.clock.advance)
    async with Client(server_for(sandbox.url, key, clock=time.clock())) as client:
        made = await client.call_tool(CREATE, {"requests": [REQUEST]})
        which = {"message_batch_id": made.structured_content["id"]}
        result = await client.call_tool(RETRIEVE, {**which, "wait_seconds": 30})
        assert ours(result)["done"]
        assert ours(result)["waited_s"] == 10.0  # the sandbox's retry-after; the batch itself took 5 s
        again = await client.call_tool(RETRIEVE, {**which, "wait_seconds": 30})
        assert ours(again)["waited_s"] == 0
        canceled = await client.call_tool(CANCEL, which)
    assert canceled.is_error


@pytest.mark.parametrize(
    ("transport", "era"),
    [(transport, era) for transport in ("memory", "stdio", "http") for era in ("auto", "legacy")],
)
async def test_every_client_can_wait_and_hears_of_it(transport: Transport, era: Era) -> None:
    told: Told = []

    async def progress(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total, message))

    with running_sandbox(process_seconds=2.5, retry_after_seconds=1) as sandbox:
        async with connected(transport, era, sandbox.url) as client:
            made = await client.call_tool(CREATE, {"requests": [REQUEST]})
            arguments = {"message_batch_id": made.structured_content["id"], "wait_seconds": 40}
            result = await client.call_tool(RETRIEVE, arguments, progress_callback=progress)
    assert ours(result)["done"]
    assert told[0][1:] == (40.0, "in_progress: 1 request")


async def test_the_cap_is_the_operators(sandbox: Sandbox, key: str) -> None:
    async with connected("stdio", "auto", sandbox.url, key, flags=["--wait-cap", "0"]) as client:
        [tool] = [each for each in (await client.list_tools()).tools if each.name == RETRIEVE]
        assert "at most 0 s in one call" in tool.input_schema["properties"]["wait_seconds"]["description"]
        made = await client.call_tool(CREATE, {"requests": [REQUEST]})
        arguments = {"message_batch_id": made.structured_content["id"], "wait_seconds": 40}
        result = await client.call_tool(RETRIEVE, arguments)
    assert "cut from 40 to 0" in ours(result)["notice"]
    with http_server("--base-url", sandbox.url, key=key, BATCHES_MCP_WAIT_CAP="7") as url:
        async with Client(url) as client:
            [tool] = [each for each in (await client.list_tools()).tools if each.name == RETRIEVE]
    assert "at most 7 s in one call" in tool.input_schema["properties"]["wait_seconds"]["description"]


@pytest.mark.parametrize("pace", [{"retry-after": "0.001"}, {"retry-after-ms": "1"}])
async def test_however_short_the_upstreams_pace_it_is_not_asked_without_a_rest(pace: dict[str, str]) -> None:
    with anyio.fail_after(20):
        _, _, asked = await waited(answer(200, batch(), pace), wait_seconds=3)
    assert asked == 4


async def test_an_upstream_that_falls_silent_does_not_hold_a_short_wait() -> None:
    limits = Limits(attempts=1, last_answer_s=0.2)
    with anyio.fail_after(20):
        result, _, asked = await waited(state(), HANG, wait_seconds=1, limits=limits)
    assert (ours(result)["done"], asked) == (False, 2)


async def test_after_a_sleep_of_the_machine_the_state_is_of_now() -> None:
    time = Time(lambda _: time.seconds.append(7_200.0) if len(time.seconds) == 1 else None)
    result, _, asked = await waited(state(), state("ended"), time=time)
    assert (ours(result)["done"], asked) == (True, 2)


async def test_the_id_to_tell_is_in_the_next_step() -> None:
    result, _, _ = await waited(state(), wait_seconds=0)
    assert ID in ours(result)["next_step"]
