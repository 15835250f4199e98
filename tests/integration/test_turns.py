"""Many creates at a time: what they hold, and that no other call waits for them."""

from __future__ import annotations

import json
import threading
from typing import Any

import anyio
import anyio.to_thread
import pytest
from mcp.client.client import Client

from batches_mcp.core.limits import Limits
from batches_mcp.work.intake import take
from tests.support.creates import create, requests
from tests.support.servers import LIST, RETRIEVE, server_for
from tests.support.slow_creates import slow_creates

pytestmark = pytest.mark.anyio

CREATES = 45
# More than this many uploads do not go out at a time.
MOST = 16
LONG = Limits(call_s=300.0, upload_s=300.0, progress_s=0.01)


async def ask_the_rest(client: Client) -> None:
    """Calls that are answered by the upstream, and of which the ledger learns."""
    for name, arguments in ((RETRIEVE, {"message_batch_id": "msgbatch_x"}), (LIST, {})):
        result = await client.call_tool(name, arguments)
        assert not result.is_error, result


async def test_calls_are_answered_while_many_creates_are_held() -> None:
    told = [""] * CREATES
    made: list[str | None] = []

    with slow_creates() as upstream:
        async with Client(server_for(upstream.url, limits=LONG)) as client, anyio.create_task_group() as tasks:
            everybody_is_told = anyio.Event()

            async def one(number: int) -> None:
                async def hear(progress: float, total: float | None, message: str | None) -> None:
                    told[number] = message or ""
                    if all(each.startswith("waiting for") for each in told):
                        everybody_is_told.set()

                arguments = {"requests": requests(1, f"c{number}-")}
                result = await client.call_tool("anthropic-create-message-batch", arguments, progress_callback=hear)
                assert not result.is_error, result
                made.append(result.structured_content.get("id"))

            for number in range(CREATES):
                tasks.start_soon(one, number)
            with anyio.fail_after(50):
                await everybody_is_told.wait()
                await ask_the_rest(client)
            held, told_then = len(upstream.bodies), list(told)
            assert made == []
            upstream.answered.set()
    assert held == MOST
    assert told_then.count(f"waiting for its turn: {MOST} creates are sent at a time") >= CREATES - MOST
    assert len(set(made)) == len(set(upstream.bodies)) == len(upstream.bodies) == CREATES


async def test_those_who_wait_are_sent_in_the_order_they_came() -> None:
    with slow_creates() as upstream:
        async with Client(server_for(upstream.url, limits=LONG)) as client, anyio.create_task_group() as tasks:
            for number in range(MOST + 4):
                waits = anyio.Event()

                async def hear(
                    progress: float, total: float | None, message: str | None, waits: anyio.Event = waits
                ) -> None:
                    if message and message.startswith("waiting for"):
                        waits.set()

                async def one(number: int = number, hear: Any = hear) -> None:
                    arguments = {"requests": requests(1, f"c{number}-")}
                    await client.call_tool("anthropic-create-message-batch", arguments, progress_callback=hear)

                tasks.start_soon(one)
                with anyio.fail_after(50):
                    await waits.wait()
            assert len(upstream.bodies) == MOST
            upstream.answered.set()
    ids = [json.loads(body)["requests"][0]["custom_id"] for body in upstream.bodies]
    # Those that go out at the same time may overtake each other; those that waited for the others may not.
    assert set(ids[MOST:]) == {f"c{number}-0" for number in range(MOST, MOST + 4)}


async def test_calls_are_answered_while_many_files_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = threading.Event()

    def slow_take(*arguments: Any) -> Any:
        assert checked.wait(50)
        return take(*arguments)

    with slow_creates() as upstream:
        upstream.answered.set()
        async with Client(server_for(upstream.url, limits=LONG)) as client, anyio.create_task_group() as tasks:
            assert (await create(client, {"requests": requests(1)}))[0]  # from here on there is a ledger
            monkeypatch.setattr("batches_mcp.tools.submit.take", slow_take)
            for number in range(CREATES):
                tasks.start_soon(create, client, {"requests": requests(1, f"c{number}-"), "dry_run": True})
            await anyio.wait_all_tasks_blocked()
            try:
                with anyio.fail_after(20):
                    await ask_the_rest(client)
            finally:
                checked.set()
