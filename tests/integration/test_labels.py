"""What this server knows of its own batches is told wherever they are shown, so that one can be found by its label."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mcp.types as t
import pytest
from mcp.client.client import Client

from batches_mcp.sandbox import Sandbox
from tests.support.creates import agent, create, made_by_another, persist, requests
from tests.support.servers import CANCEL, LIST, REQUEST, RESULTS, RETRIEVE, Era, Transport, connected, text_of

pytestmark = pytest.mark.anyio


async def shown(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, text_of(result)
    content: dict[str, Any] = result.structured_content
    return content


@pytest.mark.parametrize(("transport", "era"), [("memory", "auto"), ("stdio", "legacy"), ("http", "auto")])
async def test_a_label_and_a_source_are_told_wherever_the_batch_is_shown(
    transport: Transport, era: Era, sandbox: Sandbox, key: str, tmp_path: Path
) -> None:
    file = tmp_path / "refunds.jsonl"
    file.write_text(json.dumps(REQUEST))
    other = made_by_another(sandbox.url, key, 3)
    async with connected(transport, era, sandbox.url, key, roots=[tmp_path]) as client:
        batch_id, words = await create(client, {"requests_file": str(file), "label": "Refunds of May"})
        plain, _ = await create(client, {"requests": requests(2)})
        most_usd = words["estimate"]["cost_usd"]["high"]
        refunds = {"label": "Refunds of May", "source": words["source"]["file"],
                   "estimate": {"cost_usd": {"high": most_usd}}}  # fmt: skip
        listed = await shown(client, LIST)
        assert listed["batches_mcp"]["known"].keys() == {batch_id, plain}
        assert listed["batches_mcp"]["known"][batch_id] == refunds
        # What is not there says nothing, and is left out.
        assert listed["batches_mcp"]["known"][plain].keys() == {"estimate"}
        assert {each["id"] for each in listed["data"]} == {batch_id, plain, other}
        for tool in (RETRIEVE, CANCEL):
            ours = (await shown(client, tool, message_batch_id=batch_id))["batches_mcp"]
            assert refunds.items() <= ours.items()
        sandbox.end(str(batch_id))
        results = await shown(client, RESULTS, message_batch_id=batch_id)
        assert refunds.items() <= results["batches_mcp"].items()
        [contents] = (await client.read_resource(f"batch://{batch_id}")).contents
        assert isinstance(contents, t.TextResourceContents)
        assert refunds.items() <= json.loads(contents.text)["batches_mcp"].items()
        assert (
            not {"label", "source", "estimate"}
            & (await shown(client, RETRIEVE, message_batch_id=other))["batches_mcp"].keys()
        )


async def test_the_batch_of_a_label_is_canceled_by_what_the_list_alone_says(sandbox: Sandbox, key: str) -> None:
    async with agent(sandbox.url, key) as client:
        await persist(client, {"requests": requests(2, "a"), "label": "Summaries"})
        wanted = await persist(client, {"requests": requests(2, "b"), "label": "Refunds, second half"})
        known = (await shown(client, LIST))["batches_mcp"]["known"]
        [found] = [batch_id for batch_id, each in known.items() if "refund" in each.get("label", "").lower()]
        canceled = await shown(client, CANCEL, message_batch_id=found)
    assert (found, canceled["processing_status"]) == (wanted, "canceling")


async def test_what_a_batch_really_cost_is_told_once_its_results_have_shown_it(sandbox: Sandbox, key: str) -> None:
    async with agent(sandbox.url, key) as client:
        batch_id = await persist(client, {"requests": requests(2)})
        sandbox.end(batch_id)
        cost_usd = (await shown(client, RESULTS, message_batch_id=batch_id))["usage"]["cost_usd"]
        known = (await shown(client, LIST))["batches_mcp"]["known"]
        retrieved = await shown(client, RETRIEVE, message_batch_id=batch_id)
    assert known[batch_id]["cost_usd"] == retrieved["batches_mcp"]["cost_usd"] == cost_usd


async def test_a_part_and_a_retry_say_of_what(sandbox: Sandbox, key: str) -> None:
    failing = requests(1)[0]["params"] | {"messages": [{"role": "user", "content": "[[sandbox:expired]]"}]}
    async with agent(sandbox.url, key) as client:
        parent = await persist(client, {"requests": [{"custom_id": "a", "params": failing}], "part": 1})
        sandbox.end(parent)
        child = await persist(client, {"retry_of": parent})
        known = (await shown(client, LIST))["batches_mcp"]["known"]
    assert known[parent]["part"] == 1
    assert known[child]["retry_of"] == parent


async def test_a_page_that_is_cut_tells_of_its_own_batches_only(sandbox: Sandbox, key: str) -> None:
    async with agent(sandbox.url, key) as client:
        made = [
            await persist(client, {"requests": requests(1, f"n{number}"), "label": "x" * 200}) for number in range(90)
        ]
        result = await client.call_tool(LIST, {"limit": 1000})
        assert len(text_of(result)) <= 40_000
        page = result.structured_content
        rows = [each["id"] for each in page["data"]]
        assert list(page["batches_mcp"]["known"]) == rows
        assert page["batches_mcp"]["cut"] == 90 - len(rows) > 0
        rest = await shown(client, LIST, limit=1000, after_id=page["last_id"])
    assert rows + [each["id"] for each in rest["data"]] == made[::-1]


async def test_a_ledger_that_cannot_be_read_keeps_no_batch_from_anybody(
    sandbox: Sandbox, key: str, state: Path
) -> None:
    async with agent(sandbox.url, key) as client:
        batch_id = await persist(client, {"requests": requests(1)})
    for ledger in state.glob("*/ledger.sqlite*"):
        ledger.write_bytes(b"no database")
    async with agent(sandbox.url, key) as client:
        page = await shown(client, LIST)
    assert [each["id"] for each in page["data"]] == [batch_id]
    assert "batches_mcp" not in page
