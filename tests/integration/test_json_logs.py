"""`--log-format json` of whole servers: every line is an object, and a call is found again by its request's id."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.e2e.test_shutdown import HEADERS, META, MODERN
from tests.e2e.test_stdio import Raw
from tests.support.rest import BATCHES, raw, rest_server
from tests.support.scripted import answer, failure, scripted_upstream
from tests.support.servers import RETRIEVE, Process, running
from tests.support.teams import bearer, door, service

KEY = "sk-ant-api03-canary-of-json-logs"
FLAGS = ("--log-format", "json", "--log-level", "debug")
TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"
UNAUTHORIZED = failure(401, "authentication_error", f"{KEY} is no key")


def records(process: Process) -> list[dict[str, Any]]:
    """The lines that a server has written, which has ended."""
    assert not [line for line in process.lines if KEY in line]
    return [json.loads(line) for line in process.lines]


def of_request(process: Process, request_id: str) -> dict[str, dict[str, Any]]:
    """The records of a request, the latest of each logger."""
    return {each["logger"]: each for each in records(process) if each.get("request_id") == request_id}


def post(url: str, headers: dict[str, str], meta: dict[str, Any] | None = None) -> httpx2.Response:
    params = {"name": RETRIEVE, "arguments": {"message_batch_id": "msgbatch_x"}, **({"_meta": meta} if meta else {})}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return httpx2.post(url, json=message, headers=HEADERS | headers, timeout=30)


@pytest.mark.parametrize("era", ["2025", "2026"])
def test_a_call_over_http_is_found_by_the_id_that_its_client_gave(era: str) -> None:
    headers = {"x-request-id": "client-1", "traceparent": TRACEPARENT}
    modern = MODERN | {"mcp-name": RETRIEVE} if era == "2026" else {}
    with scripted_upstream(UNAUTHORIZED) as upstream, rest_server(upstream.url, *FLAGS, key=KEY) as served:
        said = post(served.mcp, headers | modern, META if era == "2026" else None)
        assert said.headers["x-request-id"] == "client-1"
        assert "authentication_error" in said.text
    found = of_request(served.process, "client-1")
    tool = found["batches_mcp.serve.calls"]
    assert tool["tool"] == RETRIEVE
    assert tool["error_type"] == "authentication_error"
    assert tool["upstream_request_id"] == "req_scripted"
    assert tool["trace_id"] == TRACE
    assert tool["duration_s"] > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", tool["time"])
    assert found["batches_mcp.serve.identified"]["http_status"] == 200
    assert all(each["level"] in ("debug", "info", "warning", "error") for each in records(served.process))


@pytest.mark.parametrize("given", ["", "with space", "a" * 129, 'quote"', "<script>"])
def test_an_id_that_could_do_harm_is_not_taken(given: str) -> None:
    with rest_server("http://127.0.0.1:9", *FLAGS) as served:
        said = raw(served, "GET", "/nowhere", x_request_id=given, traceparent=f"00-{'0' * 32}-b7ad6b7169203331-01")
    own = said.headers["x-request-id"]
    assert re.fullmatch(r"req_own_[0-9a-f]{16}", own)
    # An error of ours is found by what its envelope says.
    assert json.loads(said.body)["request_id"] == own
    assert "trace_id" not in of_request(served.process, own)["batches_mcp.serve.identified"]


def test_a_caller_of_a_service_is_in_its_lines_and_so_is_one_over_rest(tmp_path: Path) -> None:
    batch = answer(200, {"id": "msgbatch_x"}, {"x-request-id": "gateway-1", "request-id": "req_up"})
    with scripted_upstream(batch) as upstream, service(upstream.url, tmp_path, *FLAGS, key=KEY) as served:
        post(door(served), {"x-request-id": "over-mcp"} | bearer("search-key"))
        said = httpx2.get(
            f"{served.url}{BATCHES}?limit=1", headers={"x-request-id": "over-rest"} | bearer("ads-key"), timeout=30
        )
        refused = httpx2.get(served.url + BATCHES, headers={"x-request-id": "refused"} | bearer("no-key"), timeout=30)
    assert (said.headers["x-request-id"], refused.headers["x-request-id"]) == ("over-rest", "refused")
    for request_id, team, principal in (("over-mcp", "search", "search-key"), ("over-rest", "ads", "ads-key")):
        line = of_request(served.process, request_id)["batches_mcp.serve.identified"]
        assert (line["team"], line["principal"]) == (team, principal)
    line = of_request(served.process, "refused")["batches_mcp.serve.identified"]
    assert (line["http_status"], "team" in line) == (401, False)


def test_a_call_over_stdio_has_an_id_of_its_own_and_the_trace_of_its_client() -> None:
    params = {"name": RETRIEVE, "arguments": {"message_batch_id": "x"}, "_meta": {"traceparent": TRACEPARENT}}
    with scripted_upstream(UNAUTHORIZED) as upstream, running(["--base-url", upstream.url, *FLAGS], KEY) as process:
        client = Raw(process)
        client.start()
        client.ask({"method": "tools/call", "params": params})
        client.ask({"method": "tools/call", "params": params | {"_meta": {}}})
    first, second = (each for each in records(process) if each.get("tool"))
    assert first["request_id"] != second["request_id"]
    assert (first["trace_id"], "trace_id" in second) == (TRACE, False)


def test_what_uvicorn_says_is_json_as_well() -> None:
    with rest_server("http://127.0.0.1:9", *FLAGS) as served, socket.create_connection(served.address, 30) as client:
        client.sendall(b"no http\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 400"
    assert "Invalid HTTP request received." in [
        each["message"] for each in records(served.process) if each["logger"] == "uvicorn.error"
    ]


def test_a_server_that_cannot_start_says_so_in_json(tmp_path: Path) -> None:
    flags = ["serve", "--transport", "http", "--teams", str(tmp_path / "missing.yaml"), *FLAGS]
    with running(flags, KEY) as process:
        assert process.popen.wait(30) == 2
    [found] = records(process)
    assert (found["level"], found["logger"]) == ("error", "batches_mcp")
    assert "missing.yaml" in found["message"]


def test_logs_are_text_unless_json_is_asked_for() -> None:
    with rest_server("http://127.0.0.1:9", "--log-level", "info") as served:
        assert raw(served, "GET", "/nowhere").status == 404
        served.process.say_until("batches-mcp: INFO: batches_mcp.serve.identified: GET /nowhere: 404")


def test_probes_leave_no_line() -> None:
    with rest_server("http://127.0.0.1:9", *FLAGS) as served:
        assert raw(served, "GET", "/healthz").headers["x-request-id"].startswith("req_own_")
    assert not [each for each in records(served.process) if "/healthz" in each["message"]]
