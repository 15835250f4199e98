"""Listing more batches than one answer holds, through the tool."""

from __future__ import annotations

import anthropic
import pytest

from batches_mcp.sandbox import Sandbox
from tests.support.servers import LIST, Era, Transport, connected, text_of

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
