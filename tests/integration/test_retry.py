"""Retrying a batch: exactly the rows that may succeed, as they were, and what to do about the others."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from batches_mcp.core.settings import BatchSettings
from batches_mcp.sandbox import Sandbox
from tests.support.creates import agent, create, existing, made_by_another, persist, requests
from tests.support.results import relaying, stopping
from tests.support.servers import CREATE, DELETE, REQUEST, Era, Transport, connected, error_of, text_of

pytestmark = [pytest.mark.anyio, pytest.mark.both_states]

OUTCOMES = {
    "fine": "",
    "late": "[[sandbox:expired]]",
    "busy": "[[sandbox:errored overloaded_error]]",
    "fault": "[[sandbox:errored api_error]]",
    "wrong": "[[sandbox:errored invalid_request_error]]",
    "poor": "[[sandbox:credit]]",
    "cut": "[[sandbox:max_tokens]]",
    "no": "[[sandbox:refusal]]",
}


def mixed() -> list[dict[str, Any]]:
    """A request of each outcome, told apart by its system prompt."""
    [base] = requests(1)
    return [
        {
            "custom_id": name,
            "params": {
                **base["params"],
                "model": "claude-haiku-5-5",
                "max_tokens": 100,
                "system": f"prompt of {name}",
                "messages": [{"role": "user", "content": phrase or "hello"}],
            },
        }
        for name, phrase in OUTCOMES.items()
    ]


def last_body(sandbox: Sandbox) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads([each for each in sandbox.requests if each.method == "POST"][-1].body)[
        "requests"
    ]
    return rows


@pytest.mark.parametrize("era", ["auto", "legacy"])
@pytest.mark.parametrize("transport", ["memory", "stdio", "http"])
async def test_exactly_the_retryable_rows_are_sent_as_they_were(
    transport: Transport, era: Era, sandbox: Sandbox, key: str
) -> None:
    async with connected(transport, era, sandbox.url, key) as client:
        parent, _ = await create(client, {"requests": mixed(), "label": "May"})
        sandbox.end(str(parent))
        _, dry = await create(client, {"retry_of": parent, "dry_run": True})
        assert dry["dry_run"]["requests"] == 3
        child, words = await create(client, {"retry_of": parent})
        assert last_body(sandbox) == [each for each in mixed() if each["custom_id"] in ("late", "busy", "fault")]
        for each in (dry, words):
            assert each["needs_fixing_count"] == 2
            assert each["needs_fixing_low_credit"] == 1
            fixing = {row["custom_id"]: row for row in each["needs_fixing"]}
            assert fixing.keys() == {"wrong", "poor"}
            assert all(row["error_type"] == "invalid_request_error" for row in fixing.values())
            assert "credit balance" in fixing["poor"]["error_message"]
        refused = await client.call_tool(CREATE, {"retry_of": parent})
    assert error_of(refused)["type"] == "duplicate_create"
    assert f"batch {child} (label 'May')" in text_of(refused)
    assert existing(sandbox.url, key) == [child, parent]


@pytest.mark.parametrize(
    ("types", "sent"),
    [
        (["expired"], ["late"]),
        (["billing", "invalid"], ["wrong", "poor"]),
        (["refused"], ["no"]),
        (["overloaded_error"], ["busy"]),
    ],
)
async def test_types_replace_the_usual_ones(types: list[str], sent: list[str], sandbox: Sandbox, key: str) -> None:
    async with agent(sandbox.url, key) as client:
        parent = await persist(client, {"requests": mixed()})
        sandbox.end(parent)
        await persist(client, {"retry_of": parent, "retry_types": types})
    assert [each["custom_id"] for each in last_body(sandbox)] == sent


async def test_truncated_rows_go_out_with_more_tokens_or_not_at_all(sandbox: Sandbox, key: str) -> None:
    async with agent(sandbox.url, key) as client:
        parent = await persist(client, {"requests": mixed()})
        sandbox.end(parent)
        named = {"retry_of": parent, "retry_types": ["truncated", "refused"]}
        for more, words in (
            ({}, "1 row was cut at max_tokens, which is 100, and would be cut again. Call again with a retry_max_tokens above 100"),
            ({"retry_max_tokens": 100}, "would be cut again at 100"),
        ):  # fmt: skip
            _, error = await create(client, {**named, **more})
            assert words in error["message"]
        await persist(client, {**named, "retry_max_tokens": 400})
        wrong = await client.call_tool(CREATE, {"retry_of": parent, "retry_max_tokens": 400})
        assert "retry_max_tokens: goes with retry_types [truncated]" in text_of(wrong)
    sent = {each["custom_id"]: each for each in last_body(sandbox)}
    before = {each["custom_id"]: each for each in mixed()}
    before["cut"]["params"] |= {"max_tokens": 400}
    assert sent == {name: before[name] for name in ("cut", "no")}


async def test_an_answer_that_fills_the_context_window_needs_a_shorter_prompt(sandbox: Sandbox, key: str) -> None:
    async with AsyncExitStack() as stack:
        url = stack.enter_context(relaying(sandbox.url, stopping({"a": "model_context_window_exceeded"})))
        client = await stack.enter_async_context(agent(url, key))
        parent = await persist(client, {"requests": [REQUEST]})
        sandbox.end(parent)
        _, error = await create(client, {"retry_of": parent, "retry_types": ["truncated"], "retry_max_tokens": 400})
    assert "a (model_context_window_exceeded)" in error["message"]


async def test_rows_that_may_be_sent_again_are_never_said_to_need_fixing(sandbox: Sandbox, key: str) -> None:
    async with agent(sandbox.url, key) as client:
        parent = await persist(client, {"requests": mixed()})
        sandbox.end(parent)
        _, words = await create(client, {"retry_of": parent, "retry_types": ["expired"], "dry_run": True})
        assert {each["custom_id"] for each in words["needs_fixing"]} == {"wrong", "poor"}
        assert words["not_asked_for"] == {"overloaded_error": 1, "api_error": 1, "truncated": 1, "refused": 1}
        _, error = await create(client, {"retry_of": parent, "retry_types": ["canceled"]})
    assert (
        "Of types that were not asked for it has 1 expired, 1 api_error, 1 overloaded_error, 1 truncated"
        in error["message"]
    )
    assert "2 failed for other reasons, and would fail again: " in error["message"]
    assert "wrong (invalid_request_error)" in error["message"]


async def test_canceled_rows_only_when_named(sandbox: Sandbox, key: str) -> None:
    async with agent(sandbox.url, key) as client:
        parent = await persist(client, {"requests": requests(3)})
        await client.call_tool("anthropic-cancel-message-batch", {"message_batch_id": parent})
        sandbox.end(parent)
        _, dry = await create(client, {"retry_of": parent, "dry_run": True})
        assert dry["dry_run"]["requests"] == 0
        _, error = await create(client, {"retry_of": parent})
        assert error["type"] == "nothing_to_retry"
        child = await persist(client, {"retry_of": parent, "retry_types": ["canceled"]})
        # All of its requests, and yet no duplicate of it.
        assert existing(sandbox.url, key) == [child, parent]
        assert (await create(client, {"retry_of": parent, "retry_types": ["canceled"]}))[1][
            "type"
        ] == "duplicate_create"


async def test_a_retry_keeps_the_betas_and_can_be_retried_itself(sandbox: Sandbox, key: str) -> None:
    failing = [{**each, "params": {**each["params"], "messages": [{"role": "user", "content": "[[sandbox:expired]]"}]}}
               for each in requests(2)]  # fmt: skip
    async with agent(sandbox.url, key) as client:
        batch_id = await persist(client, {"requests": failing, "betas": ["output-300k-2026-03-24"]})
        for _ in range(2):
            sandbox.end(batch_id)
            batch_id = await persist(client, {"retry_of": batch_id})
            post = [each for each in sandbox.requests if each.method == "POST"][-1]
            assert post.header("anthropic-beta") == "output-300k-2026-03-24"
    assert len(existing(sandbox.url, key)) == 3


async def test_what_the_ledger_does_not_know_cannot_be_retried(sandbox: Sandbox, key: str) -> None:
    other = made_by_another(sandbox.url, key, 2)
    sandbox.end(other)
    async with agent(sandbox.url, key) as client:
        refused = await client.call_tool(CREATE, {"retry_of": other})
    assert "the API never gives requests back" in text_of(refused)
    assert "requests_file or requests" in text_of(refused)


async def test_a_batch_that_is_not_over_or_was_deleted_cannot_be_retried(sandbox: Sandbox, key: str) -> None:
    async with agent(sandbox.url, key) as client:
        parent = await persist(client, {"requests": requests(2)})
        assert (await create(client, {"retry_of": parent}))[1]["type"] == "batch_not_ended"
        sandbox.end(parent)
        await client.call_tool(DELETE, {"message_batch_id": parent})
        assert "it was deleted" in (await create(client, {"retry_of": parent}))[1]["message"]


@pytest.mark.parametrize("damage", ["gone", "cut"])
@pytest.mark.folder_only
async def test_kept_requests_that_are_not_whole_are_not_sent(
    damage: str, sandbox: Sandbox, key: str, state: Path
) -> None:
    async with agent(sandbox.url, key) as client:
        parent = await persist(client, {"requests": mixed()})
    sandbox.end(parent)
    [kept] = state.glob("*/kept/*")
    if damage == "gone":
        kept.unlink()
    else:
        kept.write_bytes(kept.read_bytes()[:-30])
    async with agent(sandbox.url, key) as client:
        refused = await client.call_tool(CREATE, {"retry_of": parent})
    assert "cannot be sent again: the copy of its requests is" in text_of(refused)
    assert existing(sandbox.url, key) == [parent]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"retry_types": ["expired"], "requests": requests(1)}, "retry_types: goes with retry_of"),
        ({"retry_of": "msgbatch_1", "requests": requests(1)}, "retry_of: takes the requests that its batch had; leave requests out"),
        ({"retry_of": "msgbatch_1", "retry_types": ["other"]}, "retry_types[0]"),
    ],
)  # fmt: skip
async def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, Any], words: str) -> None:
    async with agent("http://127.0.0.1:9", "k") as client:
        assert words in text_of(await client.call_tool(CREATE, arguments))


async def test_without_a_ledger_there_is_no_retry() -> None:
    async with agent("http://127.0.0.1:9", "k", batch=BatchSettings(ledger=False)) as client:
        refused = await client.call_tool(CREATE, {"retry_of": "msgbatch_1"})
    assert "retry_of: not available here: this server was started with --no-ledger" in text_of(refused)


async def test_no_row_is_retried_twice_unasked(sandbox: Sandbox, key: str) -> None:
    async with agent(sandbox.url, key) as client:
        parent = await persist(client, {"requests": mixed()})
        sandbox.end(parent)
        first = await persist(client, {"retry_of": parent, "retry_types": ["expired", "overloaded_error"]})
        second, words = await create(client, {"retry_of": parent})
        assert second is not None
        assert words["already_retried"] == {first: 2}
        assert [each["custom_id"] for each in last_body(sandbox)] == ["fault"]
        third, error = await create(client, {"retry_of": parent, "retry_types": ["expired", "api_error"]})
        assert (third, error["type"]) == (None, "nothing_to_retry")
        assert f"were sent again already, as batch {first} (1 rows), {second} (1 rows)" in error["message"]
        assert "allow_duplicate" in error["next_step"]
        again = await persist(client, {"retry_of": parent, "retry_types": ["expired"], "allow_duplicate": True})
    assert existing(sandbox.url, key) == [again, second, first, parent]


@pytest.mark.folder_only
async def test_a_retry_whose_copy_is_gone_may_have_sent_any_row(sandbox: Sandbox, key: str, state: Path) -> None:
    async with agent(sandbox.url, key) as client:
        parent = await persist(client, {"requests": mixed()})
        sandbox.end(parent)
        kept = set(state.glob("*/kept/*"))
        child = await persist(client, {"retry_of": parent, "retry_types": ["expired"]})
    for path in set(state.glob("*/kept/*")) - kept:
        if path.name.partition(".")[0] not in {each.name.partition(".")[0] for each in kept}:
            path.write_bytes(b"")
    async with agent(sandbox.url, key) as client:
        refused = await client.call_tool(CREATE, {"retry_of": parent})
    assert f"rows of batch '{parent}' were sent again as batch {child}" in text_of(refused)
    assert existing(sandbox.url, key) == [child, parent]
