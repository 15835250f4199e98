"""Completion of batch ids, from a list that is kept for some seconds."""

from __future__ import annotations

from pathlib import Path

import anyio
import mcp.types as t
import pytest
from mcp import MCPError
from mcp.client.client import Client

from batches_mcp.exchange.upstream import Clock
from batches_mcp.sandbox import Sandbox
from tests.support.scripted import answer, failure, scripted_upstream
from tests.support.servers import CREATE, REQUEST, Era, Transport, connected, server_for

pytestmark = pytest.mark.anyio

STATE = t.ResourceTemplateReference(uri="batch://{message_batch_id}")
RETRY = t.PromptReference(name="retry-failures")
SECRET = "a-secret-of-ours-1234"

eras = pytest.mark.parametrize("era", ["auto", "legacy"])

Reference = t.ResourceTemplateReference | t.PromptReference


async def complete(client: Client, ref: Reference, value: str = "", name: str = "message_batch_id") -> t.Completion:
    return (await client.complete(ref, {"name": name, "value": value})).completion


async def refused(client: Client, ref: Reference, name: str = "message_batch_id") -> MCPError:
    with pytest.raises(MCPError) as caught:
        await complete(client, ref, name=name)
    return caught.value


def page(*ids: str) -> bytes:
    return answer(200, {"data": [{"id": each} for each in ids], "has_more": False})


@eras
@pytest.mark.parametrize("transport", ["memory", "stdio", "http"])
async def test_ids_of_the_newest_batches_are_offered(
    transport: Transport, era: Era, sandbox: Sandbox, key: str
) -> None:
    async with connected(transport, era, sandbox.url, key) as client:
        ids: list[str] = []
        for number in range(3):
            created = await client.call_tool(CREATE, {"requests": [REQUEST | {"custom_id": f"r{number}"}]})
            assert created.structured_content is not None
            ids.insert(0, created.structured_content["id"])
        found = await complete(client, STATE, "msgbatch_")
        assert (found.values, found.total, found.has_more) == (ids, 3, False)
        assert (await complete(client, RETRY, ids[1])).values == [ids[1]]
        assert (await complete(client, STATE, "nothing")).values == []


async def test_the_upstream_is_asked_once_for_some_seconds() -> None:
    now_s = 1_000.0
    with scripted_upstream(page("a1", "b1"), page("a2")) as upstream:
        async with Client(server_for(upstream.url, clock=Clock(now_s=lambda: now_s))) as client:
            async with anyio.create_task_group() as tasks:
                for value in ("a", "b", ""):
                    tasks.start_soon(complete, client, STATE, value)
            now_s += 9
            assert (await complete(client, RETRY, "a")).values == ["a1"]
            assert [received.target for received in upstream.received] == ["/v1/messages/batches?limit=100"]
            now_s += 1
            assert (await complete(client, STATE, "a")).values == ["a2"]
    assert len(upstream.received) == 2


@eras
async def test_no_more_values_than_the_protocol_allows(era: Era) -> None:
    with scripted_upstream(page(*(f"b{number}" for number in range(120)))) as upstream:
        async with Client(server_for(upstream.url), mode=era) as client:
            found = await complete(client, STATE, "b")
    assert (len(found.values), found.total, found.has_more) == (100, 120, True)


@eras
async def test_what_cannot_be_completed_is_refused(era: Era) -> None:
    with scripted_upstream(page("a")) as upstream:
        async with Client(server_for(upstream.url), mode=era) as client:
            unknown = t.ResourceTemplateReference(uri="batch://{id}")
            assert (await refused(client, unknown)).message == "Unknown resource template: batch://{id}"
            error = await refused(client, t.PromptReference(name="nothing"))
            assert (error.code, error.message) == (-32602, "Unknown prompt: nothing")
            error = await refused(client, RETRY, "other")
            assert (error.code, error.message) == (-32602, "other is not an argument of prompt retry-failures")
    assert upstream.received == []


async def test_an_argument_of_which_nothing_is_known_has_no_values(tmp_path: Path) -> None:
    with scripted_upstream(page("a")) as upstream:
        async with Client(server_for(upstream.url, roots=(tmp_path,))) as client:
            submit = t.PromptReference(name="submit-batch-from-file")
            assert (await complete(client, submit, name="file")).values == []
    assert upstream.received == []


@eras
async def test_an_upstream_that_fails_is_told_and_asked_again(era: Era) -> None:
    with scripted_upstream(failure(401, "authentication_error", f"Bad key {SECRET}."), page(f"a-{SECRET}")) as upstream:
        async with Client(server_for(upstream.url, SECRET), mode=era) as client:
            error = await refused(client, STATE)
            assert error.code == -32603
            assert "authentication_error (HTTP 401" in error.message
            assert SECRET not in f"{error.message} {error.data}"
            assert (await complete(client, STATE, "a")).values == ["a-***"]


@pytest.mark.parametrize("body", [{"data": None}, {"data": [1, {"id": 2}, {"id": "a"}]}, {}, []])
async def test_a_list_of_another_shape_is_taken_for_what_is_in_it(body: object) -> None:
    with scripted_upstream(answer(200, body)) as upstream:
        async with Client(server_for(upstream.url)) as client:
            found = (await complete(client, STATE)).values
    assert found == (["a"] if isinstance(body, dict) and isinstance(body.get("data"), list) else [])
