"""What the capability exposes over REST: the same requests upstream as the tools', and the answers as they are."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from mcp.client.client import Client

from tests.support.held import chunk
from tests.support.rest import BATCHES, Served, raw, rest_server
from tests.support.scripted import RESET, Received, Scripted, answer, failure, scripted_upstream
from tests.support.servers import (
    CANCEL,
    CREATE,
    DELETE,
    LIST,
    REQUEST,
    RESULTS,
    RETRIEVE,
    SEED,
    STATE_DIR,
    server_for,
    text_of,
)

pytestmark = pytest.mark.anyio

ROW = {"custom_id": "a-1", "params": {"model": "claude-haiku-5-5", "max_tokens": 1, "messages": [{"role": "user", "content": "ü"}]}}  # fmt: skip
BATCH = {"id": "msgbatch_1", "type": "message_batch", "results_url": None}
ENDED = {**BATCH, "results_url": "https://api.anthropic.com/v1/messages/batches/msgbatch_1/results"}
OK = answer(200, BATCH)
AGAIN = {"batches_mcp_allow_duplicate": "true"}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Scripted, Served]]:
    folder = str(tmp_path_factory.mktemp("state"))
    with scripted_upstream(OK) as upstream, rest_server(upstream.url, **{STATE_DIR: folder}) as served:
        yield upstream, served


@pytest.fixture
def upstream(pair: tuple[Scripted, Served]) -> Scripted:
    pair[0].steps[:] = [OK]
    pair[0].received.clear()
    return pair[0]


@pytest.fixture
def served(pair: tuple[Scripted, Served]) -> Served:
    return pair[1]


def compact(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def error(body: bytes) -> dict[str, Any]:
    content = json.loads(body)
    assert content["type"] == "error"
    details: dict[str, Any] = content["error"]
    return details


OPERATIONS = [
    (LIST, {}, "GET", BATCHES, None),
    (LIST, {"limit": 5, "after_id": "a b&c=d"}, "GET", f"{BATCHES}?after_id=a+b%26c%3Dd&limit=5", None),
    (CREATE, {"requests": [ROW]}, "POST", BATCHES, compact({"requests": [ROW]})),
    (CREATE, {"requests": [ROW, ROW | {"custom_id": "b"}], "betas": ["x-1", "y-2"]}, "POST", BATCHES, compact({"requests": [ROW, ROW | {"custom_id": "b"}]})),
    (RETRIEVE, {"message_batch_id": "msgbatch_1"}, "GET", f"{BATCHES}/msgbatch_1", None),
    (RETRIEVE, {"message_batch_id": "../../messages"}, "GET", f"{BATCHES}/..%2F..%2Fmessages", None),
    (RETRIEVE, {"message_batch_id": ".."}, "GET", f"{BATCHES}/%2e%2e", None),
    (RETRIEVE, {"message_batch_id": "{{env.ANTHROPIC_API_KEY}}"}, "GET", f"{BATCHES}/%7B%7Benv.ANTHROPIC_API_KEY%7D%7D", None),
    (RETRIEVE, {"message_batch_id": "批 次?#"}, "GET", f"{BATCHES}/%E6%89%B9%20%E6%AC%A1%3F%23", None),
    (DELETE, {"message_batch_id": "msgbatch_1"}, "DELETE", f"{BATCHES}/msgbatch_1", None),
    (CANCEL, {"message_batch_id": "msgbatch_1"}, "POST", f"{BATCHES}/msgbatch_1/cancel", None),
    (CANCEL, {"message_batch_id": "msgbatch_1"}, "POST", f"{BATCHES}/msgbatch_1/cancel", b"{}"),
]  # fmt: skip


@pytest.mark.parametrize(("tool", "arguments", "method", "target", "body"), OPERATIONS)
async def test_a_request_and_a_tool_call_are_the_same_upstream(
    upstream: Scripted,
    served: Served,
    tool: str,
    arguments: dict[str, Any],
    method: str,
    target: str,
    body: bytes | None,
) -> None:
    headers = {"anthropic_beta": ",".join(arguments["betas"])} if "betas" in arguments else {}
    assert raw(served, method, target, body, content_type="application/json", **headers).status == 200
    async with Client(server_for(upstream.url)) as client:
        result = await client.call_tool(tool, arguments)
        assert not result.is_error, text_of(result)
    over_rest, over_mcp = upstream.received
    assert over_rest == over_mcp


async def test_results_are_asked_for_alike(upstream: Scripted, served: Served) -> None:
    row = compact({"custom_id": "a", "result": {"type": "expired"}}) + b"\n"
    counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled"), 0) | {"expired": 1}
    batch = {**ENDED, "processing_status": "ended", "request_counts": counts}
    rows = answer(200, row, kind="application/x-jsonl")
    upstream.steps[:] = [rows, answer(200, batch), rows]
    assert raw(served, "GET", f"{BATCHES}/msgbatch_1/results").body == row
    async with Client(server_for(upstream.url)) as client:
        await client.call_tool(RESULTS, {"message_batch_id": "msgbatch_1"})
    over_rest, *others = upstream.received
    [over_mcp] = [each for each in others if each.target.endswith("/results")]
    assert over_rest == over_mcp


def test_the_callers_credentials_stay_here_and_ours_are_used(upstream: Scripted, served: Served) -> None:
    caller = {"x_api_key": "callers-1", "authorization": "Bearer callers-2", "cookie": "callers-3", "anthropic_version": "1999-01-01", "x_more": "callers-4", **AGAIN}  # fmt: skip
    assert raw(served, "POST", BATCHES, compact({"requests": [ROW]}), **caller).status == 200
    assert raw(served, "GET", BATCHES, **caller).status == 200
    for request in upstream.received:
        assert request.headers["x-api-key"] == "test-key"
        assert request.headers["anthropic-version"] == "2023-06-01"
        assert "callers" not in str(request.headers)
        assert "authorization" not in request.headers


@pytest.mark.parametrize("query", ["beta=true", "beta=true&limit=5&x=%2F%3F", "x=1&x=2"])
def test_a_query_that_the_file_does_not_know_is_handed_on(upstream: Scripted, served: Served, query: str) -> None:
    assert raw(served, "GET", f"{BATCHES}?{query}").status == 200
    handed_on = upstream.received[0].target.partition("?")[2]
    assert sorted(handed_on.split("&")) == sorted(query.split("&"))


@pytest.mark.parametrize(
    "script",
    [
        answer(200, b'{"a":  1}', {"request-id": "req_1", "anthropic-ratelimit-requests-remaining": "7", "retry-after": "10"}),
        answer(200, b'{"deep":' + b"[" * 5_000 + b"]" * 5_000 + b"}", {}),
        answer(200, b"not json", {}),
        answer(200, b"<p>", {}, kind="text/html"),
        answer(200, b"", {}),
        failure(400, "invalid_request_error", "bad"),
        failure(401, "authentication_error", "API key is invalid."),
        failure(404, "not_found_error", "gone", x_should_retry="false"),
        failure(413, "request_too_large", "large"),
        answer(503, b"<html>", {"x-should-retry": "false"}, kind="text/html"),
    ],
)  # fmt: skip
def test_an_answer_keeps_its_status_its_body_and_useful_headers(
    upstream: Scripted, served: Served, script: bytes
) -> None:
    upstream.steps[:] = [script]
    reply = raw(served, "GET", f"{BATCHES}/msgbatch_1")
    head, _, body = script.partition(b"\r\n\r\n")
    assert f"HTTP/1.1 {reply.status} ".encode() in head
    assert reply.body == body
    expected = {
        name.lower(): value for name, _, value in (line.decode().partition(": ") for line in head.split(b"\r\n")[1:])
    }
    assert expected.items() <= reply.headers.items()


def test_what_concerns_only_the_two_servers_is_not_handed_on(upstream: Scripted, served: Served) -> None:
    foreign = {"set-cookie": "a=b", "location": "https://elsewhere.example", "access-control-allow-origin": "*"}
    upstream.steps[:] = [answer(302, b"", foreign)]
    reply = raw(served, "GET", f"{BATCHES}/msgbatch_1")
    assert reply.status == 302
    assert not foreign.keys() & reply.headers.keys()
    assert len(upstream.received) == 1


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("POST", BATCHES, compact({"requests": [ROW]})),
        ("GET", f"{BATCHES}/msgbatch_1", None),
        ("POST", f"{BATCHES}/msgbatch_1/cancel", None),
    ],
)
@pytest.mark.parametrize("host", ["127.0.0.1:1234", "localhost"])
def test_a_batch_leads_to_its_results_here(
    upstream: Scripted, served: Served, method: str, target: str, body: bytes | None, host: str
) -> None:
    upstream.steps[:] = [answer(200, ENDED)]
    batch = json.loads(raw(served, method, target, body, host=host, **AGAIN).body)
    assert batch == {**ENDED, "results_url": f"http://{host}{BATCHES}/msgbatch_1/results"}


def test_the_batches_of_a_page_lead_to_their_results_here(upstream: Scripted, served: Served) -> None:
    upstream.steps[:] = [answer(200, {"data": [ENDED, BATCH, {**ENDED, "id": "a/../b"}], "has_more": False})]
    page = json.loads(raw(served, "GET", BATCHES).body)
    urls = [batch["results_url"] for batch in page["data"]]
    assert urls == [f"{served.url}{BATCHES}/msgbatch_1/results", None, f"{served.url}{BATCHES}/a%2F..%2Fb/results"]
    assert page["has_more"] is False


@pytest.mark.parametrize(
    ("method", "target", "body", "headers", "status", "kind", "word"),
    [
        ("GET", "/", None, {}, 404, "not_found_error", "openapi.json"),
        ("GET", f"{BATCHES}/", None, {}, 404, "not_found_error", ""),
        ("GET", f"{BATCHES}/a/b", None, {}, 404, "not_found_error", ""),
        ("GET", f"/v1/../v1{BATCHES[3:]}", None, {}, 404, "not_found_error", ""),
        ("GET", f"{BATCHES}/%ff", None, {}, 400, "invalid_request_error", "UTF-8"),
        ("PUT", BATCHES, None, {}, 405, "invalid_request_error", "GET, HEAD, OPTIONS, POST"),
        ("POST", "/openapi.json", None, {}, 405, "invalid_request_error", "GET"),
        (
            "GET",
            f"{BATCHES}?limit=many",
            None,
            {},
            400,
            "invalid_request_error",
            "limit: Input should be a valid integer",
        ),
        (
            "GET",
            f"{BATCHES}?limit=0",
            None,
            {},
            400,
            "invalid_request_error",
            "limit: Input should be greater than or equal to 1",
        ),
        ("GET", f"{BATCHES}?limit=1&limit=2", None, {}, 400, "invalid_request_error", "limit"),
        ("GET", f"{BATCHES}?limit=%ff", None, {}, 400, "invalid_request_error", "UTF-8"),
        ("POST", f"{BATCHES}/a/cancel", b'{"x":1}', {}, 400, "invalid_request_error", "takes no body"),
        ("POST", f"{BATCHES}/a/cancel", b"{", {}, 400, "invalid_request_error", "not JSON"),
        ("POST", BATCHES, b"x", {"content_type": "text/plain"}, 415, "invalid_request_error", "application/json"),
        ("POST", BATCHES, None, {"content_length": "256000001"}, 413, "request_too_large", "256,000,000"),
        ("POST", f"{BATCHES}/a/cancel", None, {"content_length": "33554433"}, 413, "request_too_large", "33,554,432"),
        ("GET", BATCHES, None, {"host": "elsewhere.example"}, 421, "invalid_request_error", "--allow-host"),
        ("GET", BATCHES, None, {"origin": "https://elsewhere.example"}, 403, "permission_error", "origin"),
    ],
)
def test_what_is_refused_here_is_refused_as_the_upstream_would(
    upstream: Scripted,
    served: Served,
    method: str,
    target: str,
    body: bytes | None,
    headers: Mapping[str, str],
    status: int,
    kind: str,
    word: str,
) -> None:
    reply = raw(served, method, target, body, **headers)
    assert (reply.status, error(reply.body)["type"]) == (status, kind)
    assert word in error(reply.body)["message"]
    assert reply.headers["request-id"] == json.loads(reply.body)["request_id"]
    assert upstream.received == []


def test_a_wrong_method_is_told_the_right_ones(served: Served) -> None:
    assert raw(served, "PATCH", f"{BATCHES}/a").headers["allow"] == "DELETE, GET, HEAD, OPTIONS"
    reply = raw(served, "OPTIONS", BATCHES)
    assert (reply.status, reply.headers["allow"], reply.body) == (204, "GET, HEAD, OPTIONS, POST", b"")


def test_head_is_get_without_the_body(upstream: Scripted, served: Served) -> None:
    upstream.steps[:] = [answer(200, BATCH, {"request-id": "req_7"})]
    reply = raw(served, "HEAD", f"{BATCHES}/msgbatch_1")
    assert (reply.status, reply.body, reply.headers["request-id"]) == (200, b"", "req_7")
    assert int(reply.headers["content-length"]) == len(json.dumps(BATCH))
    upstream.steps[:] = [answer(200, b'{"custom_id":"a"}\n', kind="application/x-jsonl")]
    reply = raw(served, "HEAD", f"{BATCHES}/msgbatch_1/results")
    assert (reply.status, reply.body, reply.headers["content-length"]) == (200, b"", "18")
    assert [request.method for request in upstream.received] == ["GET", "GET"]


def test_a_failure_that_passes_is_tried_again_for_what_may_be_repeated(upstream: Scripted, served: Served) -> None:
    passing = failure(529, "overloaded_error", "Overloaded", retry_after="0")
    upstream.steps[:] = [passing, RESET, OK]
    assert raw(served, "GET", f"{BATCHES}/msgbatch_1").status == 200
    upstream.steps[:] = [RESET, OK]
    assert raw(served, "DELETE", f"{BATCHES}/msgbatch_1").status == 200
    assert len(upstream.received) == 5


@pytest.mark.parametrize(("step", "status"), [(RESET, 502), (failure(500, "api_error", "oops"), 500)])
def test_what_may_have_been_carried_out_is_sent_once_and_says_so(step: bytes | str, status: int) -> None:
    with scripted_upstream(step, OK) as upstream, rest_server(upstream.url, "--no-ledger") as served:
        reply = raw(served, "POST", BATCHES, compact({"requests": [REQUEST]}))
        assert (reply.status, reply.headers["x-should-retry"]) == (status, "false")
        assert error(reply.body)["type"] == "api_error"
        upstream.steps[:] = [step, OK]
        reply = raw(served, "POST", f"{BATCHES}/a/cancel")
        assert (reply.status, reply.headers["x-should-retry"]) == (status, "false")
        assert len(upstream.received) == 2


def test_an_answer_that_holds_the_key_is_masked(upstream: Scripted, served: Served) -> None:
    upstream.steps[:] = [failure(400, "invalid_request_error", "the key test-key is wrong")]
    reply = raw(served, "GET", f"{BATCHES}/msgbatch_1")
    assert b"test-key" not in reply.body
    assert "the key" in error(reply.body)["message"]


@pytest.mark.parametrize("requests", [[], ["x"], [{"custom_id": "a.b"}], [{"params": {"stream": True}}, ROW, ROW]])
def test_what_the_requests_of_a_create_are_is_for_the_upstream_to_judge(
    upstream: Scripted, served: Served, requests: list[object]
) -> None:
    upstream.steps[:] = [failure(400, "invalid_request_error", "no batch")]
    body = compact({"requests": requests})
    reply = raw(served, "POST", BATCHES, body)
    assert (reply.status, error(reply.body)["message"]) == (400, "no batch")
    assert [request.body for request in upstream.received] == [body]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"requests":"x"}',
        b'{"requests":[],"more":1}',
        b'{"more":1,"requests":[]}',
        b'{"requests":[{}',
    ],
)
def test_a_create_of_another_form_is_refused(upstream: Scripted, served: Served, body: bytes) -> None:
    reply = raw(served, "POST", BATCHES, body)
    assert (reply.status, error(reply.body)["type"]) == (400, "invalid_request_error")
    assert upstream.received == []


@pytest.mark.parametrize(("target", "limit"), [(f"{BATCHES}/a/cancel", 33_554_432), (BATCHES, 256_000_000)])
def test_a_body_of_unknown_length_is_refused_when_it_grows_too_large(
    upstream: Scripted, served: Served, target: str, limit: int
) -> None:
    connection = http.client.HTTPConnection(*served.address, timeout=20)
    connection.putrequest("POST", target)
    connection.putheader("transfer-encoding", "chunked")
    connection.endheaders()
    piece = b" " * (limit // 32)
    for data in [*[piece] * 32, b"x"]:
        connection.send(chunk(data))
    reply = connection.getresponse()
    assert (reply.status, error(reply.read())["type"]) == (413, "request_too_large")
    connection.close()
    assert upstream.received == []


def test_a_large_create_arrives_whole_and_leaves_nothing_behind(upstream: Scripted, served: Served) -> None:
    body = compact({"requests": [{"custom_id": f"r-{n}", "params": {"x": "y" * 10_000}} for n in range(1_000)]})
    assert raw(served, "POST", BATCHES, body).status == 200
    assert upstream.received[0].body == body
    assert upstream.received[0].headers["content-length"] == str(len(body))


def test_without_a_key_the_answer_names_what_is_missing() -> None:
    with scripted_upstream(OK) as upstream, rest_server(upstream.url, key=None) as served:
        reply = raw(served, "GET", BATCHES)
        assert (reply.status, reply.headers["x-should-retry"]) == (500, "false")
        assert "ANTHROPIC_API_KEY" in error(reply.body)["message"]
        assert raw(served, "GET", "/openapi.json").status == 200
        assert upstream.received == []


def test_an_upstream_that_is_not_there_is_a_bad_gateway() -> None:
    with rest_server("http://127.0.0.1:9") as served:
        for method, target in (("GET", BATCHES), ("POST", BATCHES)):
            reply = raw(served, method, target, b'{"requests":[]}' if method == "POST" else None)
            assert (reply.status, error(reply.body)["type"]) == (502, "api_error")
            assert "127.0.0.1:9" in error(reply.body)["message"]
            assert "x-should-retry" not in reply.headers


async def test_mcp_and_rest_are_one_server(upstream: Scripted, served: Served) -> None:
    async with Client(served.mcp) as client:
        assert len((await client.list_tools()).tools) == 6
        assert raw(served, "GET", f"{BATCHES}/msgbatch_1").status == 200
        assert not (await client.call_tool(RETRIEVE, {"message_batch_id": "msgbatch_1"})).is_error
    assert len(upstream.received) == 2
    assert raw(served, "POST", "/mcp", b"{}").status == 404


def test_the_published_file_is_served_unchanged() -> None:
    with scripted_upstream(OK) as upstream, rest_server(upstream.url, "--capability", str(SEED)) as served:
        body = compact({"requests": [ROW]})
        targets: list[tuple[str, str, bytes | None]] = [
            ("GET", f"{BATCHES}?limit=3&after_id=x", None),
            ("POST", BATCHES, body),
            ("GET", f"{BATCHES}/a", None),
            ("DELETE", f"{BATCHES}/a", None),
            ("POST", f"{BATCHES}/a/cancel", None),
            ("GET", f"{BATCHES}/a/results", None),
        ]
        for method, target, content in targets:
            assert raw(served, method, target, content).status == 200
        received: list[Received] = upstream.received
        assert [(each.method, each.target, each.body or None) for each in received] == targets
        assert all(each.headers["anthropic-version"] == "2023-06-01" for each in received)
