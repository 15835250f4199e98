"""Nothing is paid twice: creates under every fault, the same content again, and the cap on costs."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.client.client import Client

from batches_mcp.core.errors import UsageError
from batches_mcp.core.limits import Limits
from batches_mcp.core.settings import BatchSettings
from batches_mcp.sandbox import Sandbox, fingerprint
from batches_mcp.store import database
from batches_mcp.store.entry import DOUBT_S
from tests.support.creates import INSTANT, QUICK, agent, create, existing, made_by_another, persist, requests
from tests.support.scripted import HANG, answer, failure, scripted_upstream
from tests.support.servers import (
    CANCEL,
    CREATE,
    DELETE,
    LIST,
    RESULTS,
    RETRIEVE,
    Era,
    Transport,
    connected,
    error_of,
    server_for,
    text_of,
)

pytestmark = [pytest.mark.anyio, pytest.mark.both_states]

THREE = {"requests": requests(3)}
# As many, whose price is not lost when it is rounded.
DEAR = {"requests": requests(3, max_tokens=10_000)}


def posts_of(sandbox: Sandbox, key: str) -> int:
    """How many creates reached the upstream."""
    mine = fingerprint(key)
    return len([each for each in sandbox.requests if each.method == "POST" and each.header("x-api-key") == mine])


@pytest.mark.parametrize(
    ("fault", "options", "posts"),
    [
        ("reset", {}, 2),
        ("reset_after", {}, 1),
        ("server_error", {}, 2),
        ("bad_gateway", {}, 2),
        ("timeout", {}, 2),
        ("overloaded", {}, 2),
        ("rate_limit", {}, 2),
        ("rate_limit", {"retry_after": 1}, 2),
    ],
)
async def test_after_a_fault_there_is_one_batch(
    fault: str, options: Mapping[str, Any], posts: int, sandbox: Sandbox, key: str
) -> None:
    sandbox.faults.add(fault, on="create", key=key, **options)
    async with agent(sandbox.url, key) as client:
        batch_id = await persist(client, THREE, passing=sandbox)
    assert existing(sandbox.url, key) == [batch_id]
    assert posts_of(sandbox, key) == posts


# A fault, and how long until the client cancels its first call, if it does (s).
MATRIX: dict[str, tuple[str, dict[str, Any], float | None]] = {
    "reset before reading": ("reset", {}, None),
    "reset after acceptance": ("reset_after", {}, None),
    "answer past the deadline": ("delay", {"seconds": 0.6}, None),
    "canceled while uploading": ("delay", {"seconds": 0.2}, 0.3),
    "429": ("rate_limit", {}, None),
    "429 with retry-after": ("rate_limit", {"retry_after": 1}, None),
    "500": ("server_error", {}, None),
    "502 in HTML": ("bad_gateway", {}, None),
    "504": ("timeout", {}, None),
    "529": ("overloaded", {}, None),
}


async def one_batch_in_the_end(name: str, seed: int, sandbox: Sandbox, key: str) -> None:
    """Whatever a fault does to some creates, each comes to one batch, which its caller is told."""
    chance = random.Random(f"{name} {seed}")  # noqa: S311
    fault, options, cancel_s = MATRIX[name]
    rows = chance.randint(1, 9)  # the same for all, so that any batch might be anybody's
    contents = [{"requests": requests(rows, f"s{number}-")} for number in range(3)]
    sandbox.faults.add(fault, on="create", key=key, count=chance.randint(1, 3), **options)
    limits = replace(QUICK, call_s=0.4) if name == "answer past the deadline" else QUICK
    made: list[str] = []
    async with agent(sandbox.url, key, limits=limits) as client, anyio.create_task_group() as tasks:

        async def call(arguments: dict[str, Any]) -> None:
            if cancel_s is not None:
                with anyio.move_on_after(chance.random() * cancel_s):
                    await create(client, arguments)
            made.append(await persist(client, arguments, calls=100, passing=sandbox))

        for each in contents:
            tasks.start_soon(call, each)
    assert sorted(made) == sorted(existing(sandbox.url, key))
    assert len(made) == len(contents)


@pytest.mark.parametrize("name", MATRIX)
async def test_creates_at_once_under_a_fault_come_to_one_batch_each(name: str, sandbox: Sandbox, key: str) -> None:
    await one_batch_in_the_end(name, 0, sandbox, key)


@pytest.mark.soak
@pytest.mark.parametrize("name", MATRIX)
async def test_creates_under_every_fault(name: str, sandbox: Sandbox, key: str) -> None:
    seeds = 50
    for seed in range(seeds):
        await one_batch_in_the_end(name, seed, sandbox, f"{key}-{seed}")
    print(f"\n{name}: {3 * seeds} creates, {3 * seeds} batches")


async def test_a_refused_connection_leaves_nothing_behind(state: Path) -> None:
    with scripted_upstream(HANG) as upstream:
        gone = upstream.url
    async with agent(gone, "k") as client:
        for _ in range(2):
            batch_id, error = await create(client, THREE)
            assert (batch_id, error["type"], error["retryable"]) == (None, "connection_error", True)
            assert "no connection to" in error["message"]
    assert not list(state.glob("*/kept/*"))


async def test_a_lost_answer_is_a_candidate_until_its_results_prove_it(sandbox: Sandbox, key: str) -> None:
    sandbox.faults.add("reset_after", on="create", key=key)
    async with agent(sandbox.url, key) as client:
        batch_id, words = await create(client, {**THREE, "label": "May"})
        assert [batch_id] == existing(sandbox.url, key)
        assert words["candidate"] is True
        assert "submitting" not in words
        assert await create(client, THREE) == (batch_id, words)
        listed = (await client.call_tool(LIST, {})).structured_content["batches_mcp"]["known"][batch_id]
        assert (listed["candidate"], listed["label"]) == (True, "May")
        state = (await client.call_tool(RETRIEVE, {"message_batch_id": batch_id})).structured_content
        assert state["batches_mcp"]["candidate"] is True
        assert "create of 3 requests (label 'May') that was not answered" in state["batches_mcp"]["next_step"]
        sandbox.end(str(batch_id))
        state = (await client.call_tool(RETRIEVE, {"message_batch_id": batch_id})).structured_content
        assert "candidate" not in state["batches_mcp"]
        assert state["batches_mcp"]["next_step"].startswith("This is the batch of the create that was not answered.")
        given, words = await create(client, THREE)
        assert (given, "candidate" in words) == (batch_id, False)
        assert (words["poll_after_s"], "has ended: retrieve its results" in words["next_step"]) == (None, True)
        again, error = await create(client, THREE)
    assert again is None
    assert error["type"] == "duplicate_create"
    assert str(batch_id) in error["message"]


async def test_nothing_is_sent_again_while_a_batch_may_still_come_to_be(sandbox: Sandbox, key: str) -> None:
    sandbox.faults.add("server_error", on="create", key=key)
    async with agent(sandbox.url, key) as client:
        batch_id, error = await create(client, THREE)
        assert (batch_id, error["type"], error["status"]) == (None, "api_error", 500)
        assert (error["retryable"], error["in_doubt"]) == (True, True)
        assert "one may still be made for 15 minutes" in error["message"]
        sandbox.clock.advance(DOUBT_S - 1)
        batch_id, error = await create(client, THREE)
        assert (batch_id, error["type"], error["in_doubt"]) == (None, "create_unsettled", True)
        assert "one may still be made for 1 minute." in error["message"]
        assert posts_of(sandbox, key) == 1
        sandbox.clock.advance(2)
        batch_id, _ = await create(client, THREE)
    assert existing(sandbox.url, key) == [batch_id]


async def test_who_accepts_to_pay_twice_need_not_wait(sandbox: Sandbox, key: str) -> None:
    sandbox.faults.add("server_error", on="create", key=key)
    async with agent(sandbox.url, key) as client:
        assert (await create(client, THREE))[1]["in_doubt"]
        batch_id, _ = await create(client, {**THREE, "allow_duplicate": True})
    assert existing(sandbox.url, key) == [batch_id]


async def test_a_batch_that_is_made_late_is_found_by_the_next_call(sandbox: Sandbox, key: str) -> None:
    sandbox.faults.add("timeout", on="create", key=key)
    async with agent(sandbox.url, key) as client:
        assert (await create(client, THREE))[0] is None
        late = made_by_another(sandbox.url, key, 3)  # with the ids of ours: it is the same create, carried out late
        assert (await create(client, THREE))[0] == late
        assert await persist(client, THREE, passing=sandbox) == late
    assert existing(sandbox.url, key) == [late]


async def test_several_are_named_and_the_one_that_ends_with_our_ids_is_taken(sandbox: Sandbox, key: str) -> None:
    sandbox.faults.add("reset_after", on="create", key=key)
    async with agent(sandbox.url, key) as client:
        mine, words = await create(client, THREE)
        assert words["candidate"]
        other = made_by_another(sandbox.url, key, 3, "other")
        batch_id, error = await create(client, THREE)
        assert batch_id is None
        assert error["in_doubt"]
        assert f"may be {other} (created " in error["message"]
        assert f" or {mine} (created " in error["message"]
        for each in (mine, other):
            sandbox.end(str(each))
        assert await persist(client, THREE) == mine
    assert set(existing(sandbox.url, key)) == {mine, other}


async def test_a_batch_that_was_there_before_is_of_another_size_or_known_is_not_taken(
    sandbox: Sandbox, key: str
) -> None:
    made_by_another(sandbox.url, key, 3)
    async with agent(sandbox.url, key) as client:
        sandbox.faults.add("reset", on="create", key=key)
        assert (await create(client, THREE))[1]["in_doubt"]
        known, _ = await create(client, {"requests": requests(3, "known")})
        made_by_another(sandbox.url, key, 4)
        batch_id, error = await create(client, THREE)
        assert batch_id is None
        assert "No batch of these 3 requests is listed" in error["message"]
    assert known in existing(sandbox.url, key)


async def test_a_candidate_that_ends_with_other_ids_is_another_programs(sandbox: Sandbox, key: str) -> None:
    sandbox.faults.add("reset", on="create", key=key)
    async with agent(sandbox.url, key) as client:
        assert (await create(client, THREE))[1]["in_doubt"]
        other = made_by_another(sandbox.url, key, 3, "other")
        batch_id, words = await create(client, THREE)
        assert (batch_id, words["candidate"]) == (other, True)  # nothing tells them apart as yet
        sandbox.end(other)
        state = (await client.call_tool(RETRIEVE, {"message_batch_id": other})).structured_content
        assert "candidate" not in state["batches_mcp"]
        batch_id, error = await create(client, THREE)
        assert (batch_id, error["type"], posts_of(sandbox, key)) == (None, "create_unsettled", 2)
        made = await persist(client, THREE, passing=sandbox)
    assert made != other
    assert set(existing(sandbox.url, key)) == {made, other}


async def test_while_it_cannot_be_looked_nothing_is_sent(sandbox: Sandbox, key: str) -> None:
    sandbox.faults.add("reset_after", on="create", key=key)
    sandbox.faults.add("spend_limit", on="list", count=100, key=key)
    async with agent(sandbox.url, key) as client:
        for _ in range(2):
            batch_id, error = await create(client, THREE)
            assert batch_id is None
            assert "could not be found out" in error["message"]
            assert error["in_doubt"]
        sandbox.faults.clear()
        assert [await persist(client, THREE, passing=sandbox)] == existing(sandbox.url, key)


class TestALongCreate:
    async def test_the_call_ends_in_time_and_the_same_call_attaches(self, sandbox: Sandbox, key: str) -> None:
        sandbox.faults.add("delay", on="create", key=key, seconds=1.5)
        async with agent(sandbox.url, key, limits=replace(QUICK, call_s=0.4)) as client:
            batch_id, words = await create(client, THREE)
            assert batch_id is None
            assert words["submitting"] is True
            assert words["poll_after_s"] > 0
            assert "same requests" in words["next_step"]
            assert [await persist(client, THREE, calls=100)] == existing(sandbox.url, key)

    async def test_canceling_the_call_does_not_stop_it(self, sandbox: Sandbox, key: str) -> None:
        sandbox.faults.add("delay", on="create", key=key, seconds=0.5)
        async with agent(sandbox.url, key) as client:
            with anyio.move_on_after(0.25) as scope:
                await create(client, THREE)
            assert scope.cancelled_caught
            batch_id, words = await create(client, THREE)
            assert "An earlier call with the same requests made this batch" in words["next_step"]
        assert existing(sandbox.url, key) == [batch_id]

    async def test_two_calls_at_once_make_one_batch(self, sandbox: Sandbox, key: str) -> None:
        sandbox.faults.add("delay", on="create", key=key, seconds=1)
        made: list[str | None] = []
        async with agent(sandbox.url, key) as client:
            await create(client, {**THREE, "dry_run": True})  # what is slow to import is so once
            async with anyio.create_task_group() as tasks:

                async def call() -> None:
                    batch_id, words = await create(client, THREE)
                    assert batch_id, words
                    made.append(batch_id)

                for _ in range(3):
                    tasks.start_soon(call)
        assert [made[0]] * 3 == made
        assert existing(sandbox.url, key) == [made[0]]

    async def test_a_server_that_ends_meanwhile_leaves_what_the_next_one_finds(
        self, sandbox: Sandbox, key: str
    ) -> None:
        sandbox.faults.add("reset_after", on="create", key=key)
        sandbox.faults.add("delay", on="list", key=key, count=3, seconds=30)
        async with agent(sandbox.url, key, limits=replace(QUICK, call_s=2.0)) as client:
            assert (await create(client, THREE))[1]["submitting"]
        sandbox.faults.clear()
        async with agent(sandbox.url, key) as client:
            assert [await persist(client, THREE, passing=sandbox)] == existing(sandbox.url, key)

    async def test_silence_is_submitting_and_ends_with_the_server(self) -> None:
        with scripted_upstream(HANG) as upstream:
            async with Client(server_for(upstream.url, limits=Limits(call_s=2.0), clock=INSTANT)) as client:
                assert (await create(client, THREE))[1]["submitting"]
            assert len(upstream.received) == 1


class TestTheSameContent:
    @pytest.mark.parametrize("era", ["auto", "legacy"])
    @pytest.mark.parametrize("transport", ["memory", "stdio", "http"])
    async def test_it_is_refused_unless_wanted(
        self, transport: Transport, era: Era, sandbox: Sandbox, key: str
    ) -> None:
        async with connected(transport, era, sandbox.url, key) as client:
            first, _ = await create(client, {**THREE, "label": "tickets of May"})
            refused = await client.call_tool(CREATE, THREE)
            assert error_of(refused)["type"] == "duplicate_create"
            assert f"batch {first} (label 'tickets of May')" in text_of(refused)
            assert "submitted just now as batch" in text_of(refused)
            second, _ = await create(client, {**THREE, "allow_duplicate": True})
        assert existing(sandbox.url, key) == [second, first]

    async def test_other_betas_and_other_parts_are_other_content(self, sandbox: Sandbox, key: str) -> None:
        async with agent(sandbox.url, key) as client:
            await persist(client, THREE)
            await persist(client, {**THREE, "betas": ["output-300k-2026-03-24"]})
        assert len(existing(sandbox.url, key)) == 2

    async def test_after_a_day_of_the_upstreams_it_is_new(self, sandbox: Sandbox, key: str) -> None:
        wall_s = [1_800_000_000.0]
        clock = replace(INSTANT, wall_s=lambda: wall_s[0])
        async with agent(sandbox.url, key, clock=clock) as client:
            await persist(client, THREE)
            for ours_s, upstreams_s, made in ((-3_600.0, 0, False), (30 * 86_400.0, 86_399, False), (0.0, 2, True)):
                wall_s[0] += ours_s
                sandbox.clock.advance(upstreams_s)
                assert ((await create(client, THREE))[0] is not None) is made

    async def test_another_account_knows_nothing_of_it(self, sandbox: Sandbox, key: str) -> None:
        for each in (key, f"{key}-other"):
            async with agent(sandbox.url, each) as client:
                assert [await persist(client, THREE)] == existing(sandbox.url, each)

    async def test_a_refused_create_may_be_made_again(self, sandbox: Sandbox, key: str) -> None:
        sandbox.faults.add("spend_limit", on="create", key=key)
        async with agent(sandbox.url, key) as client:
            assert (await create(client, THREE))[1]["status"] == 400
            assert [await persist(client, THREE)] == existing(sandbox.url, key)


class TestWhatIsKept:
    @pytest.mark.folder_only
    async def test_requests_are_kept_and_deleted_with_their_batch(
        self, sandbox: Sandbox, key: str, state: Path
    ) -> None:
        async with agent(sandbox.url, key) as client:
            batch_id = await persist(client, THREE)
            while not (kept := list(state.glob("*/kept/*.json.gz"))):  # noqa: ASYNC110 - a thread does it
                await anyio.sleep(0.01)
            for path in [*state.rglob("*")]:
                assert path.stat().st_mode & 0o077 == 0, path
            sandbox.end(batch_id)
            await client.call_tool(DELETE, {"message_batch_id": batch_id})
        assert len(kept) == 1
        assert not list(state.glob("*/kept/*"))

    async def test_a_refused_create_leaves_nothing(self, sandbox: Sandbox, key: str, state: Path) -> None:
        sandbox.faults.add("spend_limit", on="create", key=key)
        async with agent(sandbox.url, key) as client:
            await create(client, THREE)
        assert not list(state.glob("*/kept/*"))

    async def test_a_folder_that_cannot_be_written_to_is_an_error_before_anything_is_sent(self, tmp_path: Path) -> None:
        (tmp_path / "state").write_text("a file where the folder should be")
        with scripted_upstream(answer(200, {"id": "msgbatch_1"})) as upstream:
            async with agent(upstream.url, "k", state=tmp_path / "state") as client:
                batch_id, error = await create(client, THREE)
            assert (batch_id, error["type"]) == (None, "state_unusable")
            assert upstream.received == []

    @pytest.mark.parametrize("damage", ["garbage", "later version", "locked"])
    @pytest.mark.folder_only
    async def test_a_ledger_that_cannot_be_used_is_an_error_before_anything_is_sent(
        self, damage: str, state: Path
    ) -> None:
        with scripted_upstream(answer(200, {"id": "msgbatch_1"})) as upstream:
            async with agent(upstream.url, "k") as client:
                assert (await create(client, THREE))[0] == "msgbatch_1"
            [path] = state.glob("*/ledger.sqlite")
            db = sqlite3.connect(path, isolation_level=None)
            match damage:
                case "garbage":
                    db.close()
                    path.write_bytes(b"not a database at all" * 500)
                case "later version":
                    db.execute("PRAGMA user_version = 99")
                case _:
                    db.execute("BEGIN IMMEDIATE")
            async with agent(upstream.url, "k", limits=replace(QUICK, busy_s=0.05)) as client:
                batch_id, error = await create(client, {"requests": requests(2, "other")})
            db.close()
            assert (batch_id, error["type"]) == (None, "state_unusable")
            assert len(upstream.received) == 1

    @pytest.mark.folder_only
    async def test_an_outcome_that_cannot_be_written_down_loses_no_batch(
        self, sandbox: Sandbox, key: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        update = database.update

        def full(db: sqlite3.Connection, key: int, **values: Any) -> None:
            if "state" in values:
                raise sqlite3.OperationalError("database or disk is full")
            update(db, key, **values)

        async with agent(sandbox.url, key) as client:
            with monkeypatch.context() as patch:
                patch.setattr("batches_mcp.store.ledger.update", full)
                batch_id, words = await create(client, THREE)
            assert "could not be written down" in words["warnings"][0]["message"]
            assert (await create(client, THREE))[0] == batch_id
        async with agent(sandbox.url, key) as client:
            assert await persist(client, THREE) == batch_id
        assert existing(sandbox.url, key) == [batch_id]


class TestWithoutALedger:
    SETTINGS = BatchSettings(ledger=False)

    async def test_nothing_is_kept_and_the_answer_says_what_is_lost(
        self, sandbox: Sandbox, key: str, state: Path
    ) -> None:
        async with agent(sandbox.url, key, batch=self.SETTINGS) as client:
            _, words = await create(client, THREE)
            await persist(client, THREE)
            create_tool = next(tool for tool in (await client.list_tools()).tools if tool.name == CREATE)
            assert (
                not {"label", "allow_duplicate", "retry_of", "retry_types"}
                & create_tool.input_schema["properties"].keys()
            )
            refused = await client.call_tool(CREATE, {**THREE, "label": "x"})
        assert "--no-ledger" in words["warnings"][0]["message"]
        assert "label: not available here: this server was started with --no-ledger" in text_of(refused)
        assert len(existing(sandbox.url, key)) == 2
        assert not state.exists()

    async def test_an_ambiguous_create_is_said_to_be_so(self, sandbox: Sandbox, key: str) -> None:
        sandbox.faults.add("reset_after", on="create", key=key)
        async with agent(sandbox.url, key, batch=self.SETTINGS) as client:
            result = await client.call_tool(CREATE, THREE)
        assert "may have been carried out" in text_of(result)
        assert "Do not repeat the call before that" in text_of(result)

    def test_a_cap_needs_it(self) -> None:
        with pytest.raises(UsageError, match="--max-cost-usd needs the ledger"):
            BatchSettings(ledger=False, max_cost_usd=1)


class TestTheCap:
    async def test_it_counts_what_the_last_24_hours_may_cost(self, sandbox: Sandbox, key: str) -> None:
        async with agent(sandbox.url, key) as client:
            _, words = await create(client, {**DEAR, "dry_run": True})
            high = words["dry_run"]["estimate"]["cost_usd"]["high"]
        settings = BatchSettings(max_cost_usd=high * 2.5)
        async with agent(sandbox.url, f"{key}-capped", batch=settings) as client:
            for name in ("a", "b"):
                await persist(client, {"requests": requests(3, name, max_tokens=10_000)})
            batch_id, error = await create(
                client, {"requests": requests(3, "c", max_tokens=10_000), "allow_duplicate": True}
            )
            assert (batch_id, error["type"], error["retryable"]) == (None, "cost_cap", False)
            assert "only the operator can raise --max-cost-usd" in error["next_step"]
            sandbox.clock.advance(86_401)
            await persist(client, {"requests": requests(3, "c", max_tokens=10_000)})

    async def test_a_refusal_names_small_amounts(self, sandbox: Sandbox, key: str) -> None:
        async with agent(sandbox.url, key, batch=BatchSettings(max_cost_usd=0.0000001)) as client:
            _, error = await create(client, THREE)
        # Three requests of 102 bytes at 2 a token and 0.05 USD a million, and of one token of output at 0.25.
        assert error["message"] == (
            "the batch may cost up to 0.000009 USD, and the last 24 hours came to 0.00 USD: together more than the "
            "0.0000001 USD that this server may spend."
        )

    async def test_it_counts_what_a_batch_really_cost_once_that_is_known(self, sandbox: Sandbox, key: str) -> None:
        async with agent(sandbox.url, key) as client:
            _, words = await create(client, {**DEAR, "dry_run": True})
        settings = BatchSettings(max_cost_usd=words["dry_run"]["estimate"]["cost_usd"]["high"] * 1.5)
        async with agent(sandbox.url, f"{key}-capped", batch=settings) as client:
            batch_id = await persist(client, DEAR)
            refused, error = await create(client, {"requests": requests(3, "b", max_tokens=10_000)})
            assert (refused, error["type"]) == (None, "cost_cap")
            sandbox.end(batch_id)
            await client.call_tool(RESULTS, {"message_batch_id": batch_id})
            await persist(client, {"requests": requests(3, "b", max_tokens=10_000)})

    async def test_two_at_once_do_not_both_slip_under_it(self, sandbox: Sandbox, key: str) -> None:
        async with agent(sandbox.url, key) as client:
            _, words = await create(client, {**DEAR, "dry_run": True})
        settings = BatchSettings(max_cost_usd=words["dry_run"]["estimate"]["cost_usd"]["high"] * 1.5)
        async with agent(sandbox.url, key, batch=settings) as client, anyio.create_task_group() as tasks:
            for name in ("a", "b", "c", "d"):
                tasks.start_soon(create, client, {"requests": requests(3, name, max_tokens=10_000)})
        assert len(existing(sandbox.url, key)) == 1

    async def test_a_model_of_unknown_price_is_refused_under_it(self, sandbox: Sandbox, key: str) -> None:
        odd = [{**each, "params": {**each["params"], "model": "claude-none-9"}} for each in requests(1)]
        async with agent(sandbox.url, key, batch=BatchSettings(max_cost_usd=1)) as client:
            batch_id, error = await create(client, {"requests": odd})
        assert (batch_id, error["type"]) == (None, "cost_unknown")
        assert "claude-none-9" in error["message"]
        assert existing(sandbox.url, key) == []


@pytest.mark.folder_only
async def test_retrieving_still_works_when_the_ledger_does_not(sandbox: Sandbox, key: str, state: Path) -> None:
    async with agent(sandbox.url, key) as client:
        batch_id = await persist(client, THREE)
        [path] = state.glob("*/ledger.sqlite")
        path.write_bytes(b"damaged" * 1000)
        for tool in (RETRIEVE, CANCEL):
            assert not (await client.call_tool(tool, {"message_batch_id": batch_id})).is_error


class TestAnUpstreamThatIsOff:
    """Its gateway gives up early, has the wrong time, or counts what nobody has heard of."""

    async def late(self, sandbox: Sandbox, key: str) -> None:
        """A create that is answered 504 and carried out 40 s later is neither said not to exist nor sent again."""
        sandbox.faults.add("late_create", on="create", key=key, seconds=40)
        async with agent(sandbox.url, key) as client:
            batch_id, error = await create(client, THREE)
            assert (batch_id, error["status"], error["in_doubt"]) == (None, 504, True)
            sandbox.clock.advance(35)
            assert (await create(client, THREE))[0] is None
            sandbox.clock.advance(6)
            batch_id, words = await create(client, THREE)
            assert words["candidate"]
            assert await persist(client, THREE, passing=sandbox) == batch_id
            sandbox.faults.clear()
            assert existing(sandbox.url, key) == [batch_id]
            assert posts_of(sandbox, key) == 1
            page = (await client.call_tool(RESULTS, {"message_batch_id": batch_id})).structured_content
            assert page["totals_complete"]

    async def test_a_create_that_is_carried_out_late(self, sandbox: Sandbox, key: str) -> None:
        await self.late(sandbox, key)

    @pytest.mark.parametrize("seconds", [90, -90, 3_600, -3_600])
    async def test_a_date_that_is_off(self, seconds: int, sandbox: Sandbox, key: str) -> None:
        for on in ("list", "retrieve", "results"):
            sandbox.faults.add("date_skew", on=on, key=key, count=1_000, seconds=seconds)
        await self.late(sandbox, key)

    async def test_a_further_count(self, sandbox: Sandbox, key: str) -> None:
        for on in ("list", "retrieve"):
            sandbox.faults.add("extra_count", on=on, key=key, count=1_000, counter="deferred", number=2)
        await self.late(sandbox, key)


class TestStateThatWasDamaged:
    @pytest.mark.parametrize("damage", [b"", b'{"requests":[{"custom', bytes(400)])
    async def test_a_damaged_copy_proves_nothing_and_sends_nothing(
        self, damage: bytes, sandbox: Sandbox, key: str, state: Path
    ) -> None:
        sandbox.faults.add("reset_after", on="create", key=key)
        async with agent(sandbox.url, key) as client:
            batch_id, words = await create(client, THREE)
            assert words["candidate"]
        for path in state.glob("*/kept/*"):
            path.write_bytes(damage)
        async with agent(sandbox.url, key) as client:
            sandbox.end(str(batch_id))
            for _ in range(2):
                assert not (await client.call_tool(RETRIEVE, {"message_batch_id": batch_id})).is_error
                assert (await create(client, {"requests": requests(2, "other"), "allow_duplicate": True}))[0]
            given, words = await create(client, THREE)  # whose copy is written anew, and proves it
            assert given == batch_id
        assert len(existing(sandbox.url, key)) == 3

    @pytest.mark.parametrize("running", [False, True])
    @pytest.mark.folder_only
    async def test_a_lost_ledger_is_told_before_anything_is_sent(
        self, running: bool, sandbox: Sandbox, key: str, state: Path
    ) -> None:
        def lose(state: Path) -> None:
            for path in state.glob("*/ledger.sqlite*"):
                path.unlink()

        async with agent(sandbox.url, key) as client:
            await persist(client, THREE)
            if running:
                lose(state)
                batch_id, error = await create(client, THREE)
        if not running:
            lose(state)
            async with agent(sandbox.url, key) as client:
                batch_id, error = await create(client, THREE)
        assert (batch_id, error["type"]) == (None, "state_unusable")
        assert "copies of requests that were sent are in" in error["message"]
        assert posts_of(sandbox, key) == 1

    @pytest.mark.folder_only
    async def test_a_clock_that_is_wrong_at_one_start_deletes_nothing(
        self, sandbox: Sandbox, key: str, state: Path
    ) -> None:
        async with agent(sandbox.url, key) as client:
            made = await persist(client, THREE)
        ahead = replace(INSTANT, wall_s=lambda: time.time() + 60 * 86_400)
        async with agent(sandbox.url, key, clock=ahead) as client:
            await persist(client, {"requests": requests(2, "other")})
            assert (await create(client, THREE))[1]["type"] == "duplicate_create"
            sandbox.end(made)
            _, error = await create(client, {"retry_of": made})
            assert error["type"] == "nothing_to_retry"
        assert len([*state.glob("*/kept/*.json*")]) == 2

    @pytest.mark.folder_only
    async def test_a_disk_that_was_full_once_is_no_refusal_for_ever(
        self, sandbox: Sandbox, key: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        full = [True]
        update = database.update

        def sometimes(db: sqlite3.Connection, key: int, **values: Any) -> None:
            if full[0] and "state" in values:
                raise sqlite3.OperationalError("database or disk is full")
            update(db, key, **values)

        monkeypatch.setattr("batches_mcp.store.claims.update", sometimes)
        sandbox.faults.add("spend_limit", on="create", key=key)
        async with agent(sandbox.url, key) as client:
            assert (await create(client, THREE))[1]["status"] == 400
            assert (await create(client, THREE))[0] is None
            full[0] = False
            assert [await persist(client, THREE)] == existing(sandbox.url, key)


async def test_a_foreign_row_in_our_own_results_does_not_make_them_anothers(sandbox: Sandbox, key: str) -> None:
    sandbox.faults.add("reset_after", on="create", key=key)
    async with agent(sandbox.url, key) as client:
        batch_id, words = await create(client, THREE)
        assert words["candidate"]
        sandbox.end(str(batch_id))
        sandbox.clock.advance(DOUBT_S + 1)
        sandbox.faults.add("foreign_rows", on="results", key=key, rows=1, lines=1)
        given, words = await create(client, THREE)
        assert (given, "candidate" in words) == (batch_id, False)
    assert existing(sandbox.url, key) == [batch_id]


async def test_one_list_without_it_is_not_enough_to_send_again() -> None:
    """A list may be older than the answer that it comes in."""
    wall_s = [1_800_000_000.0]
    counts = {"processing": 3, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
    made = {"id": "msgbatch_1", "processing_status": "in_progress", "request_counts": counts}
    nothing, listed = answer(200, {"data": []}), answer(200, {"data": [{**made, "created_at": "2027-01-15T08:00:00Z"}]})
    with scripted_upstream(failure(504, "timeout_error", "late"), *[nothing] * 7, listed) as upstream:
        async with agent(upstream.url, "k", clock=replace(INSTANT, wall_s=lambda: wall_s[0])) as client:
            assert (await create(client, THREE))[1]["in_doubt"]
            wall_s[0] += DOUBT_S + 1
            batch_id, words = await create(client, THREE)
        assert (batch_id, words["candidate"]) == ("msgbatch_1", True)
        assert [each.method for each in upstream.received].count("POST") == 1


async def test_two_lost_creates_of_the_same_content_come_to_a_batch_each(sandbox: Sandbox, key: str) -> None:
    sandbox.faults.add("reset_after", on="create", key=key, count=2)
    async with agent(sandbox.url, key) as client:
        assert (await create(client, THREE))[1]["candidate"]
        await create(client, {**THREE, "allow_duplicate": True})
        second, first = existing(sandbox.url, key)
        for each in (first, second):
            sandbox.end(each)
        assert await persist(client, THREE) == first
        assert await persist(client, THREE) == second
        assert (await create(client, THREE))[1]["type"] == "duplicate_create"
    assert existing(sandbox.url, key) == [second, first]


async def test_results_of_a_candidate_say_so(sandbox: Sandbox, key: str) -> None:
    """Two creates of the same ids look for one batch: whose it is cannot be told."""
    sandbox.faults.add("reset", on="create", key=key, count=2)
    other = [{**each, "params": {**each["params"], "max_tokens": 2}} for each in requests(3)]
    async with agent(sandbox.url, key) as client:
        for each in (requests(3), other):
            assert (await create(client, {"requests": each}))[1]["in_doubt"]
        batch_id = made_by_another(sandbox.url, key, 3)
        sandbox.end(batch_id)
        for each in (requests(3), other):
            assert (await create(client, {"requests": each}))[1]["candidate"]
        page = (await client.call_tool(RESULTS, {"message_batch_id": batch_id})).structured_content
    assert page["batches_mcp"] == {"candidate": True}
    assert "may be another program's" in page["notice"]
    assert len(page["rows"]) == 3
