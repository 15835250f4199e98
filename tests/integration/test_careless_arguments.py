"""Arguments as models and frameworks write them: understood where only one meaning is possible, else named with a way on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mcp.client.client import Client
from mcp.shared.exceptions import MCPError

from batches_mcp.sandbox import Sandbox
from tests.support.scripted import answer, scripted_upstream
from tests.support.servers import (
    CREATE,
    LIST,
    REQUEST,
    RESULTS,
    RETRIEVE,
    Era,
    Transport,
    connected,
    server_for,
    text_of,
)

pytestmark = pytest.mark.anyio

NOWHERE = "http://127.0.0.1:9"


@pytest.mark.parametrize("transport", ["memory", "stdio", "http"])
@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_framework_that_sends_null_for_every_omitted_argument_can_do_the_whole_job(
    transport: Transport, era: Era, sandbox: Sandbox, key: str, tmp_path: Path
) -> None:
    async with connected(transport, era, sandbox.url, key, roots=[tmp_path]) as client:
        nothing = {
            tool.name: dict.fromkeys(tool.input_schema["properties"]) for tool in (await client.list_tools()).tools
        }

        async def call(tool: str, **arguments: Any) -> Any:
            result = await client.call_tool(tool, {**nothing[tool], **arguments})
            assert not result.is_error, text_of(result)
            return result.structured_content

        made = await call(CREATE, requests=[REQUEST])
        assert (await call(LIST))["data"][0]["id"] == made["id"]
        assert (await call(RETRIEVE, message_batch_id=made["id"]))["id"] == made["id"]
        assert (await call(RETRIEVE, message_batch_id=f" {made['id']}\n", wait_seconds="0"))["id"] == made["id"]
    sent = next(each for each in reversed(sandbox.requests) if each.method == "POST")
    assert json.loads(sent.body) == {"requests": [REQUEST]}


async def test_values_in_the_wrong_clothes_are_what_they_say(tmp_path: Path) -> None:
    kept = {"custom_id": "a", "params": {**REQUEST["params"], "metadata": None, "x": "5", "y": "true", "z": " a "}}  # type: ignore[dict-item]
    (tmp_path / "rows.csv").write_text("body\nA\n")
    template = {**REQUEST["params"], "messages": [{"role": "user", "content": "{{body}}"}]}  # type: ignore[dict-item]
    with scripted_upstream(answer(200, {"id": "msgbatch_1", "data": []})) as upstream:
        async with Client(server_for(upstream.url, roots=[tmp_path])) as client:
            for arguments in (
                {"requests": json.dumps([kept]), "betas": '["x-2026-01-01"]', "part": "1", "dry_run": "False"},
                {"rows_file": "rows.csv", "template": json.dumps(template), "skip_invalid": "true", "part": 1.0},
            ):
                result = await client.call_tool(CREATE, arguments)
                assert not result.is_error, text_of(result)
            dry = await client.call_tool(CREATE, {"requests": [kept], "dry_run": " true "})
            assert "dry_run" in dry.structured_content["batches_mcp"]
            assert not (await client.call_tool(LIST, {"limit": " 7 ", "after_id": "msgbatch_0 "})).is_error
        posts = [each for each in upstream.received if each.method == "POST"]
        assert json.loads(posts[0].body) == {"requests": [kept]}
        assert posts[0].headers["anthropic-beta"] == "x-2026-01-01"
        assert len(posts) == 2
        listed = next(each for each in reversed(upstream.received) if each.method == "GET")
        assert listed.target.partition("?")[2] in ("limit=7&after_id=msgbatch_0", "after_id=msgbatch_0&limit=7")


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        (RETRIEVE, {"message_batch_id": None}, "message_batch_id: missing; it is required"),
        (RETRIEVE, {"batch_id": "x"}, "batch_id: unknown argument; did you mean `message_batch_id`?"),
        (LIST, {"message_batch_id": "x"}, f"message_batch_id: unknown argument; it is one of {RETRIEVE}"),
        (LIST, {"wait_seconds": 5}, f"wait_seconds: unknown argument; it is one of {RETRIEVE}"),
        (LIST, {"limit": "many"}, "limit: expected integer, found string 'many'; for example 20"),
        (LIST, {"limit": "5.5"}, "limit: expected integer, found string '5.5'"),
        (LIST, {"limit": "0"}, "limit: 0 is less than the minimum of 1"),
        (CREATE, {"requests": [REQUEST], "part": 0}, "part: 0 is less than the minimum of 1"),
        (CREATE, {"requests": [REQUEST], "dry_run": "maybe"}, "dry_run: expected boolean, found string 'maybe'; for example true"),
        (CREATE, {"requests": "tickets.jsonl"}, "requests: expected array, found string 'tickets.jsonl'; a file is named with requests_file"),
        (CREATE, {"requests": REQUEST}, 'requests: expected array, found object; for example [{"custom_id": '),
        (CREATE, {"requests": [REQUEST], "betas": "x"}, "betas: expected array, found string 'x'; for example ["),
        (CREATE, {"requests": [REQUEST], "betas": "[NaN]"}, "betas: expected array, found string"),
        (CREATE, {"rows_file": "rows.csv", "template": "Say {{x}}"}, "template: expected object, found string 'Say {{x}}'; for example {"),
        (RESULTS, {"message_batch_id": "x", "result_types": "errored"}, 'result_types: expected array, found string \'errored\'; for example ["succeeded"]'),
        (RESULTS, {"message_batch_id": "x", "result_types": ["errord"]}, "found errord; did you mean `errored`?"),
        (RESULTS, {"message_batch_id": "x", "view": "Full "}, "view: expected one of text, full, found Full"),
        (RESULTS, {"message_batch_id": "x", "as_file": True}, "as_file: expected one of jsonl, csv, found True"),
    ],
)  # fmt: skip
async def test_what_may_mean_several_things_is_named_with_what_was_expected(
    tool: str, arguments: dict[str, Any], words: str, tmp_path: Path
) -> None:
    async with Client(server_for(NOWHERE, roots=[tmp_path])) as client:
        result = await client.call_tool(tool, arguments)
    assert result.is_error
    assert words in text_of(result)


async def test_null_for_what_is_not_available_is_nothing() -> None:
    async with Client(server_for(NOWHERE)) as client:
        arguments = {"requests": [REQUEST], "requests_file": None, "dry_run": True}
        assert not (await client.call_tool(CREATE, arguments)).is_error


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_an_unknown_tool_is_named_with_the_one_that_was_probably_meant(
    era: Era, sandbox: Sandbox, key: str
) -> None:
    async with connected("memory", era, sandbox.url, key) as client:
        with pytest.raises(MCPError, match=f"Unknown tool: anthropic-retrieve-batch; did you mean `{RETRIEVE}`?"):
            await client.call_tool("anthropic-retrieve-batch", {})
