"""What goes upstream is exactly what the capability file says, whatever the arguments are."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcp.client.client import Client

from batches_mcp import __version__
from tests.support.scripted import Received, answer, scripted_upstream
from tests.support.servers import CANCEL, CREATE, DELETE, LIST, RETRIEVE, SEED, server_for, text_of

pytestmark = pytest.mark.anyio

BATCHES = "/v1/messages/batches"
REQUEST = {
    "custom_id": "a-1",
    "params": {
        "model": "claude-haiku-5-5",
        "max_tokens": 1,
        "messages": [{"role": "user", "content": "ü"}],
        "tools": [{"name": "messen", "input_schema": {"type": "object", "größe": [None, 1.5, "ü"]}}],
    },
}


async def sent(tool: str, arguments: dict[str, object], **options: str | Path) -> Received:
    with scripted_upstream(answer(200, {"id": "x"})) as upstream:
        async with Client(server_for(upstream.url, **options)) as client:  # type: ignore[arg-type]
            result = await client.call_tool(tool, arguments)
            assert not result.is_error, text_of(result)
        [request] = upstream.received
        return request


@pytest.mark.parametrize(
    ("tool", "arguments", "method", "target"),
    [
        (LIST, {}, "GET", BATCHES),
        (LIST, {"limit": 5, "after_id": "a b&c=d"}, "GET", f"{BATCHES}?limit=5&after_id=a%20b%26c%3Dd"),
        (LIST, {"before_id": "é/?#"}, "GET", f"{BATCHES}?before_id=%C3%A9%2F%3F%23"),
        (CREATE, {"requests": [REQUEST]}, "POST", BATCHES),
        (RETRIEVE, {"message_batch_id": "msgbatch_01"}, "GET", f"{BATCHES}/msgbatch_01"),
        (DELETE, {"message_batch_id": "msgbatch_01"}, "DELETE", f"{BATCHES}/msgbatch_01"),
        (CANCEL, {"message_batch_id": "msgbatch_01"}, "POST", f"{BATCHES}/msgbatch_01/cancel"),
        (RETRIEVE, {"message_batch_id": "../../messages"}, "GET", f"{BATCHES}/%2E%2E%2F%2E%2E%2Fmessages"),
        (RETRIEVE, {"message_batch_id": ".."}, "GET", f"{BATCHES}/%2E%2E"),
        (RETRIEVE, {"message_batch_id": "%2e%2e%2f"}, "GET", f"{BATCHES}/%252e%252e%252f"),
        (RETRIEVE, {"message_batch_id": "a?b#c\\d;e"}, "GET", f"{BATCHES}/a%3Fb%23c%5Cd%3Be"),
        (RETRIEVE, {"message_batch_id": "批 次"}, "GET", f"{BATCHES}/%E6%89%B9%20%E6%AC%A1"),
        (RETRIEVE, {"message_batch_id": "{{env.ANTHROPIC_API_KEY}}"}, "GET", f"{BATCHES}/%7B%7Benv%2EANTHROPIC_API_KEY%7D%7D"),
    ],
)  # fmt: skip
async def test_method_path_and_query_are_exact(
    tool: str, arguments: dict[str, object], method: str, target: str
) -> None:
    request = await sent(tool, arguments)
    assert (request.method, request.target) == (method, target)


@given(
    batch_id=st.text(min_size=1, max_size=200).filter(
        lambda text: text.strip() and not any("\ud800" <= char <= "\udfff" for char in text)
    )
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_id_leaves_its_segment_of_the_path(batch_id: str) -> None:
    target = anyio.run(lambda: sent(RETRIEVE, {"message_batch_id": batch_id})).target
    head, slash, segment = target.rpartition("/")
    assert head + slash == f"{BATCHES}/"
    assert not set(segment) & set("?#/.\\ ")


async def test_an_empty_id_is_refused_and_nothing_is_sent() -> None:
    with scripted_upstream(answer(200, {})) as upstream:
        async with Client(server_for(upstream.url)) as client:
            result = await client.call_tool(RETRIEVE, {"message_batch_id": ""})
        assert "message_batch_id: has 0 characters, fewer than the minimum of 1" in text_of(result)
        assert upstream.received == []


async def test_headers_are_the_declared_ones_and_the_clients_own() -> None:
    request = await sent(RETRIEVE, {"message_batch_id": "x"}, key="sk-ant-a-key")
    assert dict(request.headers) | {"host": ""} == {
        "host": "",
        "accept": "*/*",
        "accept-encoding": "identity",
        "connection": "keep-alive",
        "user-agent": f"batches-mcp/{__version__}",
        "anthropic-version": "2023-06-01",
        "x-api-key": "sk-ant-a-key",
    }


async def test_the_api_version_can_be_chosen_in_the_environment() -> None:
    with scripted_upstream(answer(200, {})) as upstream:
        async with Client(server_for(upstream.url, variables={"ANTHROPIC_VERSION": "2026-10-21"})) as client:
            await client.call_tool(LIST, {})
        assert upstream.received[0].headers["anthropic-version"] == "2026-10-21"


async def test_the_seed_gets_the_version_header_it_cannot_say() -> None:
    request = await sent(LIST, {}, file=SEED)
    assert request.headers["anthropic-version"] == "2023-06-01"


async def test_a_create_sends_its_requests_unchanged() -> None:
    ours = await sent(CREATE, {"requests": [REQUEST]})
    seeds = await sent(CREATE, {"body": {"requests": [REQUEST], "more": {"nested": [1, 2.5, True, None]}}}, file=SEED)
    assert ours.headers["content-type"] == seeds.headers["content-type"] == "application/json"
    assert json.loads(ours.body) == {"requests": [REQUEST]}
    assert json.loads(seeds.body) == {"requests": [REQUEST], "more": {"nested": [1, 2.5, True, None]}}
    assert ours.body == json.dumps({"requests": [REQUEST]}, ensure_ascii=False, separators=(",", ":")).encode()


@pytest.mark.parametrize("tool", [DELETE, CANCEL])
async def test_what_has_no_body_sends_none(tool: str) -> None:
    request = await sent(tool, {"message_batch_id": "x"})
    assert request.body == b""
    assert request.headers.get("content-length", "0") == "0"
    assert "content-type" not in request.headers


async def test_unknown_fields_of_an_answer_pass_through() -> None:
    page = {
        "data": [{"id": "b", "novel": {"deep": [1, None, "ü\u2028"]}}],
        "has_more": False,
        "first_id": "b",
        "last_id": "b",
        "extra": 12345678901234567890,
    }
    with scripted_upstream(answer(200, page)) as upstream:
        async with Client(server_for(upstream.url)) as client:
            result = await client.call_tool(LIST, {})
    assert result.structured_content == page


async def test_an_answer_without_a_body_is_an_empty_object() -> None:
    with scripted_upstream(answer(200, b"", kind="")) as upstream:
        async with Client(server_for(upstream.url)) as client:
            result = await client.call_tool(DELETE, {"message_batch_id": "x"})
    assert (result.is_error, result.structured_content) == (False, {})
