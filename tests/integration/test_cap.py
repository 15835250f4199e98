"""The cap on costs bounds what may be spent: what a create could cost, what a batch did cost, and what nobody can tell."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from batches_mcp.core.settings import BatchSettings
from batches_mcp.sandbox import Sandbox
from tests.support.creates import agent, create, existing, persist, requests
from tests.support.rest import BATCHES, Served, raw, rest_server
from tests.support.scripted import answer, scripted_upstream
from tests.support.servers import CREATE, RESULTS, STATE_DIR, text_of

pytestmark = [pytest.mark.anyio, pytest.mark.both_states]

PDF = base64.b64encode(b"%PDF-1.7 " + b"x" * 3_000).decode()
CAPPED = BatchSettings(max_cost_usd=1)


def ask(custom_id: str = "a", content: Any = "hi", **params: Any) -> dict[str, Any]:
    message = {"role": "user", "content": content}
    given = {"model": "claude-haiku-5-5", "max_tokens": 100, "messages": [message], **params}
    return {"custom_id": custom_id, "params": given}


def attached(kind: str, **source: str) -> list[dict[str, Any]]:
    return [{"type": kind, "source": source}, {"type": "text", "text": "What is it?"}]


def pdf(data: str = PDF) -> list[dict[str, Any]]:
    return attached("document", type="base64", media_type="application/pdf", data=data)


SEARCH = {"type": "web_search_20260209", "name": "web_search"}
BY_URL = attached("document", type="url", url="https://example.com/a.pdf")
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": BY_URL}
FETCHED = {"type": "web_fetch_result", "url": "https://example.com", "content": BY_URL[0]}

# What a request asks for, and the words by which the refusal names it.
UNBOUNDED: Mapping[str, tuple[dict[str, Any], str]] = {
    "a document by URL": (ask(content=BY_URL), "a document by URL"),
    "a document in a tool's result": (ask(content=[RESULT]), "a document by URL"),
    "a document that was fetched": (ask(content=[{"type": "web_fetch_tool_result", "content": FETCHED}]), "by URL"),
    "an uploaded document": (ask(content=attached("document", type="file", file_id="file_1")), "an uploaded file"),
    "a file in a container": (ask(content=[{"type": "container_upload", "file_id": "file_1"}]), "container_upload"),
    "content of a new kind": (ask(content=attached("video", type="base64", data="AAAA")), "type video"),
    "a container": (ask(container={"skills": [{"type": "anthropic", "skill_id": "pdf"}]}), "a container"),
    "MCP servers": (ask(mcp_servers=[{"type": "url", "url": "https://example.com", "name": "x"}]), "MCP servers"),
    "a search without a limit": (ask(tools=[SEARCH]), "web_search_20260209 without max_uses"),
    "a limit that is none": (ask(tools=[SEARCH | {"max_uses": None}]), "web_search_20260209 without max_uses"),
    "a fetch without a limit": (ask(tools=[{"type": "web_fetch_20260209", "name": "web_fetch"}]), "without max_uses"),
    "code execution": (ask(tools=[{"type": "code_execution_20250825", "name": "code"}]), "code_execution_20250825"),
    "a toolset": (ask(tools=[{"type": "mcp_toolset", "mcp_server_name": "x"}]), "mcp_toolset"),
    "compaction": (ask(context_management={"edits": [{"type": "compact_20260112"}]}), "compaction"),
    "a place of unknown price": (ask(inference_geo="moon"), "inference_geo"),
}


@pytest.fixture(scope="module")
def capped_rest(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    state = {STATE_DIR: str(tmp_path_factory.mktemp("state"))}
    with rest_server(sandbox.url, "--max-cost-usd", "1", key="capped-rest", **state) as running:
        yield running


@pytest.mark.parametrize(("request_", "words"), UNBOUNDED.values(), ids=UNBOUNDED)
async def test_what_cannot_be_bounded_is_refused_under_it_and_has_no_price_without(
    request_: dict[str, Any], words: str, sandbox: Sandbox, key: str
) -> None:
    batch = {"requests": [ask("plain", "word " * 20_000), request_, request_ | {"custom_id": "b"}]}
    async with agent(sandbox.url, key, batch=CAPPED) as client:
        batch_id, error = await create(client, batch)
    assert (batch_id, error["type"], error["retryable"]) == (None, "cost_unknown", False)
    assert "requests[1]" in error["message"]
    assert "'a'" in error["message"]
    assert words in error["message"]
    assert "--max-cost-usd only allows batches whose cost can be estimated" in error["next_step"]
    assert existing(sandbox.url, key) == []
    async with agent(sandbox.url, key) as client:
        _, said = await create(client, batch)
    assert said["estimate"]["cost_usd"]["high"] is said["estimate"]["standard_cost_usd"]["high"] is None
    assert said["estimate"]["cost_usd"]["low"] > 0
    [found] = said["estimate"]["unbounded"]
    assert (found["where"], found["custom_id"], found["requests"]) == ("requests[1]", "a", 2)


@pytest.mark.parametrize(
    "request_",
    [ask(content=BY_URL), ask(tools=[SEARCH]), ask(model="claude-none-9")],
    ids=["document", "search", "model"],
)
def test_rest_passes_the_same_gate(request_: dict[str, Any], capped_rest: Served) -> None:
    body = json.dumps({"requests": [request_]}).encode()
    reply = raw(capped_rest, "POST", BATCHES, body)
    assert (reply.status, json.loads(reply.body)["error"]["type"]) == (402, "billing_error")
    assert b"--max-cost-usd only allows batches whose cost can be estimated" in reply.body


async def high_of(client: Any, *asked: dict[str, Any]) -> float:
    _, said = await create(client, {"requests": list(asked), "dry_run": True})
    high = said["dry_run"]["estimate"]["cost_usd"]["high"]
    assert isinstance(high, float), said
    return high


async def test_what_is_asked_for_is_in_the_highest_cost(sandbox: Sandbox, key: str) -> None:
    long, opus = "word " * 20_000, "claude-opus-5-5"
    async with agent(sandbox.url, key) as client:
        plain = await high_of(client, ask(content=long, model=opus))
        assert await high_of(client, ask(content=long, model=opus, inference_geo="us")) == pytest.approx(
            plain * 1.1, rel=0.01
        )
        assert await high_of(client, ask(content=long, model=opus, inference_geo="global")) == pytest.approx(
            plain, rel=0.02
        )
        for ttl, factor in (("5m", 1.25), ("1h", 2.0)):
            cached = [{"type": "text", "text": long, "cache_control": {"type": "ephemeral", "ttl": ttl}}]
            for place in (
                ask(content=cached, model=opus),
                ask(system=cached, model=opus),
                ask(content=long, model=opus, cache_control=cached[0]["cache_control"]),
            ):
                # But for 100 tokens of output, and what is rounded.
                assert await high_of(client, place) >= (plain - 0.0011) * factor
        # Ten dollars per thousand searches, which no batch makes cheaper: and what they find is read.
        searching = [ask(f"s{number}", tools=[SEARCH | {"max_uses": 2}]) for number in range(100)]
        assert await high_of(client, *searching) >= 100 * 2 * 0.01 + 100 * 3 * 0.05
        # An image is 4,784 tokens at most, however it is given.
        for source in ({"type": "url", "url": "https://example.com/a.png"}, {"type": "file", "file_id": "file_1"}):
            image = ask("i", attached("image", **source), model="claude-opus-5-5")
            assert 0.0095 <= await high_of(client, image) <= 0.015


async def test_a_pdf_may_have_as_many_pages_as_the_model_reads(sandbox: Sandbox, key: str) -> None:
    async with agent(sandbox.url, key, batch=CAPPED) as client:
        # A million tokens of claude-haiku-5-5 as a long prompt: 0.25 USD.
        assert await high_of(client, ask(content=pdf())) >= 0.25
        batch_id, error = await create(client, {"requests": [ask(f"d{number}", pdf()) for number in range(1_000)]})
    assert (batch_id, error["type"]) == (None, "cost_cap")
    assert existing(sandbox.url, key) == []


SHAPED = {"type": "base64", "media_type": "image/png", "data": "word " * 20_000}
LOOKALIKE = {"type": "document", "source": {"type": "url", "url": "https://example.com"}}


@pytest.mark.parametrize(
    "request_",
    [
        ask(content=[{"type": "tool_use", "id": "t", "name": "n", "input": SHAPED | {"source": SHAPED}}]),
        ask(
            content=[
                {
                    "type": "tool_use",
                    "id": "t",
                    "name": "n",
                    "input": {"content": [{"type": "image", "source": SHAPED}]},
                }
            ]
        ),
        ask(
            tools=[{"name": "n", "input_schema": {"type": "object", "examples": [{"type": "image", "source": SHAPED}]}}]
        ),
        ask(system=json.dumps({"type": "image", "source": SHAPED})),
        ask(content=json.dumps({"type": "image", "source": SHAPED})),
        ask(content=[{"type": "text", "text": json.dumps({"type": "image", "source": SHAPED})}]),
    ],
    ids=["tool input", "content in tool input", "schema", "system", "text", "text block"],
)
async def test_what_only_looks_like_an_image_counts_as_the_text_it_is(
    request_: dict[str, Any], sandbox: Sandbox, key: str
) -> None:
    async with agent(sandbox.url, key) as client:
        _, said = await create(client, {"requests": [request_], "dry_run": True})
    assert said["dry_run"]["estimate"]["input_tokens"] >= 100_000 / 4
    assert said["dry_run"]["estimate"]["cost_usd"]["high"] >= 100_000 / 2 * 0.05 / 1_000_000


async def test_what_only_looks_like_a_document_does_not_stop_a_create(sandbox: Sandbox, key: str) -> None:
    tools = [{"name": "n", "input_schema": {"type": "object"}}]
    looks = [
        ask("a", [{"type": "tool_use", "id": "t", "name": "n", "input": {"content": [LOOKALIKE]}}], tools=tools),
        ask("b", [{"type": "tool_use", "id": "t", "name": "n", "input": {"tools": [SEARCH], "container": "c"}}]),
        ask("c", json.dumps(LOOKALIKE)),
    ]
    async with agent(sandbox.url, key, batch=CAPPED) as client:
        batch_id, said = await create(client, {"requests": looks})
    assert batch_id, said


async def test_an_escaped_key_hides_nothing(sandbox: Sandbox, key: str, tmp_path: Path) -> None:
    for number, name in enumerate(("source", "content", "type")):
        line = json.dumps(ask(content=BY_URL)).replace(f'"{name}"', f'"\\u00{ord(name[0]):x}{name[1:]}"')
        (tmp_path / f"{number}.jsonl").write_text(line)
        async with agent(sandbox.url, key, batch=BatchSettings((tmp_path,), max_cost_usd=1)) as client:
            batch_id, error = await create(client, {"requests_file": f"{number}.jsonl"})
        assert (batch_id, error["type"]) == (None, "cost_unknown")


ENDED = {
    "id": "msgbatch_1", "type": "message_batch", "processing_status": "ended",
    "request_counts": {"processing": 0, "succeeded": 1, "errored": 0, "canceled": 0, "expired": 0},
    "created_at": "2026-11-20T10:00:00Z", "ended_at": "2026-11-20T10:10:00Z", "expires_at": "2026-11-21T10:00:00Z",
    "cancel_initiated_at": None, "archived_at": None, "results_url": "https://example.com",
}  # fmt: skip
USAGE = {"input_tokens": 100_000, "output_tokens": 10_000, "service_tier": "batch"}
TOKENS_USD = 0.005 + 0.0025


@pytest.mark.parametrize(
    ("usage", "message", "cost_usd"),
    [
        ({}, {}, TOKENS_USD),
        ({"inference_geo": "global"}, {}, TOKENS_USD),
        ({"inference_geo": "not_available"}, {}, TOKENS_USD),
        ({"inference_geo": "us"}, {}, TOKENS_USD * 1.1),
        ({"server_tool_use": {"web_search_requests": 1_000, "web_fetch_requests": 7}}, {}, TOKENS_USD + 10),
        ({"server_tool_use": {"web_search_requests": 1_000}, "inference_geo": "us"}, {}, TOKENS_USD * 1.1 + 10),
        ({"server_tool_use": None, "iterations": None}, {"container": None}, TOKENS_USD),
        ({"service_tier": "standard"}, {}, TOKENS_USD * 2),
        ({"iterations": [{"type": "message", "input_tokens": 1}]}, {}, TOKENS_USD),
        # What cannot be known from what is told.
        ({"inference_geo": "moon"}, {}, None),
        ({"service_tier": "priority"}, {}, None),
        ({"server_tool_use": {"code_execution_requests": 1}}, {}, None),
        ({"server_tool_use": {"thought_transfer_requests": 1}}, {}, None),
        ({"server_tool_use": {"web_search_requests": "many"}}, {}, None),
        ({"iterations": [{"type": "advisor_message", "input_tokens": 1}]}, {}, None),
        ({}, {"container": {"id": "container_1", "expires_at": "2026-11-20T10:10:00Z"}}, None),
        ({"input_tokens": None}, {}, None),
        ({"output_tokens": -1}, {}, None),
        ({}, {"usage": None}, None),
    ],
    ids=repr,
)
async def test_what_a_batch_cost(usage: dict[str, Any], message: dict[str, Any], cost_usd: float | None) -> None:
    told = {"model": "claude-haiku-5-5", "stop_reason": "end_turn", "content": [], "usage": USAGE | usage} | message
    row = json.dumps({"custom_id": "r0", "result": {"type": "succeeded", "message": told}}).encode()
    with scripted_upstream(answer(200, ENDED), answer(200, row + b"\n", kind="application/x-jsonl")) as upstream:
        async with agent(upstream.url, "key") as client:
            result = await client.call_tool(RESULTS, {"message_batch_id": "msgbatch_1"})
    assert not result.is_error, text_of(result)
    found = result.structured_content["usage"]["cost_usd"]
    assert found == (cost_usd if cost_usd is None else pytest.approx(cost_usd))


BEGUN = (
    ENDED
    | {"processing_status": "in_progress", "ended_at": None, "results_url": None}
    | {"request_counts": {"processing": 1, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}}
)


@pytest.mark.parametrize(
    ("searches", "freed"),
    [({"web_search_requests": 0}, True), ({"web_search_requests": 100}, False), ({"new": 1}, False)],
)
async def test_only_a_cost_that_is_known_frees_the_cap(searches: dict[str, int], freed: bool) -> None:
    model = {"model": "claude-opus-5-5"}
    told = {
        **model,
        "stop_reason": "end_turn",
        "usage": USAGE | {"input_tokens": 1, "output_tokens": 1, "server_tool_use": searches},
    }
    row = json.dumps({"custom_id": "r0", "result": {"type": "succeeded", "message": told}}).encode()
    script = [answer(200, BEGUN), answer(200, ENDED), answer(200, row + b"\n", kind="application/x-jsonl")]
    second = answer(200, BEGUN | {"id": "msgbatch_2"})
    with scripted_upstream(*script, second) as upstream:
        async with agent(upstream.url, "key", batch=CAPPED) as client:
            await persist(client, {"requests": [ask("r0", max_tokens=60_000, **model)]})
            await client.call_tool(RESULTS, {"message_batch_id": "msgbatch_1"})
            batch_id, said = await create(client, {"requests": [ask("r1", max_tokens=60_000, **model)]})
    assert (batch_id == "msgbatch_2") == freed, said
    assert freed or said["type"] == "cost_cap"


async def test_a_batch_of_unknown_cost_stands_in_the_way_of_others(sandbox: Sandbox, key: str, tmp_path: Path) -> None:
    """A server without a cap made it, in the same ledger."""
    async with agent(sandbox.url, key, state=tmp_path) as client:
        earlier = await persist(client, {"requests": [ask(content=BY_URL)]})
    async with agent(sandbox.url, key, state=tmp_path, batch=CAPPED) as client:
        batch_id, error = await create(client, {"requests": requests(1)})
        assert (batch_id, error["type"]) == (None, "cost_unknown")
        assert earlier in error["message"]
        sandbox.end(earlier)
        await client.call_tool(RESULTS, {"message_batch_id": earlier})
        await persist(client, {"requests": requests(1)})


NUMBERS = ["1e30", "1e400", "-0", "-0.0", "true", '"5"', "1.5", "null", str(10**30), str(2**64), str(-(2**70))]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("capped", [True, False], ids=["capped", "free"])
async def test_max_tokens_that_are_no_number_of_tokens_are_a_problem_of_that_request(
    number: str, capped: bool, sandbox: Sandbox, key: str, tmp_path: Path
) -> None:
    line = json.dumps(ask("odd", max_tokens=-9)).replace("-9", number)
    (tmp_path / "in.jsonl").write_text(f"{json.dumps(ask('plain'))}\n{line}\n")
    (tmp_path / "rows.jsonl").write_text(f'{{"n": 5}}\n{{"n": {number}}}\n')
    template = ask(max_tokens="{{n}}")["params"]
    settings = BatchSettings((tmp_path,), max_cost_usd=1 if capped else None)
    async with agent(sandbox.url, key, batch=settings) as client:
        for source in ({"requests_file": "in.jsonl"}, {"rows_file": "rows.jsonl", "template": template}):
            _, said = await create(client, {**source, "dry_run": True})
            [problem] = said["dry_run"]["problems"]
            assert (problem["severity"], problem["where"][0].partition(",")[0]) == ("error", "line 2"), problem
            _, error = await create(client, source)
            assert error["type"] == "invalid_requests"
        if number != "1e400":  # no JSON library of a client writes that
            _, error = await create(client, {"requests": [ask("plain"), json.loads(line)]})
            assert error["type"] == "invalid_requests"
            assert "requests[1].params.max_tokens" in error["message"]
    assert existing(sandbox.url, key) == []


@pytest.mark.parametrize("number", NUMBERS)
def test_max_tokens_that_are_no_number_of_tokens_over_rest(number: str, capped_rest: Served) -> None:
    body = json.dumps({"requests": [ask(max_tokens=-9)]}).replace("-9", number).encode()
    reply = raw(capped_rest, "POST", BATCHES, body)
    assert (reply.status, b"requests[0]" in reply.body) == (400, True), reply.body


async def test_a_model_of_unknown_price_costs_nobody_knows_what(sandbox: Sandbox, key: str) -> None:
    async with agent(sandbox.url, key) as client:
        _, said = await create(client, {"requests": [ask(model="claude-none-9")], "dry_run": True})
    estimate = said["dry_run"]["estimate"]
    assert estimate["cost_usd"] == {"low": None, "high": None}
    assert "standard_cost_usd" not in estimate
    assert estimate["unknown_models"] == ["claude-none-9"]
    async with agent(sandbox.url, key, batch=CAPPED) as client:
        result = await client.call_tool(CREATE, {"requests": [ask(model="claude-none-9")]})
    assert "--max-cost-usd only allows batches whose cost can be estimated" in text_of(result)
