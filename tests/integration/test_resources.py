"""Resources of a capability: listed, read by URI, and linked to from what tools answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import mcp.types as t
import pytest
from mcp import MCPError
from mcp.client.client import Client

from batches_mcp import language
from batches_mcp.core.redact import Redactor
from batches_mcp.core.state import StateFolder
from batches_mcp.language.compile import compile_server
from batches_mcp.sandbox import ManualClock, Sandbox
from batches_mcp.serve.mcp import build_server
from batches_mcp.store.folders import FolderState
from batches_mcp.tools.behaviors import behaviors, contributions
from batches_mcp.tools.call import Call
from tests.support.scripted import answer, failure, scripted_upstream
from tests.support.servers import (
    CANCEL,
    CAPABILITY,
    CREATE,
    DELETE,
    LIST,
    REQUEST,
    RESULTS,
    RETRIEVE,
    ROOT,
    SEED,
    Era,
    Transport,
    connected,
    http_server,
    server_for,
)

pytestmark = pytest.mark.anyio

VALID = ROOT / "tests" / "corpus" / "valid"
INVALID_PARAMS, INTERNAL_ERROR = -32602, -32603
SECRET = "a-secret-of-ours-1234"

eras = pytest.mark.parametrize("era", ["auto", "legacy"])


async def read(client: Client, uri: str) -> str:
    [contents] = (await client.read_resource(uri)).contents
    assert isinstance(contents, t.TextResourceContents)
    assert contents.uri == uri
    return contents.text


async def refused(client: Client, uri: str) -> MCPError:
    with pytest.raises(MCPError) as caught:
        await client.read_resource(uri)
    return caught.value


def links(result: t.CallToolResult) -> list[str]:
    return [block.uri for block in result.content if isinstance(block, t.ResourceLink)]


@eras
@pytest.mark.parametrize("transport", ["memory", "stdio", "http"])
async def test_a_batch_and_its_results_are_read_where_answers_link_to(
    transport: Transport, era: Era, sandbox: Sandbox, key: str
) -> None:
    assert isinstance(sandbox.clock, ManualClock)
    async with connected(transport, era, sandbox.url, key) as client:
        templates = (await client.list_resource_templates()).resource_templates
        assert [each.uri_template for each in templates] == [
            "batch://{message_batch_id}",
            "batch://{message_batch_id}/results",
        ]
        created = await client.call_tool(CREATE, {"requests": [REQUEST]})
        assert created.structured_content is not None
        batch_id = created.structured_content["id"]
        assert links(created) == [f"batch://{batch_id}"]
        assert json.loads(await read(client, f"batch://{batch_id}"))["processing_status"] == "in_progress"

        sandbox.clock.advance(60)
        retrieved = await client.call_tool(RETRIEVE, {"message_batch_id": batch_id})
        assert links(retrieved) == [f"batch://{batch_id}/results"]
        assert json.loads(await read(client, f"batch://{batch_id}")) == retrieved.structured_content
        results = await client.call_tool(RESULTS, {"message_batch_id": batch_id})
        assert json.loads(await read(client, links(retrieved)[0])) == results.structured_content


@eras
async def test_links_leave_the_content_of_an_answer_as_it_was(era: Era, sandbox: Sandbox, key: str) -> None:
    assert isinstance(sandbox.clock, ManualClock)
    async with connected("memory", era, sandbox.url, key) as client:
        created = await client.call_tool(CREATE, {"requests": [REQUEST]})
        assert created.structured_content is not None
        named = {"message_batch_id": created.structured_content["id"]}
        canceled = await client.call_tool(CANCEL, named)
        sandbox.clock.advance(60)
        results = await client.call_tool(RESULTS, named)
        listed = await client.call_tool(LIST, {})
        deleted = await client.call_tool(DELETE, named)
        failed = await client.call_tool(RETRIEVE, named)
    for each in (created, canceled, results, listed, deleted):
        first, *rest = each.content
        assert isinstance(first, t.TextContent)
        assert json.loads(first.text) == each.structured_content
        assert all(isinstance(block, t.ResourceLink) for block in rest)
    assert len(links(canceled)) == 1
    # Results are all there is, a list is of many, what is deleted is gone, and an error names nothing to read.
    assert links(results) == links(listed) == links(deleted) == links(failed) == []


async def test_clients_of_revisions_without_links_get_none(sandbox: Sandbox, key: str) -> None:
    with http_server("--base-url", sandbox.url, key=key) as url:
        kinds = {}
        for version in ("2025-03-26", "2025-06-18"):
            params = {"name": CREATE, "arguments": {"requests": [{**REQUEST, "custom_id": version}]}}
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
            headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": version}
            async with httpx2.AsyncClient() as http:
                response = await http.post(url, json=body, headers=headers)
            [data] = [line for line in response.text.splitlines() if line.startswith("data: {")]
            kinds[version] = [block["type"] for block in json.loads(data[6:])["result"]["content"]]
    assert kinds == {"2025-03-26": ["text"], "2025-06-18": ["text", "resource_link"]}


async def test_another_client_gets_the_answer_beside_its_link(sandbox: Sandbox, key: str) -> None:
    import fastmcp

    with http_server("--base-url", sandbox.url, key=key) as url:
        async with fastmcp.Client(url) as client:
            created = await client.call_tool(CREATE, {"requests": [REQUEST]})
            assert [block.type for block in created.content] == ["text", "resource_link"]
            assert created.structured_content is not None
            [contents] = await client.read_resource(f"batch://{created.structured_content['id']}")
    assert isinstance(contents, t.TextResourceContents)
    assert json.loads(contents.text)["id"] == created.structured_content["id"]


@eras
@pytest.mark.parametrize("transport", ["memory", "stdio", "http"])
async def test_an_unknown_uri_is_invalid_params(transport: Transport, era: Era, sandbox: Sandbox, key: str) -> None:
    async with connected(transport, era, sandbox.url, key) as client:
        for uri in ("batch://", "batch://a/b", "batch://%ff", "other://a", "", "file:///etc/passwd"):
            error = await refused(client, uri)
            assert error.code == INVALID_PARAMS
            assert error.message == f"Unknown resource: {uri}"
            assert error.data == {"uri": uri}


@eras
async def test_what_the_upstream_does_not_have_is_unknown_too(era: Era, sandbox: Sandbox, key: str) -> None:
    async with connected("memory", era, sandbox.url, key) as client:
        error = await refused(client, "batch://msgbatch_none")
    assert error.code == INVALID_PARAMS
    assert error.message.startswith("not_found_error (HTTP 404, request req_")
    assert error.data["uri"] == "batch://msgbatch_none"
    assert error.data["batches-mcp/error"]["status"] == 404


@eras
async def test_results_before_the_end_say_when_to_come_back(era: Era, sandbox: Sandbox, key: str) -> None:
    async with connected("memory", era, sandbox.url, key) as client:
        created = await client.call_tool(CREATE, {"requests": [REQUEST]})
        error = await refused(client, f"{links(created)[0]}/results")
    assert error.code == INTERNAL_ERROR
    assert error.data["batches-mcp/error"]["type"] == "batch_not_ended"
    assert error.data["batches-mcp/error"]["retryable"] is True


@eras
async def test_an_error_of_the_upstream_is_told_and_masked(era: Era) -> None:
    with scripted_upstream(failure(401, "authentication_error", f"The key {SECRET} is bad.")) as upstream:
        async with Client(server_for(upstream.url, SECRET), mode=era) as client:
            error = await refused(client, f"batch://{SECRET}")
    assert error.code == INTERNAL_ERROR
    assert "authentication_error (HTTP 401" in error.message
    assert error.data["batches-mcp/error"]["status"] == 401
    assert SECRET not in json.dumps([error.message, error.data])


@eras
async def test_a_missing_key_is_named(era: Era) -> None:
    async with Client(server_for("http://127.0.0.1:9", None), mode=era) as client:
        error = await refused(client, "batch://a")
    assert error.code == INTERNAL_ERROR
    assert "ANTHROPIC_API_KEY is not set" in error.message


@eras
async def test_a_key_that_the_upstream_echoes_is_masked(era: Era) -> None:
    with scripted_upstream(answer(200, {"id": f"<{SECRET}>"})) as upstream:
        async with Client(server_for(upstream.url, SECRET), mode=era) as client:
            assert json.loads(await read(client, "batch://a"))["id"] == "<***>"


@eras
async def test_a_failure_nobody_expected_says_nothing_of_itself(
    era: Era, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_: Call) -> dict[str, Any]:
        raise RuntimeError(f"the inside: {SECRET}")

    table = dict(behaviors())
    table["status"] = replace(table["status"], answer=fail)
    plan = compile_server(language.read(CAPABILITY), "http://127.0.0.1:9", contributions=contributions(table))
    server = build_server(plan, table, {}, Redactor.of([SECRET]), FolderState(StateFolder(state)))
    async with Client(server, mode=era) as client:
        error = await refused(client, "batch://a")
    assert error.code == INTERNAL_ERROR
    assert error.message.startswith("internal_error: internal error (reference ")
    assert "inside" not in json.dumps([error.message, error.data])
    [logged] = [message for message in caplog.messages if "unexpectedly" in message]
    assert logged.startswith("resource message-batch failed unexpectedly")


@pytest.mark.parametrize(
    ("uri", "target"),
    [
        ("shop://items", "/v1/items?page=1"),
        ("shop://items/a", "/v1/items/a"),
        ("shop://items/a%2F..%3Fb", "/v1/items/a%2F%2E%2E%3Fb"),
        ("shop://items/..", "/v1/items/%2E%2E"),
        ("shop://pages/7/items", "/v1/items?page=7"),
        ("shop://pages/7%26x=1/items", "/v1/items?page=7%26x%3D1"),
    ],
)
@eras
async def test_variables_of_a_uri_go_where_the_file_says(era: Era, uri: str, target: str) -> None:
    with scripted_upstream(answer(200, {"data": [1, 2]})) as upstream:
        async with Client(server_for(upstream.url, file=VALID / "resources.yaml"), mode=era) as client:
            text = await read(client, uri)
    [received] = upstream.received
    assert (received.method, received.target) == ("GET", target)
    assert json.loads(text) == ({"result": [1, 2]} if "pages" in uri else {"data": [1, 2]})


@eras
async def test_static_resources_are_listed_and_texts_are_read(era: Era) -> None:
    async with Client(server_for("http://127.0.0.1:9", file=VALID / "resource-file.yaml"), mode=era) as client:
        [resource] = (await client.list_resources()).resources
        assert (resource.uri, resource.mime_type, resource.size) == ("shop://terms", "text/plain", 12)
        assert (await client.list_resource_templates()).resource_templates == []
        assert await read(client, "shop://terms") == "No returns.\n"


@eras
async def test_what_is_too_large_for_an_answer_is_an_error(era: Era, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "terms.txt").write_text("x" * 40_001)
    (tmp_path / "files" / "complaint.txt").write_text("{{item}}")
    file = tmp_path / "capability.yaml"
    file.write_bytes((VALID / "resource-file.yaml").read_bytes())
    async with Client(server_for("http://127.0.0.1:9", file=file), mode=era) as client:
        error = await refused(client, "shop://terms")
    assert error.code == INTERNAL_ERROR
    assert "40,001 characters" in error.message
    with scripted_upstream(answer(200, {"data": "x" * 40_001})) as upstream:
        async with Client(server_for(upstream.url, file=VALID / "resources.yaml"), mode=era) as client:
            error = await refused(client, "shop://items")
    assert error.code == INTERNAL_ERROR
    assert error.data["batches-mcp/error"]["type"] == "unusable_answer"


@eras
async def test_a_file_without_them_advertises_nothing(era: Era) -> None:
    async with Client(server_for("http://127.0.0.1:9", file=SEED), mode=era) as client:
        capabilities = client.server_capabilities
        assert capabilities is not None
        assert (capabilities.resources, capabilities.prompts, capabilities.completions) == (None, None, None)
        assert capabilities.tools is not None
        with pytest.raises(MCPError) as caught:
            await client.read_resource("batch://a")
    assert caught.value.code == -32601


@pytest.mark.parametrize(
    ("flags", "resources", "prompts", "completes"),
    [
        ((), 2, ["submit-batch-from-file", "check-on-batches", "retry-failures"], True),
        (("--read-only",), 2, ["check-on-batches"], True),
        (("--exclude", f"{LIST},{RESULTS}"), 1, [], False),
        (("--tools", LIST), 0, ["check-on-batches"], False),
    ],
)
@eras
async def test_a_server_told_to_serve_less_offers_less(
    era: Era,
    flags: tuple[str, ...],
    resources: int,
    prompts: list[str],
    completes: bool,
    sandbox: Sandbox,
    key: str,
    tmp_path: Path,
) -> None:
    async with connected("stdio", era, sandbox.url, key, flags=flags, roots=(tmp_path,)) as client:
        capabilities = client.server_capabilities
        assert capabilities is not None
        assert capabilities.resources is not None
        assert [each.uri for each in (await client.list_resources()).resources] == ["ui://batches/dashboard.html"]
        assert (capabilities.prompts is not None) is bool(prompts)
        assert (capabilities.completions is not None) is completes
        assert len((await client.list_resource_templates()).resource_templates) == resources
        if prompts:
            assert [each.name for each in (await client.list_prompts()).prompts] == prompts


@pytest.mark.parametrize("excluded", [RETRIEVE, RESULTS])
async def test_a_resource_is_not_read_by_a_tool_that_is_excluded(excluded: str, sandbox: Sandbox, key: str) -> None:
    suffix: Mapping[str, str] = {RETRIEVE: "", RESULTS: "/results"}
    async with connected("stdio", "auto", sandbox.url, key, flags=("--exclude", excluded)) as client:
        created = await client.call_tool(CREATE, {"requests": [REQUEST]})
        assert created.structured_content is not None
        error = await refused(client, f"batch://{created.structured_content['id']}{suffix[excluded]}")
        assert error.message.startswith("Unknown resource")
        assert f"batch://{created.structured_content['id']}{suffix[excluded]}" not in links(created)
