"""One sandbox on a real socket for the whole run; every test is a tenant of its own, under a key of its own.

The clock only ever moves forward, so tests look at differences of time, never at absolute ones.
"""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import anthropic
import httpx2
import pytest

from batches_mcp.sandbox import Answer, ManualClock, Sandbox, running_sandbox

Json = dict[str, Any]

_PATH = "/v1/messages/batches"


@pytest.fixture(scope="session")
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="session")
def sandbox(clock: ManualClock) -> Iterator[Sandbox]:
    with running_sandbox(clock=clock) as sandbox:
        yield sandbox


@pytest.fixture
def api_key() -> str:
    return f"key-{uuid4().hex}"


@pytest.fixture
def client(sandbox: Sandbox, api_key: str) -> Iterator[anthropic.Anthropic]:
    """The official SDK."""
    with anthropic.Anthropic(base_url=sandbox.url, api_key=api_key, max_retries=0) as client:
        yield client


def is_labelled(response: httpx2.Response) -> None:
    """Every answer of the API says which one it is, and how well it is known."""
    answer = next(answer for answer in Answer if answer.label == response.headers["x-sandbox-answer"])
    assert response.headers["x-sandbox-evidence"] == answer.evidence


@pytest.fixture
def raw(sandbox: Sandbox, api_key: str) -> Iterator[httpx2.Client]:
    """Plain HTTP with the headers every request needs, for what the SDK cannot send or does not show."""
    headers = {"x-api-key": api_key, "anthropic-version": "2026-10-21"}
    with httpx2.Client(base_url=sandbox.url, headers=headers, event_hooks={"response": [is_labelled]}) as client:
        yield client


@pytest.fixture(scope="session")
def ask() -> Callable[..., Json]:
    """Builds one request of a batch; keyword arguments replace params, None removes one."""

    def build(custom_id: str = "a", text: str = "Hello", **params: Any) -> Json:
        merged = {
            "model": "claude-haiku-5-5",
            "max_tokens": 64,
            "messages": [{"role": "user", "content": text}],
            **params,
        }
        return {"custom_id": custom_id, "params": {name: value for name, value in merged.items() if value is not None}}

    return build


@pytest.fixture
def refusal() -> Callable[[httpx2.Response], tuple[int, str, str]]:
    """Checks the error envelope and returns (status, error type, message)."""

    def read(response: httpx2.Response) -> tuple[int, str, str]:
        body = response.json()
        assert response.headers["content-type"] == "application/json"
        assert list(body) == ["type", "error", "request_id"]
        assert body["type"] == "error"
        assert list(body["error"]) == ["type", "message"]
        assert body["request_id"] == response.headers["request-id"]
        assert body["request_id"].startswith("req_")
        return response.status_code, body["error"]["type"], body["error"]["message"]

    return read


@pytest.fixture
def outcome(raw: httpx2.Client, clock: ManualClock) -> Callable[..., Json]:
    """Puts params through a batch of one request and returns the `result` of its row."""

    def run(params: Json, **headers: str) -> Json:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        created = raw.post(_PATH, json={"requests": [{"custom_id": "a", "params": params}]}, headers=sent)
        assert created.status_code == 200
        clock.advance(5)
        row = raw.get(f"{_PATH}/{created.json()['id']}/results").json()
        counts = raw.get(f"{_PATH}/{created.json()['id']}").json()["request_counts"]
        assert row["custom_id"] == "a"
        assert counts[row["result"]["type"]] == 1
        result: Json = row["result"]
        return result

    return run
