"""Creating a batch from checked requests, through the tool."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mcp.client.client import Client

from batches_mcp.core.limits import Limits
from batches_mcp.sandbox import Sandbox, fingerprint
from tests.support.scripted import answer, scripted_upstream
from tests.support.servers import CREATE, REQUEST, Era, Transport, connected, error_of, server_for, text_of

pytestmark = pytest.mark.anyio

FINE = REQUEST | {"custom_id": "fine"}


def named(custom_id: str, **params: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "params": {**FINE["params"], **params}}  # type: ignore[dict-item]


@pytest.mark.parametrize("transport", ["memory", "stdio", "http"])
@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_one_bad_request_stops_all_and_can_be_left_out(
    transport: Transport, era: Era, sandbox: Sandbox, key: str
) -> None:
    mixed = [FINE, named("a:b"), named("fine"), named("late", max_tokens=0), named("odd", model="claude-none-9")]
    left_out_rows = [
        {"where": "requests[1]"},
        {"where": "requests[2]", "custom_id": "fine"},
        {"where": "requests[3]", "custom_id": "late"},
    ]
    async with connected(transport, era, sandbox.url, key) as client:
        refused = await client.call_tool(CREATE, {"requests": mixed})
        assert error_of(refused)["type"] == "invalid_requests"
        for line in (
            "3 of 5 requests have errors, so nothing was sent:",
            "- requests[1].custom_id: 'a:b' has ':'; allowed are letters, digits, - and _",
            "- requests[2].custom_id: 'fine' is the custom_id of requests[0] as well; each must be unique in a batch",
            "- requests[3].params.max_tokens: 0 is less than 1",
        ):
            assert line in text_of(refused)
        assert all(each.method != "POST" or each.header("x-api-key") != fingerprint(key) for each in sandbox.requests)

        dry = (await client.call_tool(CREATE, {"requests": mixed, "dry_run": True})).structured_content
        assert list(dry) == ["batches_mcp"]
        report = dry["batches_mcp"]["dry_run"]
        assert (report["requests"], report["errors"], report["warnings"], report["parts"]) == (5, 3, 1, 1)
        assert report["models"] == {"claude-haiku-5-5": 2, "claude-none-9": 1}
        assert report["invalid"] == {"requests": 3, "rows": left_out_rows}
        assert [problem["where"] for problem in report["problems"]][-1] == ["requests[4].params.model"]

        made = (await client.call_tool(CREATE, {"requests": mixed, "skip_invalid": True})).structured_content
        assert made["request_counts"]["processing"] == 2
        left_out = made["batches_mcp"]["left_out"]
        assert (left_out["requests"], left_out["rows"]) == (3, left_out_rows)
        assert made["batches_mcp"]["warnings"][0]["where"] == ["requests[4].params.model"]
        assert made["id"] in made["batches_mcp"]["next_step"]
        assert f"within an hour, at the latest at {made['expires_at']}" in made["batches_mcp"]["next_step"]


async def test_a_dry_run_needs_no_key_and_sends_nothing() -> None:
    with scripted_upstream(answer(200, {})) as upstream:
        async with Client(server_for(upstream.url, None)) as client:
            result = await client.call_tool(CREATE, {"requests": [FINE], "dry_run": True})
        assert upstream.received == []
    body = json.dumps({"requests": [FINE]}, separators=(",", ":"))
    assert result.structured_content["batches_mcp"]["dry_run"]["bytes"] == len(body)


async def test_betas_become_the_header_and_count_for_the_check() -> None:
    with scripted_upstream(answer(200, {"id": "msgbatch_1"})) as upstream:
        async with Client(server_for(upstream.url)) as client:
            betas = ["output-300k-2026-03-24", "another-2026-01-01"]
            long = named("long", max_tokens=300_000)
            result = await client.call_tool(CREATE, {"requests": [long], "betas": betas})
        assert upstream.received[0].headers["anthropic-beta"] == ",".join(betas)
        assert "warnings" not in result.structured_content["batches_mcp"]
        async with Client(server_for(upstream.url)) as client:
            result = await client.call_tool(CREATE, {"requests": [long], "betas": ["no\nline"]})
        assert result.is_error


async def test_what_one_batch_cannot_hold_is_sent_by_parts() -> None:
    many = [named(f"r{n}") for n in range(5)]
    with scripted_upstream(answer(200, {"id": "msgbatch_1"})) as upstream:
        async with Client(server_for(upstream.url, limits=Limits(batch_requests=2))) as client:
            refused = await client.call_tool(CREATE, {"requests": many})
            assert "make 3 batches. Call once for each, with part 1 to 3." in text_of(refused)
            assert "part: 4 is more than the 3 there are" in text_of(
                await client.call_tool(CREATE, {"requests": many, "part": 4})
            )
            for part in (1, 2, 3):
                assert not (await client.call_tool(CREATE, {"requests": many, "part": part})).is_error
        sent = [[each["custom_id"] for each in json.loads(request.body)["requests"]] for request in upstream.received]
    assert sent == [["r0", "r1"], ["r2", "r3"], ["r4"]]


@pytest.mark.parametrize(("arguments", "words"), [
    ({}, "exactly one of requests, requests_file and rows_file is needed; none is given"),
    ({"requests": "x"}, "requests: expected array, found string"),
    ({"requests": []}, "requests: holds no requests"),
    ({"requests": [7]}, "requests[0]: expected an object with custom_id and params"),
    ({"requests": [FINE], "part": 0}, "part: 0 is less than the minimum of 1"),
])  # fmt: skip
async def test_bad_arguments_are_named(arguments: dict[str, Any], words: str) -> None:
    async with Client(server_for("http://127.0.0.1:9")) as client:
        assert words in text_of(await client.call_tool(CREATE, arguments))
