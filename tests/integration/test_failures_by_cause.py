"""What failed in a batch is told by cause, and what succeeded but is not finished is told and found as well."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from typing import Any

import pytest
from mcp.client.client import Client

from batches_mcp.sandbox import Sandbox
from tests.support.creates import agent, create, made_by_another, persist, requests
from tests.support.results import ID, batch, jsonl, relaying, stopping, walk
from tests.support.scripted import scripted_upstream
from tests.support.servers import CANCEL, CREATE, RESULTS, RETRIEVE, server_for, text_of

pytestmark = pytest.mark.anyio


def prompts(*phrases: str) -> list[dict[str, Any]]:
    [base] = requests(1)
    return [
        {
            "custom_id": f"r{number}",
            "params": base["params"] | {"max_tokens": 100, "messages": [{"role": "user", "content": phrase}]},
        }
        for number, phrase in enumerate(phrases)
    ]


def errored(custom_id: str, kind: str, message: Any) -> bytes:
    error = {"type": "error", "error": {"type": kind, "message": message}}
    return json.dumps({"custom_id": custom_id, "result": {"type": "errored", "error": error}}).encode() + b"\n"


def stopped(custom_id: str, reason: str) -> bytes:
    message = {"model": "m", "content": [{"type": "text", "text": "x"}], "stop_reason": reason}
    return json.dumps({"custom_id": custom_id, "result": {"type": "succeeded", "message": message}}).encode() + b"\n"


async def got(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, text_of(result)
    content: dict[str, Any] = result.structured_content
    return content


async def counts_of(*lines: bytes) -> dict[str, Any]:
    with scripted_upstream(batch(len(lines)), jsonl(b"".join(lines))) as upstream:
        async with Client(server_for(upstream.url)) as client:
            counts: dict[str, Any] = (await got(client, RESULTS, message_batch_id=ID))["counts"]
    return counts


async def test_causes_come_largest_first_with_an_example_and_whether_another_try_helps() -> None:
    counts = await counts_of(
        errored("a", "invalid_request_error", "prompt is too long: 215,331 tokens > 200000 maximum"),
        errored("b", "overloaded_error", "Overloaded"),
        errored("c", "invalid_request_error", "prompt is too long: 1,204,551 tokens > 200000 maximum"),
        b'{"custom_id": "d", "result": {"type": "expired"}}\n',
        errored("e", "invalid_request_error", "prompt is too long: 7 tokens > 200000 maximum"),
        errored("f", "invalid_request_error", "Your credit balance is too low"),
        b'{"custom_id": "g", "result": {"type": "expired"}}\n',
        stopped("h", "end_turn"),
    )
    assert counts["failures"] == [
        {
            "type": "invalid_request_error",
            "message": "prompt is too long: … tokens > 200000 maximum",
            "count": 3,
            "custom_id": "a",
            "retryable": False,
        },
        {"type": "expired", "message": "not processed before the batch expired", "count": 2, "custom_id": "d",
         "retryable": True},
        {"type": "overloaded_error", "message": "Overloaded", "count": 1, "custom_id": "b", "retryable": True},
        {"type": "invalid_request_error", "message": "Your credit balance is too low", "count": 1, "custom_id": "f",
         "retryable": False},
    ]  # fmt: skip


@pytest.mark.parametrize(
    "messages",
    [
        ["request req_011CTxa9 failed", "request req_022Dq7 failed"],
        ["row-000001-3f9c: no", "row-000002-beef: no"],
        ["id 550e8400-e29b-41d4-a716-446655440000 unknown", "id 12345678-e29b-41d4-a716-000000000000 unknown"],
        ["messages.3.content: Field required", "messages.12.content: Field required"],
        ["6.5 MB > 5 MB", "11.25 MB > 5 MB"],
    ],
)  # fmt: skip
async def test_ids_and_numbers_do_not_split_a_cause(messages: list[str]) -> None:
    lines = [errored(f"r{number}", "invalid_request_error", message) for number, message in enumerate(messages)]
    [cause] = (await counts_of(*lines))["failures"]
    assert cause["count"] == 2
    assert "…" in cause["message"]


async def test_other_words_are_other_causes() -> None:
    counts = await counts_of(
        errored("a", "invalid_request_error", "tools.0: Field required"),
        errored("b", "invalid_request_error", "messages.0: Field required"),
        errored("c", "api_error", "messages.0: Field required"),
        errored("d", "api_error", 7),
    )
    assert [(each["type"], each["message"]) for each in counts["failures"]] == [
        ("invalid_request_error", "tools.0: Field required"),
        ("invalid_request_error", "messages.0: Field required"),
        ("api_error", "messages.0: Field required"),
        ("api_error", ""),
    ]


async def test_at_most_twenty_causes_are_named_and_the_others_are_counted() -> None:
    words = [chr(97 + number // 26) + chr(97 + number % 26) for number in range(300)]
    lines = [errored(f"r{number}", "invalid_request_error", f"bad {word}") for number, word in enumerate(words)]
    counts = await counts_of(errored("x", "invalid_request_error", "bad aa"), *lines)
    assert len(counts["failures"]) == 20
    assert counts["failures"][0]["count"] + counts["failures_not_shown"] + 19 * 1 >= 301 - 101
    assert sum(each["count"] for each in counts["failures"]) + counts["failures_not_shown"] == 301


async def test_what_succeeded_and_is_not_finished_is_counted_and_found(sandbox: Sandbox, key: str) -> None:
    phrases = ["hello", "[[sandbox:max_tokens]]", "[[sandbox:refusal]]", "hello",
               "[[sandbox:max_tokens]]", "[[sandbox:errored]]"]  # fmt: skip
    async with AsyncExitStack() as stack:
        url = stack.enter_context(relaying(sandbox.url, stopping({"r3": "pause_turn"})))
        client = await stack.enter_async_context(agent(url, key))
        batch_id = await persist(client, {"requests": prompts(*phrases)})
        sandbox.end(batch_id)

        async def ids(**more: Any) -> list[str]:
            return sorted([row["custom_id"] for row in await walk(client, message_batch_id=batch_id, **more)])

        counts = (await got(client, RESULTS, message_batch_id=batch_id))["counts"]
        assert counts["attention"] == {"truncated": 2, "refusal": 1, "paused": 1}
        assert await ids(result_types=["truncated"]) == ["r1", "r4"]
        assert await ids(result_types=["refused"]) == ["r2"]
        assert await ids(result_types=["paused"]) == ["r3"]
        assert await ids(result_types=["errored", "truncated"], limit=1) == ["r1", "r4", "r5"]
        assert await ids(result_types=["succeeded"]) == ["r0", "r1", "r2", "r3", "r4"]
        assert await ids(result_types=["truncated"], custom_ids=["r0", "r4"]) == ["r4"]
        file = (
            await got(client, RESULTS, message_batch_id=batch_id, result_types=["refused", "paused"], as_file="csv")
        )["file"]
        assert file["rows"] == 2
        assert file["path"].endswith(f"{batch_id}.refused-paused.csv")
        first = await got(client, RESULTS, message_batch_id=batch_id, result_types=["truncated"], limit=1)
        wrong = {"message_batch_id": batch_id, "cursor": first["next_cursor"], "result_types": ["refused"]}
        assert "other result_types" in text_of(await client.call_tool(RESULTS, wrong))


async def test_what_can_be_sent_again_is_told_with_numbers_and_the_call(sandbox: Sandbox, key: str) -> None:
    phrases = ["hello", "[[sandbox:expired]]", "[[sandbox:errored overloaded_error]]", "[[sandbox:errored invalid_request_error]]",
               "[[sandbox:credit]]", "[[sandbox:max_tokens]]", "[[sandbox:refusal]]"]  # fmt: skip
    async with agent(sandbox.url, key) as client:
        batch_id = await persist(client, {"requests": prompts(*phrases)})
        sandbox.end(batch_id)
        before = (await got(client, RETRIEVE, message_batch_id=batch_id))["batches_mcp"]
        assert "result_types [errored, expired]" in before["next_step"]
        results = (await got(client, RESULTS, message_batch_id=batch_id))["batches_mcp"]
        after = (await got(client, RETRIEVE, message_batch_id=batch_id))["batches_mcp"]
        for each in (results, after):
            assert f"2 can be sent again: create with retry_of {batch_id}." in each["next_step"]
            assert "2 need fixing first" in each["next_step"]
            assert "counts.failures" in each["next_step"]
            assert "1 of these failed because the credit is used up" in each["next_step"]
            assert "1 was truncated" in each["next_step"]
            assert "retry_max_tokens" in each["next_step"]
            assert "1 was refused" in each["next_step"]
        assert after["attention"] == {"truncated": 1, "refusal": 1, "paused": 0}
        assert (after["retryable"], after["needs_fixing"]) == (2, 2)
        child, _ = await create(client, {"retry_of": batch_id})
        again = (await got(client, RETRIEVE, message_batch_id=batch_id))["batches_mcp"]
        assert f"Rows of it were sent again already, as {child}" in again["next_step"]


async def test_of_another_programs_batch_no_retry_is_promised(sandbox: Sandbox, key: str) -> None:
    other = made_by_another(sandbox.url, key, 2)
    sandbox.expire(other)
    async with agent(sandbox.url, key) as client:
        words = (await got(client, RESULTS, message_batch_id=other))["batches_mcp"]["next_step"]
    assert "2 can be sent again: create a batch of their original requests" in words
    assert "retry_of" not in words


async def test_a_batch_without_failures_has_nothing_to_do_but_read(sandbox: Sandbox, key: str) -> None:
    async with agent(sandbox.url, key) as client:
        batch_id = await persist(client, {"requests": requests(2)})
        sandbox.end(batch_id)
        results = await got(client, RESULTS, message_batch_id=batch_id)
        assert results["counts"]["failures"] == []
        assert "next_step" not in results["batches_mcp"]
        refused = text_of(await client.call_tool(CREATE, {"retry_of": batch_id}))
    assert f"every request of batch {batch_id} succeeded, 2 in all, so there is nothing to send again" in refused


async def test_after_a_cancel_it_is_told_what_is_billed(sandbox: Sandbox, key: str) -> None:
    async with agent(sandbox.url, key) as client:
        batch_id = await persist(client, {"requests": requests(3)})
        canceling = (await got(client, CANCEL, message_batch_id=batch_id))["batches_mcp"]["next_step"]
        assert "3 requests" in canceling
        assert "those processed by then keep their results and are billed" in canceling
        sandbox.end(batch_id)
        ended = await got(client, RETRIEVE, message_batch_id=batch_id)
        done, left = ended["request_counts"]["succeeded"], ended["request_counts"]["canceled"]
        assert done + left == 3
        words = f"It was canceled: {done} of its 3 requests succeeded and "
        assert words in ended["batches_mcp"]["next_step"]
        assert ended["batches_mcp"]["billed"]["requests"] == done
        results = await got(client, RESULTS, message_batch_id=batch_id)
        assert words in results["batches_mcp"]["next_step"]
        assert results["batches_mcp"]["billed"] == {"requests": done, "cost_usd": results["usage"]["cost_usd"]}
