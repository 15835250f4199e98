"""A call on a batch that the upstream refuses is told what to do about that very batch."""

from __future__ import annotations

import mcp.types as t
import pytest
from mcp import MCPError

from batches_mcp.core.limits import Limits
from batches_mcp.sandbox import Sandbox
from tests.support.creates import agent, persist, requests
from tests.support.scripted import answer, scripted_upstream
from tests.support.servers import CANCEL, DELETE, LIST, RESULTS, RETRIEVE, error_of, text_of

pytestmark = pytest.mark.anyio

ON_ONE = pytest.mark.parametrize("tool", [RETRIEVE, RESULTS, CANCEL, DELETE])


@ON_ONE
async def test_an_unknown_id_is_looked_up_in_the_list(tool: str, sandbox: Sandbox, key: str) -> None:
    async with agent(sandbox.url, key) as client:
        unknown = error_of(await client.call_tool(tool, {"message_batch_id": "msgbatch_01unknown"}))
        formless = error_of(await client.call_tool(tool, {"message_batch_id": "row-000001"}))
    assert (unknown["status"], unknown["type"]) == (404, "not_found_error")
    assert "Check the id. Ids of batches have the form msgbatch_...; list the batches" in unknown["next_step"]
    assert "form msgbatch_..., and 'row-000001' does not. List the batches" in formless["next_step"]


@ON_ONE
async def test_a_batch_that_was_deleted_here_says_so(tool: str, sandbox: Sandbox, key: str) -> None:
    async with agent(sandbox.url, key) as client:
        batch_id = await persist(client, {"requests": requests(1)})
        sandbox.end(batch_id)
        assert not (await client.call_tool(DELETE, {"message_batch_id": batch_id})).is_error
        error = error_of(await client.call_tool(tool, {"message_batch_id": batch_id}))
        assert "This batch was deleted through this server" in error["next_step"]
        with pytest.raises(MCPError, match="deleted through this server") as caught:
            await client.read_resource(f"batch://{batch_id}")
    assert caught.value.error.code == t.INVALID_PARAMS


async def test_what_is_in_progress_is_not_deleted_and_what_has_ended_is_not_canceled(
    sandbox: Sandbox, key: str
) -> None:
    async with agent(sandbox.url, key) as client:
        named = {"message_batch_id": await persist(client, {"requests": requests(1)})}
        early = error_of(await client.call_tool(DELETE, named))
        assert "Wait for its end. Cancel it only if the user wants that" in early["next_step"]
        sandbox.end(named["message_batch_id"])
        late = error_of(await client.call_tool(CANCEL, named))
    assert late["next_step"].startswith("There is nothing to cancel: it has ended.")


@pytest.mark.parametrize(
    ("headers", "end"),
    [
        ({"retry-after": "600", "x-should-retry": "false"}, "tell the user instead. A retry may help, after 600 s."),
        ({"x-should-retry": "false"}, "does not end this limit. Retrying the same call will not help."),
        ({"retry-after": "90"}, "tell the user instead. A retry may help, after 90 s."),
    ],
)
async def test_a_limit_says_how_long_without_contradicting_itself(headers: dict[str, str], end: str) -> None:
    body = {"type": "error", "error": {"type": "rate_limit_error", "message": "Too many requests."}}
    with scripted_upstream(answer(429, body, headers)) as upstream:
        async with agent(upstream.url, "k", limits=Limits(attempts=1)) as client:
            text = text_of(await client.call_tool(LIST, {}))
    assert text.endswith(end)
    assert ("Wait, then call again" in text) == ("retry-after" in headers)
