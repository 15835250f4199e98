"""REST as a server: which operations it serves, who may use them, where it is, and what it says of itself."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from batches_mcp.sandbox import Sandbox, running_sandbox
from tests.support.rest import BATCHES, raw, rest_server
from tests.support.scripted import answer, scripted_upstream
from tests.support.servers import CANCEL, CAPABILITY, LIST, RETRIEVE, SEED, command, environment, running

TOKEN = "a-token-of-32-characters-or-so-00"
NOWHERE = "http://127.0.0.1:9"
OK = answer(200, {"id": "msgbatch_1"})

# What is asked for to see whether an operation is there: a refused method or path is known without the upstream.
ASKED = {
    "list": ("GET", BATCHES),
    "create": ("POST", BATCHES),
    "retrieve": ("GET", f"{BATCHES}/a"),
    "delete": ("DELETE", f"{BATCHES}/a"),
    "cancel": ("POST", f"{BATCHES}/a/cancel"),
    "results": ("GET", f"{BATCHES}/a/results"),
    "count": ("POST", "/v1/messages/count_tokens"),
}


def test_counting_tokens_is_free_and_so_goes_on_under_a_cap() -> None:
    counted = answer(200, {"input_tokens": 9})
    with scripted_upstream(counted) as upstream, rest_server(upstream.url, "--max-cost-usd", "1") as served:
        reply = raw(served, "POST", "/v1/messages/count_tokens", b'{"model":"m","messages":[]}')
        assert (reply.status, json.loads(reply.body)) == (200, {"input_tokens": 9})
        assert [(each.method, each.target) for each in upstream.received] == [("POST", "/v1/messages/count_tokens")]


@pytest.mark.parametrize(
    ("flags", "refused"),
    [
        ((), {}),
        (("--read-only",), {"create": 405, "delete": 405, "cancel": 404, "count": 404}),
        (("--read-only", "--tools", f"{LIST},{CANCEL}"), {"create": 405, "delete": 404, "retrieve": 404, "cancel": 404, "results": 404, "count": 404}),
        (("--tools", f"{LIST},{RETRIEVE}"), {"create": 405, "delete": 405, "cancel": 404, "results": 404}),
        (("--exclude", CANCEL), {"cancel": 404}),
        (("--capability", str(SEED), "--read-only"), {"create": 405, "delete": 405, "cancel": 404, "count": 404}),
    ],
)  # fmt: skip
def test_the_flags_that_narrow_the_tools_narrow_the_routes(flags: tuple[str, ...], refused: dict[str, int]) -> None:
    with scripted_upstream(OK) as upstream, rest_server(upstream.url, *flags) as served:
        body = b'{"requests":[]}'
        statuses = {
            name: raw(served, method, target, body if name in ("create", "count") else None).status
            for name, (method, target) in ASKED.items()
        }
        assert {name: status for name, status in statuses.items() if status != 200} == refused
        allowed = {request.method for request in upstream.received}
        assert "--read-only" not in flags or allowed == {"GET"}
        paths = json.loads(raw(served, "GET", "/openapi.json").body)["paths"]
        described = sum(len(methods) for methods in paths.values())
        assert described == 7 - len(refused)


def test_a_token_is_asked_for_and_stays_here() -> None:
    with (
        scripted_upstream(OK) as upstream,
        rest_server(upstream.url, "--allow-host", "rest.example.com", BATCHES_MCP_TOKEN=TOKEN) as served,
    ):
        for wrong in ({}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}, {"x_api_key": "wrong"}):
            reply = raw(served, "GET", BATCHES, **wrong)
            assert (reply.status, json.loads(reply.body)["error"]["type"]) == (401, "authentication_error")
            assert raw(served, "GET", "/openapi.json", **wrong).status == 401
        assert upstream.received == []
        for right in ({"authorization": f"Bearer {TOKEN}"}, {"x_api_key": TOKEN}):
            assert raw(served, "GET", BATCHES, **right).status == 200
        assert raw(served, "GET", BATCHES, authorization=f"Bearer {TOKEN}", host="rest.example.com:443").status == 200
        assert TOKEN not in str([request.headers for request in upstream.received])


def test_one_port_can_serve_both() -> None:
    port = free_port()
    flags = ["--port", port, "--rest", "--rest-port", port, "--base-url", NOWHERE]
    with running(["serve", "--transport", "http", *flags]) as process:
        url = process.say_until(r"and REST at (http://\S+)")[1]
        assert url == f"http://127.0.0.1:{port}"
        assert httpx2.get(f"{url}/healthz").json()["status"] == "ok"
        assert "<title>Message batches</title>" in httpx2.get(url).text
        assert httpx2.get(f"{url}/openapi.json").status_code == 200
        assert httpx2.get(f"{url}{BATCHES}").status_code == 502


def test_the_port_is_the_capabilitys_when_no_flag_says_otherwise(tmp_path: Path) -> None:
    port = free_port()
    file = tmp_path / "capability.yaml"
    file.write_text(CAPABILITY.read_text("utf-8").replace("port: 8080", f"port: {port}"), "utf-8")
    flags = ["--port", "0", "--rest", "--base-url", NOWHERE, "--capability", str(file)]
    with running(["serve", "--transport", "http", *flags]) as process:
        assert process.say_until(r"and REST at http://127.0.0.1:(\d+) ")[1] == port


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--rest"], "--transport http"),
        (["--transport", "http", "--rest-port", "0"], "add --rest"),
        (["--transport", "http", "--rest", "--capability", "NO_REST"], "exposes nothing over REST"),
        (["--transport", "http", "--rest", "--host", "0.0.0.0"], "BATCHES_MCP_TOKEN"),
        (["--transport", "http", "--rest", "--read-only", "--tools", CANCEL], "leave no"),
    ],
)
def test_settings_that_make_no_sense_are_refused(flags: list[str], said: str, tmp_path: Path) -> None:
    file = tmp_path / "no-rest.yaml"
    content = CAPABILITY.read_text("utf-8")
    begin, end = content.index("  - type: rest\n"), content.index("  - type: mcp\n")
    without = content[:begin] + content[end:].replace("x-schema: *requests", "x-schema: {minItems: 1}")
    file.write_text(without, "utf-8")
    flags = [str(file) if flag == "NO_REST" else flag for flag in flags]
    ran = subprocess.run(command("serve", *flags), capture_output=True, text=True, env=environment(None), timeout=30)
    assert ran.returncode == 2
    assert said in ran.stderr


def test_a_port_that_is_taken_is_named_with_its_flag() -> None:
    with rest_server(NOWHERE) as served:
        flags = ["--transport", "http", "--port", "0", "--rest", "--rest-port", str(served.address[1])]
        ran = subprocess.run(command("serve", *flags), capture_output=True, text=True, env=environment("k"), timeout=30)
        assert ran.returncode == 1
        assert "choose another with --rest-port" in ran.stderr


@pytest.mark.parametrize(("file", "count"), [(CAPABILITY, 7), (SEED, 6)], ids=["own", "published"])
def test_the_description_is_valid_and_the_one_that_is_exported(file: Path, count: int) -> None:
    ran = subprocess.run(
        command("export", "openapi", "--capability", str(file)), capture_output=True, text=True, env=environment(None)
    )
    exported = json.loads(ran.stdout)
    assert list(OpenAPIV31SpecValidator(exported).iter_errors()) == []
    with rest_server(NOWHERE, "--capability", str(file)) as served:
        described = json.loads(raw(served, "GET", "/openapi.json").body)
    assert described["servers"] == [{"url": served.url}]
    assert {**described, "servers": []} == {**exported, "servers": []}
    assert exported["servers"] == [{"url": "http://127.0.0.1:8080"}]
    operations = [operation for path in exported["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == count
    for operation in operations:
        assert operation["responses"].keys() == {"200", "4XX", "5XX"}


def test_the_description_says_what_a_create_takes() -> None:
    ran = subprocess.run(command("export", "openapi"), capture_output=True, text=True, env=environment(None))
    create = json.loads(ran.stdout)["paths"][BATCHES]["post"]
    requests = create["requestBody"]["content"]["application/json"]["schema"]["properties"]["requests"]
    assert (requests["minItems"], requests["maxItems"]) == (1, 100_000)
    assert requests["items"]["properties"]["custom_id"]["pattern"] == "^[a-zA-Z0-9_-]{1,64}$"
    [again] = [each for each in create["parameters"] if each["name"] == "batches-mcp-allow-duplicate"]
    assert (again["in"], again["required"]) == ("header", False)
    batch = create["responses"]["200"]["content"]["application/json"]["schema"]
    assert len(batch["required"]) == 10


@pytest.fixture(scope="module")
def quick_sandbox() -> Iterator[Sandbox]:
    with running_sandbox(process_seconds=0) as running_one:
        yield running_one


# OpenAPI has no words for it: two cursors exclude each other, and which betas and ids there are only the API knows.
_UNKNOWN_HERE = ("listmessagebatches", "createmessagebatch", "countmessagetokens")
_ONLY_THE_API_KNOWS = [word for name in _UNKNOWN_HERE for word in ("--exclude-operation-id", name)]


@pytest.mark.parametrize(
    "flags",
    [["--exclude-checks", "positive_data_acceptance"], ["--checks", "positive_data_acceptance", *_ONLY_THE_API_KNOWS]],
    ids=["all", "accepts"],
)
@pytest.mark.parametrize("examples", [10, pytest.param(300, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])])
def test_schemathesis_finds_nothing(quick_sandbox: Sandbox, flags: list[str], examples: int, tmp_path: Path) -> None:
    with rest_server(quick_sandbox.url) as served:
        run = [sys.executable, "-m", "schemathesis.cli", "run", f"{served.url}/openapi.json"]
        bounded = ["--max-examples", str(examples), "--seed", "1", "--generation-database", "none", "--no-color"]
        ran = subprocess.run([*run, *bounded, *flags], capture_output=True, text=True, cwd=tmp_path)
        assert ran.returncode == 0, ran.stdout[-5_000:] + ran.stderr[-2_000:]
