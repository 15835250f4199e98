"""A rotated key is the same account: what the old one made is found with the new one, and nobody else's is."""

from __future__ import annotations

import json

import pytest

from batches_mcp.core.settings import BatchSettings
from batches_mcp.sandbox import Sandbox
from tests.support.creates import agent, create, existing, persist, requests
from tests.support.servers import RESULTS, RETRIEVE, Era, Transport, connected

pytestmark = [pytest.mark.anyio, pytest.mark.both_states]

FAILING = {"messages": [{"role": "user", "content": "[[sandbox:expired]]"}]}


@pytest.mark.parametrize("era", ["auto", "legacy"])
@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_a_new_key_of_the_workspace_finds_what_the_old_one_made(
    transport: Transport, era: Era, sandbox: Sandbox, key: str
) -> None:
    failing = [{**each, "params": {**each["params"], **FAILING}} for each in requests(2)]
    async with connected(transport, era, sandbox.url, f"old-{key}@shared-{key}") as client:
        batch_id = await persist(client, {"requests": failing, "label": "May"})
    async with connected(transport, era, sandbox.url, f"new-{key}@shared-{key}") as client:
        refused, error = await create(client, {"requests": failing})
        assert (refused, error["type"]) == (None, "duplicate_create")
        assert f"batch {batch_id} (label 'May')" in error["message"]
        sandbox.end(batch_id)
        page = (await client.call_tool(RESULTS, {"message_batch_id": batch_id})).structured_content
        assert page["counts"]["expired"] == 2
        child = await persist(client, {"retry_of": batch_id})
    assert existing(sandbox.url, f"any@shared-{key}") == [child, batch_id]


async def test_keys_of_two_workspaces_know_nothing_of_each_other(sandbox: Sandbox, key: str) -> None:
    for workspace in ("one", "two"):
        async with agent(sandbox.url, f"{key}@{workspace}-{key}") as client:
            assert [await persist(client, {"requests": requests(2)})] == existing(sandbox.url, f"x@{workspace}-{key}")


async def test_a_look_is_enough_to_know_the_account(sandbox: Sandbox, key: str) -> None:
    async with agent(sandbox.url, f"old@{key}") as client:
        batch_id = await persist(client, {"requests": requests(2)})
    async with agent(sandbox.url, f"new@{key}") as client:
        await client.call_tool(RETRIEVE, {"message_batch_id": batch_id})
        last = sandbox.requests[-1]
        assert (await create(client, {"requests": requests(2)}))[1]["type"] == "duplicate_create"
        assert sandbox.requests[-2] is last  # the newest batch, as before each create


async def test_the_operator_may_say_whose_batches_these_are(sandbox: Sandbox, key: str) -> None:
    for name, made in (("ours", True), ("ours", False), ("theirs", True)):
        settings = BatchSettings(account=f"{name}-{key}")
        async with agent(sandbox.url, key, batch=settings) as client:
            batch_id, words = await create(client, {"requests": requests(2)})
            assert (batch_id is not None) is made, json.dumps(words)
