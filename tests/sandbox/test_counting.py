"""Counting tokens: an estimate, and the same refusals as the rows of a batch."""

from collections.abc import Callable
from typing import Any

import anthropic
import httpx2
import pytest

from batches_mcp.sandbox import ManualClock, Sandbox, running_sandbox

Ask = Callable[..., dict[str, Any]]
Outcome = Callable[..., dict[str, Any]]
Refusal = Callable[[httpx2.Response], tuple[int, str, str]]

PATH = "/v1/messages/count_tokens"
PARAMS: dict[str, Any] = {"model": "claude-haiku-5-5", "messages": [{"role": "user", "content": "word " * 100}]}
TOOL: Any = {"name": "t", "input_schema": {"type": "object", "properties": {"x": {"type": "integer"}}}}


def test_the_sdk_counts(client: anthropic.Anthropic, sandbox: Sandbox) -> None:
    counted = client.messages.count_tokens(**PARAMS)
    assert counted.input_tokens == 125
    assert client.messages.count_tokens(**PARAMS, system="Be brief.", tools=[TOOL]).input_tokens > 130
    assert client.beta.messages.count_tokens(**PARAMS, betas=["token-counting-2024-11-01"]).input_tokens == 125
    assert sandbox.requests[-1].answer == "counted"


def test_it_is_what_the_row_says(client: anthropic.Anthropic, outcome: Outcome) -> None:
    params = {**PARAMS, "tools": [TOOL]}
    usage = outcome({**params, "max_tokens": 99})["message"]["usage"]
    assert client.messages.count_tokens(**params).input_tokens == usage["input_tokens"]


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"model": None}, 400, "model: Field required"),
        ({"messages": None}, 400, "messages: Field required"),
        ({"messages": "x"}, 400, "messages: Input should be a valid list"),
        ({"messages": []}, 400, "messages: at least one message is required"),
        ({"max_tokens": 5}, 400, "max_tokens: Extra inputs are not permitted"),
        ({"model": "claude-none"}, 404, "model: claude-none"),
    ],
)
def test_what_is_not_counted(
    raw: httpx2.Client, refusal: Refusal, changes: dict[str, Any], status: int, message: str
) -> None:
    params = {name: value for name, value in {**PARAMS, **changes}.items() if value is not None}
    error_type = {400: "invalid_request_error", 404: "not_found_error"}[status]
    assert refusal(raw.post(PATH, json=params)) == (status, error_type, message)


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b"\xff"])
def test_no_json(raw: httpx2.Client, refusal: Refusal, body: bytes) -> None:
    status, error_type, message = refusal(raw.post(PATH, content=body))
    assert (status, error_type) == (400, "invalid_request_error")
    assert message.startswith("The request body is not valid JSON")


def test_no_object(raw: httpx2.Client, refusal: Refusal) -> None:
    assert refusal(raw.post(PATH, json=[1]))[:2] == (400, "invalid_request_error")


def test_the_limit_of_its_body(raw: httpx2.Client) -> None:
    response = raw.post(PATH, content=b" " * 32_000_001)
    assert (response.status_code, response.json()["error"]["type"]) == (413, "request_too_large")


def test_faults_and_methods(raw: httpx2.Client, sandbox: Sandbox, api_key: str) -> None:
    sandbox.faults.add("overloaded", on="count_tokens", key=api_key)
    assert raw.post(PATH, json=PARAMS).status_code == 529
    assert raw.post(PATH, json=PARAMS).status_code == 200
    assert raw.get(PATH).status_code == 405


def test_it_has_a_rate_limit_of_its_own(api_key: str) -> None:
    headers = {"x-api-key": api_key, "anthropic-version": "2026-10-21"}
    with running_sandbox(clock=ManualClock(), tier="start") as sandbox:
        counted = httpx2.post(sandbox.url + PATH, headers=headers, json=PARAMS)
        assert "anthropic-ratelimit-requests-remaining" not in counted.headers
        listed = httpx2.get(f"{sandbox.url}/v1/messages/batches", headers=headers)
        assert listed.headers["anthropic-ratelimit-requests-remaining"] == "999"


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_single_message_is_out_of_scope(raw: httpx2.Client, refusal: Refusal, method: str) -> None:
    response = raw.request(method, "/v1/messages", json={**PARAMS, "max_tokens": 5})
    status, error_type, message = refusal(response)
    assert (status, error_type) == (404, "not_found_error")
    assert response.headers["x-sandbox-answer"] == "single-message"
    for said in ("sandbox of the Message Batches API", "/v1/messages/batches", "/v1/messages/count_tokens"):
        assert said in message
