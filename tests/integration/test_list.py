"""Listing more batches than one answer holds, through the tool."""

from __future__ import annotations

import json

import anthropic
import pytest

from batches_mcp.sandbox import Sandbox
from tests.e2e.test_cli import run
from tests.support.scripted import answer, scripted_upstream
from tests.support.servers import CREATE, LIST, REQUEST, Era, Transport, connected, text_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def ids(sandbox: Sandbox, key: str) -> list[str]:
    """The ids of 130 batches, newest first: more than one answer holds."""
    with anthropic.Anthropic(base_url=sandbox.url, api_key=key, max_retries=0) as client:
        params = {"model": "claude-haiku-5-5", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}
        made = [client.messages.batches.create(requests=[{"custom_id": "a", "params": params}]) for _ in range(130)]  # type: ignore[typeddict-item]
    return [batch.id for batch in reversed(made)]


@pytest.mark.parametrize(("transport", "era"), [("memory", "auto"), ("stdio", "legacy"), ("http", "legacy")])
async def test_every_batch_is_met_once_in_both_directions(
    transport: Transport, era: Era, sandbox: Sandbox, key: str, ids: list[str]
) -> None:
    async with connected(transport, era, sandbox.url, key) as client:
        for name, follow, backwards in (("after_id", "last_id", False), ("before_id", "first_id", True)):
            cursor = {name: ids[-1]} if backwards else {}
            met: list[str] = []
            while True:
                result = await client.call_tool(LIST, {"limit": 1000, **cursor})
                page = result.structured_content
                assert len(text_of(result)) <= 40_000
                met = (
                    [batch["id"] for batch in page["data"]] + met
                    if backwards
                    else met + [batch["id"] for batch in page["data"]]
                )
                if not page["has_more"]:
                    break
                assert page["batches_mcp"]["cut"] > 0
                cursor = {name: page[follow]}
            assert met == (ids[:-1] if backwards else ids)


async def test_both_cursors_at_once_are_refused(sandbox: Sandbox, key: str) -> None:
    async with connected("memory", "auto", sandbox.url, key) as client:
        result = await client.call_tool(LIST, {"after_id": "a", "before_id": "b"})
    assert result.is_error
    assert "after_id, before_id: only one of the two can be given." in text_of(result)


@pytest.mark.parametrize("strange_id", [5, None, "", ["msgbatch_2"], {"id": "msgbatch_2"}])
async def test_what_has_no_id_of_a_batch_is_handed_on_and_not_learned_from(strange_id: object, key: str) -> None:
    known = {"id": "msgbatch_1", "type": "message_batch", "processing_status": "in_progress", "request_counts": {}}
    ended = {**known, "processing_status": "ended"}
    page = {"data": [{**ended, "id": strange_id}, ended], "has_more": False, "first_id": None, "last_id": "msgbatch_1"}
    with scripted_upstream(answer(200, known), answer(200, page)) as upstream:
        async with connected("memory", "auto", upstream.url, key) as client:
            created = await client.call_tool(CREATE, {"requests": [REQUEST]})
            assert created.structured_content["id"] == "msgbatch_1"
            listed = await client.call_tool(LIST, {})
    assert not listed.is_error, text_of(listed)
    shown = dict(listed.structured_content)
    assert shown.pop("batches_mcp")["known"].keys() == {"msgbatch_1"}
    assert shown == page
    jobs = json.loads(run("jobs", "--json", ANTHROPIC_API_KEY=key, BATCHES_MCP_BASE_URL=upstream.url)[1])
    assert [(job["batch_id"], job["status"]) for job in jobs] == [("msgbatch_1", "ended")]
