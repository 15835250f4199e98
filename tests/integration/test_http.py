"""The HTTP server: who may reach it, what it refuses, and that the narrowing flags hold there as they do over stdio."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Iterator

import httpx2
import pytest
from mcp.client.client import Client

from batches_mcp.sandbox import Sandbox
from tests.support.servers import CREATE, LIST, RETRIEVE, Transport, connected, http_client, http_server, running

pytestmark = pytest.mark.anyio

TOKEN = "a-token-of-32-characters-or-so-00"
PING = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
HEADERS = {"accept": "application/json, text/event-stream", "content-type": "application/json"}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with http_server("--base-url", "http://127.0.0.1:9") as running_url:
        yield running_url


@pytest.fixture(scope="module")
def guarded_url() -> Iterator[str]:
    flags = ["--base-url", "http://127.0.0.1:9", "--allow-host", "mcp.example.com"]
    with http_server(*flags, BATCHES_MCP_TOKEN=TOKEN) as running_url:
        yield running_url


def post(url: str, **headers: str) -> httpx2.Response:
    return httpx2.post(url, json=PING, headers=HEADERS | headers)


def test_a_2025_client_needs_no_session(url: str) -> None:
    answer = post(url)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert "mcp-session-id" not in answer.headers
    assert answer.text.count('"name":"anthropic-') == 6


@pytest.mark.parametrize("path", ["/mcp", "/healthz", "/readyz", "/elsewhere"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1.evil.example:80"}, 421),
        ({"host": ""}, 421),
        ({"host": "localhost:1@evil.example"}, 421),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost.evil.example"}, 403),
    ],
)
def test_foreign_hosts_and_origins_are_turned_away_on_every_path(
    url: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = httpx2.post(url.replace("/mcp", path), json=PING, headers=HEADERS | headers)
    assert answer.status_code == status


@pytest.mark.parametrize(
    "headers", [{"host": "localhost:9090"}, {"host": "[::1]:9090"}, {"origin": "http://localhost:6274"}]
)
def test_hosts_and_origins_of_this_machine_are_let_in(url: str, headers: dict[str, str]) -> None:
    assert post(url, **headers).status_code == 200


def test_health_says_that_the_process_is_up(url: str, guarded_url: str) -> None:
    for each in (url, guarded_url):
        answer = httpx2.get(each.replace("/mcp", "/healthz"))
        assert (answer.status_code, answer.json()["status"]) == (200, "ok")


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer ü"]
)
def test_missing_and_wrong_tokens_get_the_same_answer(guarded_url: str, authorization: str | None) -> None:
    headers = {} if authorization is None else {"authorization": authorization.encode("latin-1").decode("latin-1")}
    answer = httpx2.post(
        guarded_url, json=PING, headers=[(k.encode(), v.encode("latin-1")) for k, v in (HEADERS | headers).items()]
    )
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.text == "A valid bearer token is needed: Authorization: Bearer <BATCHES_MCP_TOKEN>\n"


async def test_the_token_and_an_allowed_host_let_a_client_in(guarded_url: str) -> None:
    async with http_client(guarded_url, {"authorization": f"Bearer {TOKEN}", "host": "mcp.example.com"}) as client:
        assert len((await client.list_tools()).tools) == 6


LIMIT = "expected at most 33,554,432 bytes (32 MiB)."
FILES = "requests_file or rows_file names a file on the server"
REST = "a create over REST takes up to 256 MB"


@pytest.mark.parametrize(
    ("flags", "available", "not_switched_on"),
    [
        ((), ["several calls"], [(FILES, "--root DIR"), (REST, "--rest")]),
        (("--root", "."), ["several calls", FILES], [(REST, "--rest")]),
        (("--rest", "--rest-port", "0"), ["several calls", REST], [(FILES, "--root DIR")]),
        (("--rest", "--rest-port", "0", "--root", "."), ["several calls", FILES, REST], []),
    ],
)
def test_a_body_beyond_32_mib_is_refused_with_all_that_can_be_done_instead(
    flags: tuple[str, ...], available: list[str], not_switched_on: list[tuple[str, str]]
) -> None:
    body = b"x" * ((32 << 20) + 1)
    with http_server("--base-url", "http://127.0.0.1:9", *flags) as url:
        declared = httpx2.post(url, content=body, headers=HEADERS)
        chunked = httpx2.post(url, content=iter([body[: 1 << 24], body[1 << 24 :]]), headers=HEADERS)
    assert (declared.status_code, chunked.status_code) == (413, 413)
    assert declared.text.startswith(f"The request is too large: found 33,554,433 bytes, {LIMIT}\n")
    assert chunked.text == declared.text.replace("33,554,433 bytes", "more than that")
    lines = declared.text.splitlines()
    for way in available:
        assert next(line for line in lines if way in line).startswith("- Available: ")
    for way, flag in not_switched_on:
        [line] = [line for line in lines if way in line]
        assert line.startswith("- Not switched on: ")
        assert line.endswith(f"Start the server with {flag}.")
    assert "batches-mcp run FILE -o OUT" in lines[-1]
    assert ("POST /v1/messages/batches" in declared.text) == ("--rest" in flags)


def test_a_server_that_creates_nothing_names_no_ways_to_create() -> None:
    with http_server("--base-url", "http://127.0.0.1:9", "--read-only") as url:
        answer = httpx2.post(url, content=b"x" * ((32 << 20) + 1), headers=HEADERS)
    assert answer.text == f"The request is too large: found 33,554,433 bytes, {LIMIT}\n"


async def test_a_five_megabyte_argument_arrives(sandbox: Sandbox, key: str) -> None:
    message = {"role": "user", "content": "x" * 5_000_000}
    params = {"model": "claude-haiku-5-5", "max_tokens": 9, "messages": [message]}
    for transport in ("stdio", "http"):
        async with connected(transport, "auto", sandbox.url, key) as client:
            created = await client.call_tool(CREATE, {"requests": [{"custom_id": transport, "params": params}]})
            assert created.structured_content["request_counts"]["processing"] == 1
    sent = [each for each in sandbox.requests if each.method == "POST"][-2:]
    assert all(each.body_bytes > 5_000_000 for each in sent)


@pytest.mark.parametrize(
    "flags",
    [("--host", "0.0.0.0"), ("--host", "192.0.2.7"), ("--host", "::"), ("--allow-host", "mcp.example.com")],
)
def test_a_server_open_to_others_refuses_to_start_without_a_token(flags: tuple[str, ...]) -> None:
    with running(["--transport", "http", "--port", "0", *flags]) as process:
        assert process.popen.wait(30) == 2
    [line] = process.lines
    assert "set BATCHES_MCP_TOKEN (or BATCHES_MCP_TOKEN_FILE)" in line


def test_a_port_in_use_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with running(["--transport", "http", "--port", port]) as process:
            assert process.popen.wait(30) == 1
    [line] = process.lines
    assert line.startswith(f"batches-mcp: cannot listen on 127.0.0.1 port {port}: Address already in use; ")
    assert line.endswith("choose another with --port")


def test_a_host_that_is_no_address_is_said_in_one_line() -> None:
    with running(["--transport", "http", "--host", "no-such-host.invalid"], BATCHES_MCP_TOKEN=TOKEN) as process:
        assert process.popen.wait(30) == 1
    assert "cannot listen on no-such-host.invalid port 9090: " in process.lines[-1]
    assert "Unknown error" not in process.lines[-1]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_its_code(number: signal.Signals) -> None:
    with running(["--transport", "http", "--port", "0", "--log-level", "debug"]) as process:
        process.say_until("serving MCP at")
        process.say_until("Application startup complete|Uvicorn running")
        process.popen.send_signal(number)
        assert process.popen.wait(15) == 128 + number
    assert any("lifespan closed" in line for line in process.lines)
    assert not any("Traceback" in line for line in process.lines)


NARROWED = [
    (("--read-only",), [LIST, RETRIEVE, "anthropic-retrieve-message-batch-results"]),
    (("--tools", f"{CREATE},{LIST}"), [LIST, CREATE]),
    (("--exclude", CREATE, "--read-only", "--tools", f"{CREATE},{LIST}"), [LIST]),
]


@pytest.mark.parametrize(("flags", "names"), NARROWED)
@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_flags_narrow_the_tools_on_every_transport(
    transport: Transport, flags: tuple[str, ...], names: list[str]
) -> None:
    async with connected(transport, "auto", "http://127.0.0.1:9", flags=flags) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == names
        if CREATE not in names:
            with pytest.raises(Exception, match="Unknown tool"):
                await client.call_tool(CREATE, {"requests": []})


async def test_flags_can_be_set_in_the_environment_and_a_flag_wins() -> None:
    with http_server("--tools", LIST, BATCHES_MCP_TOOLS=CREATE, BATCHES_MCP_BASE_URL="http://127.0.0.1:9") as url:
        async with Client(url) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == [LIST]


async def test_a_fastmcp_client_works_with_it(sandbox: Sandbox, key: str) -> None:
    import fastmcp

    with http_server("--base-url", sandbox.url, key=key) as url:
        async with fastmcp.Client(url) as client:
            assert len(await client.list_tools()) == 6
            result = await client.call_tool(LIST, {"limit": 3})
            assert result.structured_content == {"data": [], "has_more": False, "first_id": None, "last_id": None}
