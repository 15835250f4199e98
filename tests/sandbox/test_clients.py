"""The official SDK's other faces: asynchronous, beta, raw; and the classic headers of its 0.x releases."""

from collections.abc import Callable
from typing import Any

import anthropic
import anyio
import httpx2
import pytest

from batches_mcp.sandbox import ManualClock, Sandbox

Ask = Callable[..., dict[str, Any]]


def test_async_client(sandbox: Sandbox, api_key: str, ask: Ask, clock: ManualClock) -> None:
    async def life() -> list[str]:
        async with anthropic.AsyncAnthropic(base_url=sandbox.url, api_key=api_key, max_retries=0) as client:
            batches = client.messages.batches
            requests: Any = [ask("a"), ask("b", "[[sandbox:errored]]")]
            batch = await batches.create(requests=requests)
            assert [listed.id async for listed in batches.list(limit=1)] == [batch.id]
            clock.advance(5)
            outcomes: list[str] = [row.result.type async for row in await batches.results(batch.id)]
            await batches.delete(batch.id)
            with pytest.raises(anthropic.NotFoundError):
                await batches.cancel(batch.id)
            return outcomes

    assert sorted(anyio.run(life)) == ["errored", "succeeded"]


def test_beta_client(client: anthropic.Anthropic, sandbox: Sandbox, ask: Ask, clock: ManualClock) -> None:
    batches = client.beta.messages.batches
    betas: Any = ["output-300k-2026-03-24", "message-batches-2024-09-24"]
    requests: Any = [ask("long", model="claude-opus-5-5", max_tokens=300_000)]
    batch = batches.create(requests=requests, betas=betas)
    assert batches.retrieve(batch.id, betas=betas).processing_status == "in_progress"
    assert [listed.id for listed in batches.list(betas=betas)] == [batch.id]
    clock.advance(5)
    assert [row.result.type for row in batches.results(batch.id, betas=betas)] == ["succeeded"]
    assert batches.delete(batch.id, betas=betas).id == batch.id
    with pytest.raises(anthropic.BadRequestError, match="Unexpected value"):
        batches.list(betas=["no-such-beta"])


def test_raw_responses_carry_the_request_id(client: anthropic.Anthropic, ask: Ask) -> None:
    requests: Any = [ask()]
    created = client.messages.batches.with_raw_response.create(requests=requests)
    assert str(created.request_id).startswith("req_")
    batch = created.parse()
    response = client.messages.batches.with_raw_response.retrieve(batch.id)
    assert response.headers["request-id"] == response.request_id != created.request_id
    assert response.headers["retry-after"] == "10"


def test_classic_client(sandbox: Sandbox, api_key: str, ask: Ask, clock: ManualClock) -> None:
    """What the beta client of 0.125.0 puts on the wire, the beta named twice and the empty body of cancel included."""
    headers = {
        "accept": "application/json",
        "user-agent": "Anthropic/Python 0.125.0",
        "x-stainless-lang": "python",
        "x-stainless-package-version": "0.125.0",
        "x-stainless-retry-count": "0",
        "x-stainless-read-timeout": "600",
        "x-api-key": api_key,
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "message-batches-2024-09-24,message-batches-2024-09-24",
    }
    path, sending = "/v1/messages/batches", {"content-type": "application/json"}
    with httpx2.Client(base_url=sandbox.url, headers=headers, params={"beta": "true"}) as client:
        requests = [ask("a", model="claude-haiku-4-5", temperature=0.5), ask("b")]
        batch = client.post(path, json={"requests": requests}).json()
        canceled = client.post(path, json={"requests": requests}).json()
        assert client.get(path, params={"limit": 1, "after_id": canceled["id"]}).json()["data"] == [batch]
        canceling = client.post(f"{path}/{canceled['id']}/cancel", headers=sending).json()
        assert canceling["processing_status"] == "canceling"
        clock.advance(5)
        ended = client.get(f"{path}/{batch['id']}").json()
        assert ended["request_counts"]["succeeded"] == 2
        accept = {"accept": "application/binary"}
        assert client.get(ended["results_url"], headers=accept).text.count("succeeded") == 2
        assert client.delete(f"{path}/{batch['id']}", headers=sending).status_code == 200
