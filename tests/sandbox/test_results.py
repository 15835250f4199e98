"""Results: the stream, the rows, and every reason for a row to fail."""

import json
import re
from collections.abc import Callable
from typing import Any

import anthropic
import httpx2
import pytest

from batches_mcp.sandbox import ManualClock, Sandbox, running_sandbox

Ask = Callable[..., dict[str, Any]]
Refusal = Callable[[httpx2.Response], tuple[int, str, str]]
Outcome = Callable[..., dict[str, Any]]

PATH = "/v1/messages/batches"
HI = [{"role": "user", "content": "hi"}]


def test_the_four_outcomes_through_the_sdk(client: anthropic.Anthropic, ask: Ask, clock: ManualClock) -> None:
    requests: Any = [
        ask("ok", "Say hi"),
        ask("wrong", model="claude-does-not-exist-9"),
        ask("late", "[[sandbox:expired]]"),
        *(ask(f"unlucky-{number}") for number in range(4)),
    ]
    batch = client.messages.batches.create(requests=requests)
    clock.advance(2.5)  # of 5 s: three of seven are processed
    client.messages.batches.cancel(batch.id)
    clock.advance(1)
    rows = {row.custom_id: row.result for row in client.messages.batches.results(batch.id)}
    assert len(rows) == 7
    ok = rows["ok"]
    assert ok.type == "succeeded"
    assert (ok.message.role, ok.message.model, ok.message.stop_reason) == ("assistant", "claude-haiku-5-5", "end_turn")
    assert ok.message.usage.service_tier == "batch"
    assert ok.message.content[0].type == "text"
    assert ok.message.content[0].text == "[sandbox] You wrote: Say hi"
    wrong = rows["wrong"]
    assert wrong.type == "errored"
    assert (wrong.error.type, wrong.error.error.type) == ("error", "not_found_error")
    assert wrong.error.error.message == "model: claude-does-not-exist-9"
    assert rows["late"].type == "expired"
    assert {rows[f"unlucky-{number}"].type for number in range(4)} == {"canceled"}


def test_succeeded_row_on_the_wire(outcome: Outcome) -> None:
    params = {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": HI, "system": "Be brief, friend."}
    message = outcome(params)["message"]
    assert re.fullmatch(r"msg_01[a-zA-Z0-9]{22}", message.pop("id"))
    assert message == {
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5-20251001",
        "content": [{"type": "text", "text": "[sandbox] You wrote: hi"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 5,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": 6,
            "service_tier": "batch",
            "inference_geo": "not_available",
        },
    }


VALID = {"model": "claude-haiku-4-5-20251001", "max_tokens": 10, "messages": HI}


@pytest.mark.parametrize(
    ("changes", "error_type", "message"),
    [
        ({"messages": None}, "invalid_request_error", "messages: Field required"),
        ({"model": None}, "invalid_request_error", "model: Field required"),
        ({"max_tokens": None}, "invalid_request_error", "max_tokens: Field required"),
        ({"messages": []}, "invalid_request_error", "messages: at least one message is required"),
        ({"messages": "hi"}, "invalid_request_error", "messages: Input should be a valid list"),
        ({"model": 5}, "invalid_request_error", "model: Input should be a valid string"),
        ({"max_tokens": "9"}, "invalid_request_error", "max_tokens: Input should be a valid integer"),
        ({"max_tokens": True}, "invalid_request_error", "max_tokens: Input should be a valid integer"),
        ({"model": "claude-sonnet-4-20250514"}, "not_found_error", "model: claude-sonnet-4-20250514"),
        ({"max_tokens": 0}, "invalid_request_error", "max_tokens: must be greater than or equal to 1"),
        (
            {"max_tokens": 9999999},
            "invalid_request_error",
            f"max_tokens: 9999999 > 64000, which is the maximum allowed number of output tokens for {VALID['model']}",
        ),
        (
            {"max_tokens": 128_001, "model": "claude-opus-5-5"},
            "invalid_request_error",
            "max_tokens: 128001 > 128000, which is the maximum allowed number of output tokens for claude-opus-5-5",
        ),
        ({"stream": True}, "invalid_request_error", '"stream=True" is not supported in the Message Batches API'),
        ({"speed": "fast"}, "invalid_request_error", '"speed" is not supported in the Message Batches API'),
        ({"fallbacks": []}, "invalid_request_error", '"fallbacks" is not supported in the Message Batches API'),
        ({"temperature": 1.0}, "invalid_request_error", "temperature: Extra inputs are not permitted"),
        ({"top_p": 1}, "invalid_request_error", "top_p: Extra inputs are not permitted"),
        ({"top_k": 5}, "invalid_request_error", "top_k: Extra inputs are not permitted"),
        ({"colour": "red"}, "invalid_request_error", "colour: Extra inputs are not permitted"),
        ({"mcp_servers": []}, "invalid_request_error", "mcp_servers: Extra inputs are not permitted"),
    ],
    ids=str,
)
def test_broken_params(outcome: Outcome, changes: dict[str, Any], error_type: str, message: str) -> None:
    params = {name: value for name, value in {**VALID, **changes}.items() if value is not None}
    assert outcome(params) == {
        "type": "errored",
        "error": {
            "type": "error",
            "error": {"details": {"error_visibility": "user_facing"}, "type": error_type, "message": message},
            "request_id": None,
        },
    }


@pytest.mark.parametrize(
    ("changes", "headers"),
    [
        ({"stream": False}, {}),
        ({"max_tokens": 64_000}, {}),
        ({"model": "claude-opus-5-5", "max_tokens": 128_000}, {}),
        ({"model": "claude-opus-5-5", "max_tokens": 300_000}, {"anthropic_beta": "output-300k-2026-03-24"}),
        ({"fallback_credit_token": "t"}, {}),
        ({"temperature": 0.2, "top_k": 5}, {"anthropic_version": "2023-06-01"}),
        ({"model": "claude-opus-5-5", "temperature": 1}, {"anthropic_version": "2023-06-01"}),
        ({"mcp_servers": []}, {"anthropic_beta": "mcp-client-2025-11-20"}),
        ({"user_profile_id": "u1"}, {"anthropic_user_profile_id": "u1"}),
        ({"user_profile_id": "u1"}, {}),
        ({"system": [{"type": "text", "text": "x"}], "metadata": {}, "tools": [], "service_tier": "auto"}, {}),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, {}),
        ({"messages": [17, {"role": "user"}, {"role": "user", "content": [None, {"source": 3}]}]}, {}),
    ],
    ids=str,
)
def test_accepted_params(outcome: Outcome, changes: dict[str, Any], headers: dict[str, str]) -> None:
    assert outcome({**VALID, **changes}, **headers)["type"] == "succeeded"


@pytest.mark.parametrize(
    ("changes", "headers", "message"),
    [
        (
            {"model": "claude-fable-5-2", "max_tokens": 300_000},
            {"anthropic_beta": "output-300k-2026-03-24"},
            "max_tokens: 300000 > 128000, which is the maximum allowed number of output tokens for claude-fable-5-2",
        ),
        (
            {"model": "claude-opus-5-5", "max_tokens": 300_001},
            {"anthropic_beta": "output-300k-2026-03-24"},
            "max_tokens: 300001 > 300000, which is the maximum allowed number of output tokens for claude-opus-5-5",
        ),
        (
            {"model": "claude-opus-5-5", "temperature": 0.2},
            {"anthropic_version": "2023-06-01"},
            "`temperature` is deprecated for this model.",
        ),
        (
            {"user_profile_id": "u1"},
            {"anthropic_user_profile_id": "u2"},
            "user_profile_id: conflicts with the `anthropic-user-profile-id` header",
        ),
    ],
    ids=str,
)
def test_params_against_headers(
    outcome: Outcome, changes: dict[str, Any], headers: dict[str, str], message: str
) -> None:
    result = outcome({**VALID, **changes}, **headers)
    assert (result["type"], result["error"]["error"]["message"]) == ("errored", message)


@pytest.mark.parametrize(
    ("text", "error_type", "message"),
    [
        ("[[sandbox:errored]]", "api_error", "Internal server error"),
        ("so [[sandbox:errored overloaded_error]] it is", "overloaded_error", "Overloaded"),
        ("[[sandbox:errored brand_new_error]]", "brand_new_error", "brand_new_error"),
    ],
)
def test_ordered_errors(outcome: Outcome, text: str, error_type: str, message: str) -> None:
    result = outcome({**VALID, "messages": [{"role": "user", "content": text}]})
    error = result["error"]
    assert result["type"] == "errored"
    assert error["error"] == {"details": None, "type": error_type, "message": message}
    assert error["request_id"].startswith("workerreq_01")


def test_ordered_low_credit(outcome: Outcome) -> None:
    result = outcome({**VALID, "messages": [{"role": "user", "content": "[[sandbox:credit]]"}]})
    assert result["error"]["error"]["type"] == "invalid_request_error"
    assert result["error"]["error"]["message"].startswith("Your credit balance is too low")


def test_ordered_expiry(outcome: Outcome) -> None:
    result = outcome({**VALID, "messages": [{"role": "user", "content": "[[sandbox:expired]]"}]})
    assert result == {"type": "expired"}


def test_ordered_refusal_is_a_success(outcome: Outcome) -> None:
    message = outcome({**VALID, "messages": [{"role": "user", "content": "[[sandbox:refusal]]"}]})["message"]
    assert (message["stop_reason"], message["content"]) == ("refusal", [])
    assert (message["stop_details"]["type"], message["stop_details"]["category"]) == ("refusal", None)


def test_ordered_truncation_is_a_success(outcome: Outcome) -> None:
    message = outcome({**VALID, "messages": [{"role": "user", "content": "[[sandbox:max_tokens]] go on"}]})["message"]
    assert (message["stop_reason"], message["usage"]["output_tokens"]) == ("max_tokens", VALID["max_tokens"])
    assert message["content"][0]["text"].startswith("[sandbox] ")


TOOL = {
    "name": "book_room",
    "input_schema": {
        "type": "object",
        "properties": {"room": {"type": "string", "enum": ["A", "B"]}, "seats": {"type": "integer", "minimum": 2}},
        "required": ["room", "seats"],
    },
}


def test_ordered_tool_use(outcome: Outcome) -> None:
    messages = [{"role": "user", "content": "[[sandbox:tool_use]]"}]
    server_tool = {"type": "web_search_20250305", "name": "web_search"}
    message = outcome({**VALID, "messages": messages, "tools": [server_tool, TOOL], "max_tokens": 99})["message"]
    assert message["stop_reason"] == "tool_use"
    text, call = message["content"]
    assert text["type"] == "text"
    assert call.pop("id").startswith("toolu_01")
    assert call["input"].pop("room") in ("A", "B")
    assert call == {"type": "tool_use", "name": "book_room", "input": {"seats": 2}}


@pytest.mark.parametrize("tools", [None, [], "x", [{"name": "web_search"}], [None, {"input_schema": {}}]])
def test_no_tool_to_use(outcome: Outcome, tools: object) -> None:
    params = {**VALID, "messages": [{"role": "user", "content": "[[sandbox:tool_use]]"}]}
    message = outcome(params if tools is None else {**params, "tools": tools})["message"]
    assert (message["stop_reason"], [block["type"] for block in message["content"]]) == ("end_turn", ["text"])


def test_ordered_thinking(outcome: Outcome) -> None:
    params = {**VALID, "messages": [{"role": "user", "content": "[[sandbox:thinking]] hi"}], "max_tokens": 99}
    message = outcome(params)["message"]
    thinking, text = message["content"]
    assert (thinking["type"], text["type"], message["stop_reason"]) == ("thinking", "text", "end_turn")
    assert thinking["thinking"].startswith("[sandbox] ")
    assert thinking["signature"]
    assert message["usage"]["output_tokens"] > len(text["text"]) / 4


def test_slow(client: anthropic.Anthropic, ask: Ask, clock: ManualClock) -> None:
    requests: Any = [ask("a"), ask("b", "[[sandbox:slow 60]] [[sandbox:refusal]]"), ask("c"), ask("d")]
    batch = client.messages.batches.create(requests=requests)
    clock.advance(59.999)
    assert client.messages.batches.retrieve(batch.id).processing_status == "in_progress"
    clock.advance(0.001)
    rows = {row.custom_id: row.result for row in client.messages.batches.results(batch.id)}
    assert {result.type for result in rows.values()} == {"succeeded"}
    slow = rows["b"]
    assert slow.type == "succeeded"
    assert slow.message.stop_reason == "refusal"


def test_slow_in_a_canceled_batch(client: anthropic.Anthropic, ask: Ask, clock: ManualClock) -> None:
    requests: Any = [ask("a"), ask("b", "[[sandbox:slow 60]]"), ask("c"), ask("d")]
    batch = client.messages.batches.create(requests=requests)
    clock.advance(30)
    client.messages.batches.cancel(batch.id)
    clock.advance(1)
    rows = {row.custom_id: row.result.type for row in client.messages.batches.results(batch.id)}
    assert rows == {"a": "succeeded", "b": "canceled", "c": "succeeded", "d": "succeeded"}


def test_slower_than_a_day(client: anthropic.Anthropic, ask: Ask, clock: ManualClock) -> None:
    requests: Any = [ask("a"), ask("b", "[[sandbox:slow 90000]]")]
    batch = client.messages.batches.create(requests=requests)
    clock.advance(86_400)
    ended = client.messages.batches.retrieve(batch.id)
    assert (ended.request_counts.succeeded, ended.request_counts.expired) == (1, 1)
    assert ended.ended_at == ended.expires_at


def test_broken_params_come_before_an_ordered_outcome(outcome: Outcome) -> None:
    params = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "[[sandbox:expired]]"}]}
    assert outcome(params)["type"] == "errored"


@pytest.mark.parametrize(
    "text",
    [
        "[[sandbox:other]]",
        "[[sandbox:expired",
        "sandbox:expired",
        "[[sandbox:errored A-B]]",
        "[[sandbox:slow]]",
        "[[sandbox:slow -1]]",
        "[[sandbox:slow 1e9]]",
    ],
)
def test_other_phrases_are_just_text(outcome: Outcome, text: str) -> None:
    assert outcome({**VALID, "messages": [{"role": "user", "content": text}]})["type"] == "succeeded"


@pytest.mark.parametrize("kind", ["image", "document"])
def test_unreachable_url(outcome: Outcome, kind: str) -> None:
    block = {"type": kind, "source": {"type": "url", "url": "https://files.invalid/a.png"}}
    result = outcome({**VALID, "messages": [{"role": "user", "content": [block]}]})
    assert result["error"]["error"]["type"] == "invalid_request_error"
    assert result["error"]["request_id"].startswith("workerreq_")


def test_stream_on_the_wire(raw: httpx2.Client, ask: Ask, clock: ManualClock) -> None:
    custom_ids = [f"row-{number}" for number in range(500)]
    # Line separators that are no line ends in JSON Lines.
    requests = [ask(custom_id, "a\u2028b\r\nc") for custom_id in custom_ids]
    batch_id = raw.post(PATH, json={"requests": requests}).json()["id"]
    clock.advance(5)
    response = raw.get(f"{PATH}/{batch_id}/results")
    assert response.headers["content-type"] == "application/x-jsonl"
    assert b"\r" not in response.content
    lines = response.content.split(b"\n")
    assert lines.pop() == b""
    seen = [json.loads(line)["custom_id"] for line in lines]
    assert seen != custom_ids
    assert sorted(seen) == sorted(custom_ids)
    assert raw.get(f"{PATH}/{batch_id}/results").content == response.content


def test_sdk_reads_many_blocks(client: anthropic.Anthropic, ask: Ask, clock: ManualClock) -> None:
    requests: Any = [ask(f"row-{number}", "é" * 100) for number in range(600)]
    batch = client.messages.batches.create(requests=requests)
    clock.advance(5)
    with client.messages.batches.with_streaming_response.results(batch.id) as response:
        assert sum(1 for _ in response.iter_bytes(64 * 1024)) > 1
    assert len({row.custom_id for row in client.messages.batches.results(batch.id)}) == 600


def test_sdk_stops_early(client: anthropic.Anthropic, ask: Ask, clock: ManualClock) -> None:
    requests: Any = [ask(f"row-{number}") for number in range(5_000)]
    batch = client.messages.batches.create(requests=requests)
    clock.advance(5)
    results = client.messages.batches.results(batch.id)
    assert next(iter(results)).result.type == "succeeded"
    results.close()
    assert client.messages.batches.retrieve(batch.id).request_counts.succeeded == 5_000


def test_before_the_end(client: anthropic.Anthropic, raw: httpx2.Client, refusal: Refusal, ask: Ask) -> None:
    requests: Any = [ask()]
    batch = client.messages.batches.create(requests=requests)
    with pytest.raises(anthropic.AnthropicError, match="No `results_url`"):
        client.messages.batches.results(batch.id)
    response = raw.get(f"{PATH}/{batch.id}/results")
    message = f"Message Batch {batch.id} has no available results."
    assert refusal(response) == (404, "not_found_error", message)
    assert response.headers["x-should-retry"] == "false"


def _run(sandbox: Sandbox, clock: ManualClock, requests: Any) -> bytes:
    with anthropic.Anthropic(base_url=sandbox.url, api_key="k", max_retries=0) as client:
        batch = client.messages.batches.create(requests=requests)
        clock.advance(5)
        with client.messages.batches.with_streaming_response.results(batch.id) as response:
            return response.read()


def test_same_seed_same_results(ask: Ask) -> None:
    requests = [ask(f"row-{number}", "[[sandbox:errored]]" if number % 3 else "hi") for number in range(50)]
    results = []
    for seed, start in ((1, 0), (1, 1_000), (2, 0)):
        clock = ManualClock()
        clock.advance(start)
        with running_sandbox(clock=clock, seed=seed) as sandbox:
            results += [_run(sandbox, clock, requests), _run(sandbox, clock, requests)]
    assert results[:2] == results[2:4]
    assert len(set(results)) == 4
