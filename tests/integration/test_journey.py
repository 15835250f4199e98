"""The life of a batch through our server: every transport, both protocol eras, our capability and the seed's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mcp import MCPError

from batches_mcp.sandbox import ManualClock, Sandbox
from tests.support.servers import (
    CANCEL,
    CAPABILITY,
    CREATE,
    DELETE,
    LIST,
    RESULTS,
    RETRIEVE,
    SEED,
    Era,
    Transport,
    connected,
    error_of,
    text_of,
)

pytestmark = pytest.mark.anyio

HINTS = {
    LIST: (True, False, True),
    CREATE: (False, False, False),
    RETRIEVE: (True, False, True),
    DELETE: (False, True, True),
    CANCEL: (False, False, False),
    RESULTS: (True, False, True),
}


def prompt(text: str) -> dict[str, Any]:
    return {"model": "claude-haiku-5-5", "max_tokens": 50, "messages": [{"role": "user", "content": text}]}


REQUESTS = [
    {"custom_id": "fine", "params": prompt("Say hello.")},
    {"custom_id": "late", "params": prompt("[[sandbox:expired]] Say hello.")},
    {"custom_id": "wrong", "params": prompt("Say hello.") | {"model": "claude-none-9"}},
]


@pytest.mark.parametrize("file", [CAPABILITY, SEED], ids=["ours", "seed"])
@pytest.mark.parametrize("era", ["auto", "legacy"])
@pytest.mark.parametrize("transport", ["memory", "stdio", "http"])
async def test_a_batch_lives_from_create_to_delete(
    transport: Transport, era: Era, file: Path, sandbox: Sandbox, key: str
) -> None:
    assert isinstance(sandbox.clock, ManualClock)
    async with connected(transport, era, sandbox.url, key, file=file) as client:
        listing = await client.list_tools()
        shown = {
            tool.name: (
                tool.annotations.read_only_hint,
                tool.annotations.destructive_hint,
                tool.annotations.idempotent_hint,
            )
            for tool in listing.tools
            if tool.annotations is not None and tool.annotations.open_world_hint is True
        }
        assert shown == HINTS
        assert list(shown) == list(HINTS)

        created = await client.call_tool(
            CREATE, {"requests": REQUESTS} if file == CAPABILITY else {"body": {"requests": REQUESTS}}
        )
        batch = created.structured_content
        assert batch["processing_status"] == "in_progress"
        assert batch["request_counts"]["processing"] == 3
        by_id = {"message_batch_id": batch["id"]}

        early = await client.call_tool(RESULTS, by_id)
        if file == CAPABILITY:
            assert error_of(early)["type"] == "batch_not_ended"
            assert error_of(early)["retry_after_s"] == 10
        else:
            assert error_of(early) | {"request_id": None} == {
                "type": "not_found_error", "status": 404, "request_id": None, "retryable": False,
                "message": f"Message Batch {batch['id']} has no available results.",
                "next_step": "Check the id: nothing answers to it for this credential, or not yet, or no longer.",
            }  # fmt: skip
            assert text_of(early).startswith(
                f"not_found_error (HTTP 404, request {error_of(early)['request_id']}): Message Batch"
            )

        sandbox.clock.advance(60)
        ended = await client.call_tool(RETRIEVE, by_id)
        assert ended.structured_content["processing_status"] == "ended"
        results = await client.call_tool(RESULTS, by_id)
        outcomes = {row["custom_id"]: row.get("result", row)["type"] for row in results.structured_content["rows"]}
        assert outcomes == {"fine": "succeeded", "late": "expired", "wrong": "errored"}
        assert results.structured_content["has_more"] is False

        second = await client.call_tool(
            CREATE, {"requests": REQUESTS[:1]} if file == CAPABILITY else {"body": {"requests": REQUESTS[:1]}}
        )
        other = {"message_batch_id": second.structured_content["id"]}
        canceling = await client.call_tool(CANCEL, other)
        assert canceling.structured_content["processing_status"] == "canceling"
        page = await client.call_tool(LIST, {})
        assert [each["id"] for each in page.structured_content["data"]] == [other["message_batch_id"], batch["id"]]

        gone = await client.call_tool(DELETE, by_id)
        assert gone.structured_content == {"id": batch["id"], "type": "message_batch_deleted"}
        assert error_of(await client.call_tool(RETRIEVE, by_id))["status"] == 404

        bad = await client.call_tool(RETRIEVE, {"message_batch": "x"})
        assert bad.is_error
        assert "message_batch_id: missing; it is required" in text_of(bad)
        assert "message_batch: unknown argument; did you mean `message_batch_id`?" in text_of(bad)
        with pytest.raises(MCPError, match="Unknown tool: no-such-tool") as unknown:
            await client.call_tool("no-such-tool", {})
        assert unknown.value.code == -32602


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_content_is_the_structured_content_as_json_text(era: Era, sandbox: Sandbox, key: str) -> None:
    import json

    async with connected("memory", era, sandbox.url, key) as client:
        result = await client.call_tool(LIST, {})
        assert json.loads(text_of(result)) == result.structured_content
