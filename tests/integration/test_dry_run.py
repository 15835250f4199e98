"""What a dry run says that the create would do, what the create then does, and what both say of money."""

from __future__ import annotations

from typing import Any

import pytest
from mcp.client.client import Client

from batches_mcp.sandbox import Sandbox
from tests.support.creates import agent, create, persist, requests
from tests.support.servers import RESULTS

pytestmark = pytest.mark.anyio

TWO = {"requests": requests(2, max_tokens=10_000)}
# Two answers of 10,000 tokens at 0.25 USD a million, and what is read.
TWO_USD = "0 to 0.0051 USD"


async def dry(client: Client, **arguments: Any) -> dict[str, Any]:
    _, said = await create(client, {**arguments, "dry_run": True})
    report: dict[str, Any] = said["dry_run"]
    return report


@pytest.mark.parametrize("long", [False, True])
async def test_a_batch_that_succeeds_costs_no_less_than_the_lowest_estimate(
    long: bool, sandbox: Sandbox, key: str
) -> None:
    """The JSON around short requests is longer than they are, and nobody pays for it."""
    tools = [{"name": "n", "input_schema": {"type": "object"}}]
    more = {"tools": tools} if long else {}
    rows = requests(400, "a-custom-id-that-is-long-", model="claude-opus-5-5", **more)
    async with agent(sandbox.url, key) as client:
        low = (await dry(client, requests=rows))["estimate"]["cost_usd"]["low"]
        batch_id = await persist(client, {"requests": rows})
        sandbox.end(batch_id)
        result = await client.call_tool(RESULTS, {"message_batch_id": batch_id, "limit": 1})
    usage = result.structured_content["usage"]
    assert result.structured_content["counts"]["succeeded"] == len(rows)
    assert low <= usage["cost_usd"]
