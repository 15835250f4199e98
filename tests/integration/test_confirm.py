"""`--confirm-over`: the user is asked, through the host, before a create that may cost more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import anyio
import anyio.to_thread
import mcp.types as t
import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from batches_mcp.core.settings import BatchSettings
from batches_mcp.sandbox import Sandbox
from batches_mcp.store.entry import DOUBT_S
from tests.support.creates import INSTANT, QUICK, create, end, existing, requests
from tests.support.servers import CREATE, Era, command, environment, http_server, server_for
from tests.support.slow_creates import slow_creates

pytestmark = pytest.mark.anyio

ASKING = BatchSettings(confirm_over_usd=0.5)
# Up to 8 million tokens of output, which cost some dollars.
DEAR = requests(1_000, "dear", max_tokens=8_000)
CHEAP = requests(1, "cheap")

eras = pytest.mark.parametrize("era", ["auto", "legacy"])


@dataclass
class User:
    """A user who gives the same answer to every question; `asked` are the questions."""

    answer: Literal["accept", "decline", "cancel"]
    asked: list[t.ElicitRequestParams] = field(default_factory=list)

    async def __call__(self, context: Any, params: t.ElicitRequestParams) -> t.ElicitResult:  # noqa: ARG002 - the SDK's
        self.asked.append(params)
        return t.ElicitResult(action=self.answer, content={} if self.answer == "accept" else None)


@asynccontextmanager
async def host(
    sandbox: Sandbox, key: str, era: Era, user: User | None, batch: BatchSettings = ASKING
) -> AsyncIterator[Client]:
    async with Client(server_for(sandbox.url, key, batch=batch), mode=era, elicitation_callback=user) as client:
        yield client


@eras
async def test_a_yes_sends_what_was_asked_about(era: Era, sandbox: Sandbox, key: str) -> None:
    user = User("accept")
    async with host(sandbox, key, era, user) as client:
        batch_id, words = await create(client, {"requests": DEAR})
        cheap_id, _ = await create(client, {"requests": CHEAP})
    [asked] = user.asked
    high = words["estimate"]["cost_usd"]["high"]
    assert isinstance(asked, t.ElicitRequestFormParams)
    assert asked.requested_schema == {"type": "object", "properties": {}}
    assert asked.message.startswith("Send 1,000 requests as a batch, for up to $")
    assert f"up to ${high:.2f} (half the standard price)?" in asked.message
    assert existing(sandbox.url, key) == [cheap_id, batch_id]


@eras
async def test_a_no_sends_nothing_and_says_so(era: Era, sandbox: Sandbox, key: str) -> None:
    user = User("decline")
    async with host(sandbox, key, era, user) as client:
        batch_id, error = await create(client, {"requests": DEAR})
    assert (batch_id, error["type"], error["retryable"], len(user.asked)) == (None, "declined", False, 1)
    assert "the user said no" in error["message"]
    assert "Nothing was sent" in error["next_step"]
    assert existing(sandbox.url, key) == []


@eras
@pytest.mark.parametrize("user", [None, User("cancel")], ids=["a host without questions", "a question dismissed"])
async def test_without_an_answer_the_error_names_the_price_and_the_way_on(
    era: Era, user: User | None, sandbox: Sandbox, key: str
) -> None:
    async with host(sandbox, key, era, user) as client:
        batch_id, error = await create(client, {"requests": DEAR})
        assert (batch_id, error["type"]) == (None, "confirmation_needed")
        assert existing(sandbox.url, key) == []
        most = float(error["next_step"].rpartition("confirmed_cost_usd ")[2].rstrip("."))
        assert f"${most:.2f}" in error["message"]
        low_id, low = await create(client, {"requests": DEAR, "confirmed_cost_usd": most - 0.02})
        assert (low_id, low["type"]) == (None, "confirmation_needed")
        batch_id, words = await create(client, {"requests": DEAR, "confirmed_cost_usd": most})
        assert words["estimate"]["cost_usd"]["high"] == most
    assert existing(sandbox.url, key) == [batch_id]


async def test_an_answer_to_another_question_does_not_count(sandbox: Sandbox, key: str) -> None:
    async with host(sandbox, key, "auto", User("cancel")) as client:
        earlier = await client.session.call_tool(
            CREATE,
            {"requests": DEAR},
            input_responses={"confirm": t.ElicitResult(action="accept", content={})},
            request_state="Send 1 request as a batch?",
            allow_input_required=True,
        )
    assert isinstance(earlier, t.InputRequiredResult)
    assert existing(sandbox.url, key) == []


async def test_an_unknown_price_is_asked_about_and_cannot_be_confirmed_unseen(sandbox: Sandbox, key: str) -> None:
    unknown = requests(1, "unknown", model="claude-nowhere-1")
    async with host(sandbox, key, "auto", None) as client:
        batch_id, error = await create(client, {"requests": unknown, "confirmed_cost_usd": 1_000})
    assert (batch_id, error["type"]) == (None, "confirmation_needed")
    assert "cannot be estimated" in error["message"]
    user = User("accept")
    async with host(sandbox, key, "auto", user) as client:
        batch_id, _ = await create(client, {"requests": unknown})
    assert batch_id is not None
    assert [each.message for each in user.asked] == ["Send 1 request as a batch, whose cost cannot be estimated?"]


async def test_the_cap_holds_whatever_the_user_says(sandbox: Sandbox, key: str) -> None:
    user = User("accept")
    capped = BatchSettings(confirm_over_usd=0.5, max_cost_usd=1)
    async with host(sandbox, key, "auto", user, capped) as client:
        for arguments in ({}, {"confirmed_cost_usd": 100}):
            _, error = await create(client, {"requests": DEAR, **arguments})
            assert error["type"] == "cost_cap"
    assert user.asked == []


async def test_a_call_that_joins_a_create_asks_nothing(key: str) -> None:
    user, made = User("accept"), list[str | None]()
    with slow_creates() as upstream:
        server = server_for(upstream.url, key, batch=ASKING)
        async with Client(server, elicitation_callback=user) as client, anyio.create_task_group() as tasks:

            async def one(second: anyio.Event | None = None) -> None:
                async def hear(progress: float, total: float | None, message: str | None) -> None:
                    if second is not None:
                        second.set()

                result = await client.call_tool(CREATE, {"requests": DEAR}, progress_callback=hear)
                made.append((result.structured_content or {}).get("id"))

            tasks.start_soon(one)
            await anyio.to_thread.run_sync(upstream.wait_for, 1)
            joined = anyio.Event()
            tasks.start_soon(one, joined)
            await joined.wait()
            upstream.answered.set()
    assert made[0] is not None
    assert made[0] == made[1]
    assert len(upstream.bodies) == len(user.asked) == 1


@eras
async def test_nothing_is_asked_about_a_duplicate(era: Era, sandbox: Sandbox, key: str) -> None:
    user = User("accept")
    async with host(sandbox, key, era, user) as client:
        batch_id, _ = await create(client, {"requests": DEAR})
        assert len(user.asked) == 1
        none, error = await create(client, {"requests": DEAR})
        assert (none, error["type"], len(user.asked)) == (None, "duplicate_create", 1)
        second_id, _ = await create(client, {"requests": DEAR, "allow_duplicate": True})
        assert len(user.asked) == 2
    assert existing(sandbox.url, key) == [second_id, batch_id]


@eras
async def test_nothing_is_asked_about_what_is_left_of_the_cap_does_not_pay(
    era: Era, sandbox: Sandbox, key: str
) -> None:
    user = User("accept")
    async with host(sandbox, key, "auto", None) as client:
        _, words = await create(client, {"requests": DEAR, "dry_run": True})
    high_usd = words["dry_run"]["estimate"]["cost_usd"]["high"]
    async with host(sandbox, key, era, user, replace(ASKING, max_cost_usd=1.5 * high_usd)) as client:
        batch_id, _ = await create(client, {"requests": DEAR})
        none, error = await create(client, {"requests": requests(1_000, "other", max_tokens=8_000)})
    assert (none, error["type"], len(user.asked)) == (None, "cost_cap", 1)
    assert existing(sandbox.url, key) == [batch_id]


@eras
async def test_nothing_is_asked_about_a_batch_that_was_made_or_may_have_been(
    era: Era, sandbox: Sandbox, key: str
) -> None:
    user = User("accept")
    sandbox.faults.add("reset_after", on="create", key=key)
    server = server_for(sandbox.url, key, limits=QUICK, clock=INSTANT, batch=ASKING)
    async with Client(server, mode=era, elicitation_callback=user) as client:
        candidate_id, words = await create(client, {"requests": DEAR})
        assert words["candidate"]
        assert await create(client, {"requests": DEAR}) == (candidate_id, words)
        end(sandbox, str(candidate_id))
        batch_id, words = await create(client, {"requests": DEAR})
        assert "nothing new was sent" in words["next_step"]
    assert existing(sandbox.url, key) == [candidate_id] == [batch_id]
    assert len(user.asked) == 1


@eras
async def test_what_is_certain_not_to_exist_is_asked_about_again(era: Era, sandbox: Sandbox, key: str) -> None:
    user = User("accept")
    sandbox.faults.add("server_error", on="create", key=key)
    server = server_for(sandbox.url, key, limits=QUICK, clock=INSTANT, batch=ASKING)
    async with Client(server, mode=era, elicitation_callback=user) as client:
        none, error = await create(client, {"requests": DEAR})
        assert (none, error["in_doubt"], len(user.asked)) == (None, True, 1)
        none, error = await create(client, {"requests": DEAR})
        assert (none, error["in_doubt"], len(user.asked)) == (None, True, 1)
        sandbox.clock.advance(DOUBT_S + 1)
        batch_id, _ = await create(client, {"requests": DEAR})
    assert existing(sandbox.url, key) == [batch_id]
    assert len(user.asked) == 2


async def test_a_dry_run_asks_nothing(sandbox: Sandbox, key: str) -> None:
    user = User("decline")
    async with host(sandbox, key, "auto", user) as client:
        _, words = await create(client, {"requests": DEAR, "dry_run": True})
    assert "dry_run" in words
    assert user.asked == []


@eras
async def test_the_argument_exists_only_with_the_flag(era: Era, sandbox: Sandbox, key: str) -> None:
    for batch, there in ((ASKING, True), (BatchSettings(), False)):
        async with host(sandbox, key, era, None, batch) as client:
            [tool] = [each for each in (await client.list_tools()).tools if each.name == CREATE]
            assert ("confirmed_cost_usd" in tool.input_schema["properties"]) is there
    async with host(sandbox, key, era, None, BatchSettings()) as client:
        _, error = await create(client, {"requests": CHEAP, "confirmed_cost_usd": 1})
    assert "--confirm-over" in error["message"]


@eras
@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_the_flag_asks_over_every_transport_that_can(
    transport: str, era: Era, sandbox: Sandbox, key: str
) -> None:
    user = User("accept")
    flags = ["--base-url", sandbox.url, "--confirm-over", "0.5"]
    if transport == "stdio":
        program, *arguments = command("serve", *flags)
        parameters = StdioServerParameters(command=program, args=arguments, env=environment(key))
        async with Client(stdio_client(parameters), mode=era, elicitation_callback=user) as client:
            batch_id, _ = await create(client, {"requests": DEAR})
    else:
        with http_server(*flags, key=key) as url:
            async with Client(url, mode=era, elicitation_callback=user) as client:
                batch_id, words = await create(client, {"requests": DEAR})
    if (transport, era) == ("http", "legacy"):
        # Without sessions there is no way from the server to a client of the 2025 revisions.
        assert (batch_id, words["type"], user.asked) == (None, "confirmation_needed", [])
    else:
        assert batch_id is not None
        assert len(user.asked) == 1
