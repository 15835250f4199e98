"""Servers that share their state: what one knows the other knows, and nothing is paid twice when one dies or is cut off."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import pytest
from mcp.client.client import Client

from batches_mcp.core.settings import DATABASE_URL
from batches_mcp.sandbox import Sandbox, fingerprint
from batches_mcp.store.lease import Lease
from batches_mcp.store.ledger import Ledger
from tests.integration.test_money_processes import go, outcome, process
from tests.support.cable import Cable, cable_to
from tests.support.creates import QUICK, agent, create, end, existing, persist, requests
from tests.support.postgres import PASSWORD, fresh_tables, url_of
from tests.support.scripted import answer, scripted_upstream
from tests.support.servers import DELETE, RESULTS, RETRIEVE, http_client, http_server, text_of
from tests.support.slow_creates import slow_creates
from tests.support.states import OBJECT_STORE, leases_run_out

pytestmark = pytest.mark.anyio

THREE = {"requests": requests(3)}
REMOTE = {"Authorization": "Bearer token"}


@pytest.fixture
def kind_of_state(cable: Cable, schema: str, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shared by all servers of a test, over a cable that can be cut."""
    monkeypatch.setenv(DATABASE_URL, url_of("127.0.0.1", schema, cable.port))
    monkeypatch.setenv(OBJECT_STORE, f"file://{state}-objects")


@pytest.fixture
def objects(state: Path) -> Path:
    return Path(f"{state}-objects")


@pytest.fixture
def schema(postgres: str) -> str:
    return fresh_tables(postgres)


@pytest.fixture
def cable(postgres: str) -> Iterator[Cable]:
    with cable_to(postgres) as found:
        yield found


def posts_of(sandbox: Sandbox, key: str) -> int:
    return requests_of(sandbox, key, "POST", "")


def requests_of(sandbox: Sandbox, key: str, method: str, ending: str) -> int:
    mine = [each for each in sandbox.requests if each.header("x-api-key") == fingerprint(key)]
    return len([each for each in mine if each.method == method and each.path.endswith(ending)])


@pytest.fixture
def other(state: Path) -> Path:
    """The cache of a second server."""
    return Path(f"{state}-other")


# What one server knows


async def test_what_one_server_created_is_a_duplicate_at_the_other(sandbox: Sandbox, key: str, other: Path) -> None:
    async with agent(sandbox.url, key) as one, agent(sandbox.url, key, state=other) as two:
        batch_id, _ = await create(one, THREE)
        again, error = await create(two, THREE)
        assert (again, error["type"]) == (None, "duplicate_create")
        assert str(batch_id) in error["message"]
    assert existing(sandbox.url, key) == [batch_id]


async def test_a_page_that_one_server_fetched_is_served_by_the_other(sandbox: Sandbox, key: str, other: Path) -> None:
    async with agent(sandbox.url, key) as one, agent(sandbox.url, key, state=other) as two:
        batch_id, _ = await create(one, THREE)
        end(sandbox, str(batch_id))
        page = {"message_batch_id": batch_id}
        first = (await one.call_tool(RESULTS, page)).structured_content
        fetched = requests_of(sandbox, key, "GET", "/results")
        second = (await two.call_tool(RESULTS, page)).structured_content
        assert first == second
        assert len(first["rows"]) == 3
        assert requests_of(sandbox, key, "GET", "/results") == fetched


async def test_rows_that_failed_are_sent_again_by_a_server_that_never_had_them(
    sandbox: Sandbox, key: str, other: Path
) -> None:
    failing = {"requests": requests(3, messages=[{"role": "user", "content": "[[sandbox:expired]]"}])}
    async with agent(sandbox.url, key) as one:
        batch_id, _ = await create(one, failing)
    end(sandbox, str(batch_id))
    async with agent(sandbox.url, key, state=other) as two:
        again, words = await create(two, {"retry_of": batch_id})
        assert again is not None, words
    assert existing(sandbox.url, key) == [again, batch_id]


async def test_a_deleted_batch_leaves_nothing_in_the_store(
    sandbox: Sandbox, key: str, other: Path, objects: Path
) -> None:
    async with agent(sandbox.url, key) as one, agent(sandbox.url, key, state=other) as two:
        batch_id, _ = await create(one, THREE)
        end(sandbox, str(batch_id))
        await one.call_tool(RESULTS, {"message_batch_id": batch_id})
        assert sorted({path.parts[len(objects.parts)] for path in objects.rglob("*") if path.is_file()}) == [
            "batches-mcp.json", "kept", "spool",
        ]  # fmt: skip
        await two.call_tool(DELETE, {"message_batch_id": batch_id})
        assert [path.name for path in objects.rglob("*") if path.is_file()] == ["batches-mcp.json"]


async def test_a_rotated_key_is_the_same_account_for_all_servers(sandbox: Sandbox, key: str, other: Path) -> None:
    async with agent(sandbox.url, f"old@{key}") as one, agent(sandbox.url, f"new@{key}", state=other) as two:
        await create(one, THREE)
        assert (await create(two, THREE))[1]["type"] == "duplicate_create"


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_file_of_one_process_is_served_by_the_other(
    era: Any, sandbox: Sandbox, key: str, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--base-url", sandbox.url)
    with http_server(*flags, key=key) as one_url, http_server(*flags, "--state-dir", str(other), key=key) as two_url:
        async with http_client(one_url, {}, era) as one, http_client(two_url, {}, era) as two:
            batch_id, _ = await create(one, THREE)
            assert (await create(two, THREE))[1]["type"] == "duplicate_create"
            end(sandbox, str(batch_id))
            wanted = {"message_batch_id": batch_id, "as_file": "csv"}
            content = (await one.call_tool(RESULTS, wanted)).structured_content
            file = content["file"]["url"]
        mine, theirs = (
            httpx2.get(file.replace(one_url.removesuffix("/mcp"), url))
            for url in (one_url.removesuffix("/mcp"), two_url.removesuffix("/mcp"))
        )
        assert (mine.status_code, theirs.status_code) == (200, 200)
        assert mine.content == theirs.content
        assert mine.content.startswith(b"custom_id,")


# A server dies


async def test_what_a_killed_server_had_begun_is_taken_over_once_its_lease_has_run_out(
    sandbox: Sandbox, key: str, state: Path, other: Path
) -> None:
    with process(sandbox.url, key, state, THREE, "whole body") as one:
        go(one)
        assert outcome(one) is None
    made = existing(sandbox.url, key)
    async with agent(sandbox.url, key, state=other, limits=replace(QUICK, call_s=3.0)) as two:
        batch_id, words = await create(two, THREE)
        assert batch_id is None
        assert words["submitting"]
        assert existing(sandbox.url, key) == made
        leases_run_out()
        assert [await persist(two, THREE, passing=sandbox)] == existing(sandbox.url, key)


# The database is gone


async def test_without_the_database_nothing_is_sent(sandbox: Sandbox, key: str, cable: Cable) -> None:
    async with agent(sandbox.url, key) as client:
        await create(client, {"requests": requests(1, "first")})
        before = posts_of(sandbox, key)
        cable.cut()
        batch_id, error = await create(client, THREE)
        assert (batch_id, error["type"], error["retryable"]) == (None, "state_unusable", True)
        assert "the ledger in postgresql://127.0.0.1" in error["message"]
        assert PASSWORD not in str(error)
        assert posts_of(sandbox, key) == before
        status = await client.call_tool(RETRIEVE, {"message_batch_id": existing(sandbox.url, key)[0]})
        assert not status.is_error, text_of(status)
        cable.mend()
        batch_id, _ = await create(client, THREE)
    assert existing(sandbox.url, key)[0] == batch_id
    assert posts_of(sandbox, key) == before + 1


async def test_a_database_that_does_not_answer_keeps_no_other_call_waiting(cable: Cable) -> None:
    # As gateways do, this upstream does not say whose workspace a key is of.
    shown = answer(200, {"id": "msgbatch_1", "processing_status": "in_progress"})
    with scripted_upstream(shown) as upstream, http_server("--base-url", upstream.url) as url:
        async with Client(url) as client, anyio.create_task_group() as tasks:
            with cable.holding(b"account_names") as asked:
                tasks.start_soon(client.call_tool, RETRIEVE, {"message_batch_id": "msgbatch_1"})
                await anyio.to_thread.run_sync(asked.wait)
                async with httpx2.AsyncClient() as http:
                    assert (await http.get(url.replace("/mcp", "/healthz"))).status_code == 200


def cut_before(cable: Cable, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Cut the database off just before the ledger is asked for this, the first time."""
    method: Callable[..., Any] = getattr(Ledger, name)
    times: list[str] = []

    def cut(*arguments: Any, **more: Any) -> Any:
        if not times:
            times.append(name)
            cable.cut()
        return method(*arguments, **more)

    monkeypatch.setattr(Ledger, name, cut)


async def test_what_could_not_be_written_down_is_written_down_once_it_can_be(
    sandbox: Sandbox, key: str, cable: Cable, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_before(cable, monkeypatch, "accepted")
    limits = replace(QUICK, record_again_s=0.05, call_s=5.0)
    async with (
        agent(sandbox.url, key, limits=limits) as one,
        agent(sandbox.url, key, limits=limits, state=other) as two,
    ):
        batch_id, _ = await create(one, THREE)
        assert [batch_id] == existing(sandbox.url, key)
        cable.mend()
        # The first one is at work still, and is not asked again.
        again, words = await create(two, THREE)
        assert again == batch_id or (words["type"] == "duplicate_create" and str(batch_id) in words["message"]), words


async def test_a_database_that_goes_before_the_last_byte_ends_the_create(
    sandbox: Sandbox, key: str, cable: Cable, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_before(cable, monkeypatch, "sent")
    async with agent(sandbox.url, key) as client:
        batch_id, error = await create(client, THREE)
        assert (batch_id, error["type"]) == (None, "state_unusable")
        assert existing(sandbox.url, key) == []
        cable.mend()
        assert [await persist(client, THREE)] == existing(sandbox.url, key)


async def test_a_database_that_goes_after_the_answer_loses_no_batch(
    sandbox: Sandbox, key: str, cable: Cable, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_before(cable, monkeypatch, "accepted")
    async with agent(sandbox.url, key) as client:
        batch_id, words = await create(client, THREE)
        assert existing(sandbox.url, key) == [batch_id]
        assert "could not be written down" in str(words)
        cable.mend()
        assert await persist(client, THREE) == batch_id
    assert posts_of(sandbox, key) == 1


async def test_a_batch_whose_server_could_not_write_it_down_is_found_by_another(
    sandbox: Sandbox, key: str, cable: Cable, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_before(cable, monkeypatch, "accepted")
    async with agent(sandbox.url, key) as one:
        batch_id, _ = await create(one, THREE)
    cable.mend()
    leases_run_out()
    async with agent(sandbox.url, key, state=other) as two:
        assert await persist(two, THREE, passing=sandbox) == batch_id
    assert existing(sandbox.url, key) == [batch_id]


async def test_a_server_that_cannot_renew_its_lease_ends_its_connection(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with slow_creates() as upstream:
        monkeypatch.setattr(Lease, "left_s", property(lambda _: 0.0 if upstream.bodies else 20.0))
        async with agent(upstream.url, key) as client:
            batch_id, error = await create(client, THREE)
            assert batch_id is None
            assert error["in_doubt"]
            assert "ended its connection before another server may take it over" in error["message"]
    assert len(upstream.bodies) == 1


# The store is gone


async def test_without_the_store_nothing_is_sent(sandbox: Sandbox, key: str, objects: Path) -> None:
    async with agent(sandbox.url, key) as client:
        shutil.rmtree(objects)
        objects.write_text("no folder any more")
        batch_id, error = await create(client, THREE)
        assert (batch_id, error["type"], error["retryable"]) == (None, "state_unusable", True)
        assert f"the object store file://{objects} cannot be used" in error["message"]
        assert posts_of(sandbox, key) == 0
        objects.unlink()
        assert [await persist(client, THREE)] == existing(sandbox.url, key)


async def test_without_the_store_results_are_still_shown(sandbox: Sandbox, key: str, objects: Path) -> None:
    async with agent(sandbox.url, key) as client:
        batch_id, _ = await create(client, THREE)
        end(sandbox, str(batch_id))
        shutil.rmtree(objects)
        objects.write_text("no folder any more")
        result = await client.call_tool(RESULTS, {"message_batch_id": batch_id})
        assert not result.is_error, text_of(result)
        assert len(result.structured_content["rows"]) == 3
