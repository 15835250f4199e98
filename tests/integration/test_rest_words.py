"""What a program is told over REST is in HTTP's terms: fields, headers and statuses, and nothing of tools."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from mcp.client.client import Client

from batches_mcp.sandbox import ManualClock, Sandbox, running_sandbox
from tests.support.rest import BATCHES, Served, raw, rest_server
from tests.support.servers import CREATE, STATE_DIR, text_of

pytestmark = pytest.mark.anyio

COUNT = "/v1/messages/count_tokens"


def ask(custom_id: str) -> Any:
    messages = [{"role": "user", "content": "hi"}]
    return {"custom_id": custom_id, "params": {"model": "claude-haiku-5-5", "max_tokens": 9, "messages": messages}}


def body(*requests: Any) -> bytes:
    return json.dumps({"requests": requests}).encode()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox(clock=ManualClock()) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def served(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with rest_server(sandbox.url, **{STATE_DIR: str(tmp_path_factory.mktemp("state"))}) as served:
        yield served


def creates(sandbox: Sandbox) -> int:
    return sum(each.method == "POST" and each.path == BATCHES for each in sandbox.requests)


def test_a_duplicate_is_a_conflict_that_names_the_header(served: Served, sandbox: Sandbox) -> None:
    made = json.loads(raw(served, "POST", BATCHES, body(ask("twice"))).body)
    before = creates(sandbox)
    reply = raw(served, "POST", BATCHES, body(ask("twice")))
    error = json.loads(reply.body)["error"]
    assert (reply.status, error["type"], reply.headers["x-should-retry"]) == (409, "conflict_error", "false")
    assert made["id"] in error["message"]
    assert "the header `batches-mcp-allow-duplicate: true`" in error["message"]
    assert "allow_duplicate" not in error["message"]
    assert creates(sandbox) == before


async def test_duplicates_that_are_allowed(sandbox: Sandbox, tmp_path: Any) -> None:
    with rest_server(sandbox.url, "--allow-duplicates", key="again", **{STATE_DIR: str(tmp_path)}) as served:
        made = [json.loads(raw(served, "POST", BATCHES, body(ask("again"))).body)["id"] for _ in range(3)]
        async with Client(served.mcp) as client:
            for _ in range(2):
                result = await client.call_tool(CREATE, {"requests": [ask("again")]})
                assert not result.is_error, text_of(result)
                made.append((result.structured_content or {})["id"])
        assert len(set(made)) == 5


async def test_duplicates_are_allowed_by_the_environment_too(sandbox: Sandbox, tmp_path: Any) -> None:
    allowed = {STATE_DIR: str(tmp_path), "BATCHES_MCP_ALLOW_DUPLICATES": "1"}
    with rest_server(sandbox.url, key="environment", **allowed) as served:
        assert [raw(served, "POST", BATCHES, body(ask("again"))).status for _ in range(2)] == [200, 200]


def test_what_is_in_doubt_is_looked_for_all_the_same(sandbox: Sandbox, tmp_path: Any) -> None:
    with rest_server(sandbox.url, "--allow-duplicates", key="doubt", **{STATE_DIR: str(tmp_path)}) as served:
        before = creates(sandbox)
        sandbox.faults.add("reset_after", on="create", key="doubt")
        first = json.loads(raw(served, "POST", BATCHES, body(ask("doubt"))).body)
        assert first["id"] in [each["id"] for each in json.loads(raw(served, "GET", BATCHES).body)["data"]]
        assert creates(sandbox) == before + 1


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("?limit=0", "limit: Input should be greater than or equal to 1"),
        ("?limit=1001", "limit: Input should be less than or equal to 1000"),
        ("?limit=x", "limit: Input should be a valid integer"),
        ("?after_id=", "after_id: String should have at least 1 character"),
        (f"/{'x' * 201}", "message-batch-id: String should have at most 200 characters"),
    ],
)
def test_what_does_not_fit_is_said_as_the_api_says_it(served: Served, target: str, message: str) -> None:
    reply = raw(served, "GET", BATCHES + target)
    error = json.loads(reply.body)["error"]
    assert (reply.status, error) == (400, {"type": "invalid_request_error", "message": message})


def test_several_problems_are_said_at_once(served: Served) -> None:
    error = json.loads(raw(served, "GET", f"{BATCHES}?limit=0&after_id=").body)["error"]
    assert sorted(error["message"].splitlines()) == [
        "after_id: String should have at least 1 character",
        "limit: Input should be greater than or equal to 1",
    ]


@pytest.mark.parametrize("name", ["anthropic-user-profile-id", "anthropic-workspace-id"])
@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", ""), ("POST", ""), ("GET", "/m"), ("DELETE", "/m"), ("POST", "/m/cancel"), ("GET", "/m/results")],
)
def test_for_whom_a_request_is_is_never_dropped(
    served: Served, sandbox: Sandbox, name: str, method: str, target: str
) -> None:
    before = sandbox.requests[-1:]
    sent = body(ask("whose")) if (method, target) == ("POST", "") else None
    reply = raw(served, method, BATCHES + target, sent, **{name.replace("-", "_"): "x"})
    error = json.loads(reply.body)["error"]
    assert (reply.status, error["type"]) == (400, "invalid_request_error")
    assert error["message"].startswith(f"{name}: ")
    assert sandbox.requests[-1:] == before


@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", ""), ("GET", "/m"), ("DELETE", "/m"), ("POST", "/m/cancel"), ("GET", "/m/results")],
)
def test_betas_are_taken_on_every_route(served: Served, sandbox: Sandbox, method: str, target: str) -> None:
    betas = "output-300k-2026-03-24,files-api-2025-04-14"
    raw(served, method, BATCHES + target, anthropic_beta=betas)
    asked = [each for each in sandbox.requests if each.path == BATCHES + target and each.method == method][-1]
    assert str(asked.header("anthropic-beta")).replace(" ", "") == betas
    assert raw(served, method, BATCHES + target, anthropic_beta="no-such-beta").status == 400


def test_tokens_are_counted(served: Served, sandbox: Sandbox) -> None:
    with anthropic.Anthropic(base_url=served.url, api_key="any", max_retries=0) as client:
        params: Any = {"model": "claude-haiku-5-5", "messages": [{"role": "user", "content": "word " * 100}]}
        assert client.messages.count_tokens(**params).input_tokens == 125
        assert client.beta.messages.count_tokens(**params, betas=["files-api-2025-04-14"]).input_tokens == 125
        assert sandbox.requests[-1].header("anthropic-beta") == "files-api-2025-04-14,token-counting-2024-11-01"
        with pytest.raises(anthropic.NotFoundError, match="claude-none"):
            client.messages.count_tokens(**{**params, "model": "claude-none"})
    assert raw(served, "POST", COUNT).status == 400
