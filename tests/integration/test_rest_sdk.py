"""The official SDK pointed at our REST: all six operations with a key of its caller's choosing, ours being used."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import anthropic
import pytest
from anthropic.types.beta import BetaMessageParam
from anthropic.types.messages.batch_create_params import Request

from batches_mcp.sandbox import ManualClock, Sandbox, running_sandbox
from tests.support.rest import BATCHES, Served, raw, rest_server
from tests.support.servers import STATE_DIR

pytestmark = pytest.mark.anyio

KEY = "our-own-key"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox(clock=ManualClock()) as running:
        yield running


@pytest.fixture(scope="module")
def served(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with rest_server(sandbox.url, key=KEY, **{STATE_DIR: str(tmp_path_factory.mktemp("state"))}) as running:
        yield running


@pytest.fixture
def client(served: Served) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=served.url, api_key="of the caller's choosing", max_retries=0) as sdk:
        yield sdk


def ask(custom_id: str, text: str = "hi", model: str = "claude-haiku-5-5") -> Request:
    return {
        "custom_id": custom_id,
        "params": {"model": model, "max_tokens": 64, "messages": [{"role": "user", "content": text}]},
    }


def test_the_life_of_a_batch(client: anthropic.Anthropic, served: Served, sandbox: Sandbox) -> None:
    batches = client.messages.batches
    requests = [ask(f"life-{number}") for number in range(300)]
    batch = batches.create(requests=[*requests, ask("late", "[[sandbox:expired]]"), ask("none", model="claude-none")])
    assert batch.request_counts.processing == 302
    with pytest.raises(anthropic.AnthropicError, match="results_url"):
        batches.results(batch.id)
    raw_answer = batches.with_raw_response.retrieve(batch.id)
    assert raw_answer.parse() == batch
    assert raw_answer.headers["retry-after"] == "10"
    assert raw_answer.headers["request-id"].startswith("req_")
    sandbox.clock.advance(5)
    ended = batches.retrieve(batch.id)
    assert ended.results_url == f"{served.url}{BATCHES}/{batch.id}/results"
    rows = {row.custom_id: row.result.type for row in batches.results(batch.id)}
    assert Counter(rows.values()) == {"succeeded": 300, "expired": 1, "errored": 1}
    stream = batches.results(batch.id)
    assert next(iter(stream)).custom_id in rows
    stream.http_response.close()
    assert batches.delete(batch.id).type == "message_batch_deleted"
    for call in (batches.retrieve, batches.cancel, batches.delete, batches.results):
        with pytest.raises(anthropic.NotFoundError, match="not found"):
            call(batch.id)
    asked = [request for request in sandbox.requests if batch.id in request.path]
    assert len({request.header("x-api-key") for request in asked}) == 1
    assert {request.header("authorization") for request in asked} == {None}


def test_pages_in_both_directions_and_a_cancel(client: anthropic.Anthropic, sandbox: Sandbox) -> None:
    batches = client.messages.batches
    ids = [batches.create(requests=[ask(f"page-{number}")]).id for number in range(5)]
    assert [batch.id for batch in batches.list(limit=2)][:5] == ids[::-1]
    assert sorted(batch.id for batch in batches.list(limit=2, before_id=ids[0])) == sorted(ids[1:])
    sandbox.clock.advance(1)
    assert batches.cancel(ids[0]).processing_status == "canceling"
    sandbox.clock.advance(10)
    with pytest.raises(anthropic.BadRequestError):
        batches.cancel(ids[0])


def test_errors_are_of_the_right_class(client: anthropic.Anthropic, sandbox: Sandbox) -> None:
    batches = client.messages.batches
    with pytest.raises(anthropic.BadRequestError, match="limit"):
        batches.list(limit=1001)
    with pytest.raises(anthropic.BadRequestError, match="custom_id"):
        batches.create(requests=[ask("a.b")])
    with pytest.raises(anthropic.NotFoundError, match="ot found"):
        batches.retrieve("a/b?c")
    sandbox.faults.add("rate_limit", on="create", count=3)
    with pytest.raises(anthropic.RateLimitError):
        batches.create(requests=[ask("limited")])
    sandbox.faults.clear()


def test_the_beta_client_and_its_old_query(client: anthropic.Anthropic, sandbox: Sandbox) -> None:
    batches = client.beta.messages.batches
    message: BetaMessageParam = {"role": "user", "content": "hi"}
    batch = batches.create(
        requests=[{"custom_id": "b", "params": {"model": "claude-haiku-5-5", "max_tokens": 9, "messages": [message]}}],
        betas=["output-300k-2026-03-24", "message-batches-2024-09-24"],
    )
    created = next(each for each in reversed(sandbox.requests) if each.method == "POST")
    assert "output-300k-2026-03-24" in str(created.header("anthropic-beta"))
    assert batches.retrieve(batch.id, extra_query={"beta": "true"}).id == batch.id
    assert sandbox.requests[-1].query == "beta=true"
    listed = client.messages.batches.list(limit=1, extra_query={"beta": "true"})
    assert len(listed.data) == 1


def test_a_create_may_have_the_old_query_too(client: anthropic.Anthropic) -> None:
    batch = client.messages.batches.create(requests=[ask("old")], extra_query={"beta": "true"})
    assert batch.processing_status == "in_progress"


async def test_the_asynchronous_client(served: Served, sandbox: Sandbox) -> None:
    async with anthropic.AsyncAnthropic(base_url=served.url, api_key="any", max_retries=0) as client:
        batch = await client.messages.batches.create(requests=[ask("async", "[[sandbox:errored]]")])
        sandbox.clock.advance(5)
        assert [row.result.type async for row in await client.messages.batches.results(batch.id)] == ["errored"]


def test_a_create_passes_the_gate(client: anthropic.Anthropic, served: Served, sandbox: Sandbox) -> None:
    batches = client.messages.batches
    before = len(list(batches.list()))
    sandbox.faults.add("reset_after", on="create")
    batch = batches.create(requests=[ask("gate")])
    assert '"candidate":true' in batch.to_json(indent=None)
    assert batches.create(requests=[ask("gate")]).id == batch.id
    sandbox.end(batch.id)
    assert batches.retrieve(batch.id).id == batch.id
    proven = batches.create(requests=[ask("gate")])
    assert (proven.id, "candidate" in proven.to_json()) == (batch.id, False)
    with pytest.raises(anthropic.ConflictError, match=batch.id):
        client.with_options(max_retries=2).messages.batches.create(requests=[ask("gate")])
    again = batches.create(requests=[ask("gate")], extra_headers={"batches-mcp-allow-duplicate": "true"})
    assert len(list(batches.list())) == before + 2
    assert again.id != batch.id


def test_a_create_in_doubt_is_not_repeated_by_the_client_itself(
    client: anthropic.Anthropic, served: Served, sandbox: Sandbox
) -> None:
    before = len(list(client.messages.batches.list()))
    sandbox.faults.add("timeout", on="create")
    with pytest.raises(anthropic.APIStatusError, match="one may still be made for") as caught:
        client.with_options(max_retries=2).messages.batches.create(requests=[ask("in-doubt")])
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len([each for each in sandbox.requests if each.answer == "timeout"]) <= 1
    assert len(list(client.messages.batches.list())) == before
    sandbox.clock.advance(901)
    client.messages.batches.create(requests=[ask("in-doubt")])
    assert len(list(client.messages.batches.list())) == before + 1


def test_the_cap_holds_for_programs_too(sandbox: Sandbox) -> None:
    with rest_server(sandbox.url, "--max-cost-usd", "0.005", key="capped") as served:
        large = [ask(f"cap-{number}") for number in range(500)]
        with anthropic.Anthropic(base_url=served.url, api_key="any") as client:
            with pytest.raises(anthropic.APIStatusError, match="max-cost-usd") as caught:
                client.messages.batches.create(requests=large)
            assert caught.value.status_code == 402
            assert client.messages.batches.create(requests=large[:1]).request_counts.processing == 1
            with pytest.raises(anthropic.APIStatusError, match="claude-none"):
                client.messages.batches.create(requests=[ask("unknown", model="claude-none")])
        hidden = json.dumps({"requests": [{**ask("x"), "more": 1}]}).encode()
        for body in (hidden, b'{"\\u0072equests":[]}'):
            assert raw(served, "POST", BATCHES, body).status == 400
