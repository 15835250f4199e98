"""The file that the project was created from, byte for byte: it serves six working tools, unchanged and forever."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from batches_mcp import language
from batches_mcp.core.diagnostics import Severity
from batches_mcp.core.plan import HintsPlan, ToolPlan
from batches_mcp.exchange import request
from batches_mcp.language.compile import compile_server

SEED = Path(__file__).parent / "seed" / "message-batches-message-batches.yaml"
BATCHES = "https://api.anthropic.com/v1/messages/batches"
KEY = {"ANTHROPIC_API_KEY": SecretStr("test-key")}

ONE_BATCH = {
    "type": "object",
    "properties": {"message_batch_id": {"type": "string", "minLength": 1}},
    "additionalProperties": False,
    "required": ["message_batch_id"],
}
NOTHING: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
BODY = {
    "type": "object",
    "properties": {"body": {"type": "object", "description": "Request body (JSON)."}},
    "additionalProperties": False,
    "required": ["body"],
}

# The lines of the tools' descriptions, which repeat their names.
THIN = (168, 178, 190, 200, 210, 220)

# Tool, input schema, hints (read-only, destructive, idempotent), and the request of a call.
TOOLS = [
    ("anthropic-list-message-batches", NOTHING, (True, False, True), f"GET {BATCHES}"),
    ("anthropic-create-message-batch", BODY, (False, False, False), f"POST {BATCHES}"),
    ("anthropic-retrieve-message-batch", ONE_BATCH, (True, False, True), f"GET {BATCHES}/a%2Fb"),
    ("anthropic-delete-message-batch", ONE_BATCH, (False, True, True), f"DELETE {BATCHES}/a%2Fb"),
    ("anthropic-cancel-message-batch", ONE_BATCH, (False, False, False), f"POST {BATCHES}/a%2Fb/cancel"),
    ("anthropic-retrieve-message-batch-results", ONE_BATCH, (True, False, True), f"GET {BATCHES}/a%2Fb/results"),
]


@pytest.fixture(scope="module")
def tools() -> dict[str, ToolPlan]:
    return {tool.name: tool for tool in compile_server(language.read(SEED)).tools}


def test_the_copy_is_the_original() -> None:
    digest = hashlib.sha256(SEED.read_bytes()).hexdigest()
    assert digest == "29f5063e0b7d8b9e2dc46b9ec000f3475b58af14062e80c1b9eab5345bc17045"


def test_it_loads_with_these_warnings_and_no_error() -> None:
    problems = language.check(SEED)
    assert {problem.severity for problem in problems} == {Severity.WARNING}
    assert [(problem.line, problem.col, problem.code) for problem in problems] == [
        (19, 14, "default-header"),
        (44, 11, "dialect"),
        (47, 13, "name-form"),
        (66, 13, "name-form"),
        (77, 13, "name-form"),
        *((line, 20, "thin-description") for line in THIN),
    ]


def test_it_serves_six_tools_in_its_own_order(tools: dict[str, ToolPlan]) -> None:
    assert list(tools) == [name for name, *_ in TOOLS]


@pytest.mark.parametrize(("name", "schema", "hints", "sent"), TOOLS, ids=[name for name, *_ in TOOLS])
def test_a_tool_has_its_inputs_hints_and_request(
    tools: dict[str, ToolPlan], name: str, schema: dict[str, Any], hints: tuple[bool, bool, bool], sent: str
) -> None:
    tool = tools[name]
    assert tool.input_schema == schema
    # The file does not say openWorld: MCP's default is true.
    assert tool.hints == HintsPlan(*hints, open_world=True)
    arguments = {"message_batch_id": "a/b", "body": {"requests": []}}
    built = request.build(tool.request, arguments, KEY)
    assert f"{built.method} {built.url}" == sent
    assert dict(built.headers)["x-api-key"] == "test-key"


@pytest.mark.parametrize("name", [name for name, *_ in TOOLS])
def test_every_request_carries_the_version_that_the_file_does_not_say(tools: dict[str, ToolPlan], name: str) -> None:
    arguments = {"message_batch_id": "x", "body": {}}
    assert dict(request.build(tools[name].request, arguments, KEY).headers)["anthropic-version"] == "2023-06-01"


def test_the_version_is_not_sent_to_another_vendor(tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(SEED.read_text("utf-8").replace("api.anthropic.com", "api.example.com"), encoding="utf-8")
    for tool in compile_server(language.read(other)).tools:
        assert "anthropic-version" not in {feed.name for feed in tool.request.feeds}


def test_create_sends_its_body_as_the_whole_entity(tools: dict[str, ToolPlan]) -> None:
    body = {"requests": [{"custom_id": "ü", "params": {"max_tokens": 1}}]}
    built = request.build(tools["anthropic-create-message-batch"].request, {"body": body}, KEY)
    assert built.body == '{"requests":[{"custom_id":"ü","params":{"max_tokens":1}}]}'.encode()
    assert dict(built.headers)["Content-Type"] == "application/json"


@pytest.mark.parametrize("name", [name for name, *_ in TOOLS if "create" not in name])
def test_only_create_has_a_body(tools: dict[str, ToolPlan], name: str) -> None:
    assert request.build(tools[name].request, {"message_batch_id": "x"}, KEY).body is None
