"""Careless calls, and what the answer to each must name: what was wrong, and the right next call.

None of them may change anything upstream.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mcp.types as t
import pytest
from mcp import MCPError
from mcp.client.client import Client

from batches_mcp.sandbox import Sandbox
from tests.support.creates import INSTANT, QUICK, existing, made_by_another, persist, requests
from tests.support.servers import (
    CANCEL,
    CREATE,
    DELETE,
    LIST,
    REQUEST,
    RESULTS,
    RETRIEVE,
    error_of,
    server_for,
    text_of,
)

pytestmark = pytest.mark.anyio

PARAMS: dict[str, Any] = REQUEST["params"]  # type: ignore[assignment]
ROWS = "$folder/rows.csv"
ID = "message_batch_id"
UNKNOWN = "msgbatch_01AAAAAAAAAAAAAAAAAAAAAA"

Row = tuple[str, dict[str, Any], tuple[str, ...]]


def row(tool: str, arguments: dict[str, Any], *words: str) -> Row:
    """A call, and what its answer must name."""
    return tool, arguments, words


def one(**changes: Any) -> list[dict[str, Any]]:
    """One request with other params."""
    return [{"custom_id": "a", "params": PARAMS | changes}]


ON_ONE = (RETRIEVE, RESULTS, CANCEL, DELETE)

CALLS: list[Row] = [
    # No batch is named, or by another name.
    *(row(tool, {}, "message_batch_id: missing") for tool in ON_ONE),
    *(row(tool, {"batch_id": "$ended"}, "batch_id: unknown argument", "message_batch_id") for tool in ON_ONE),
    *(row(tool, {"id": "$ended"}, "id: unknown argument", "message_batch_id: missing") for tool in ON_ONE),
    row(RETRIEVE, {"messageBatchId": "$ended"}, "messageBatchId: unknown argument", "message_batch_id"),
    row(RETRIEVE, {ID: ["$ended"]}, "message_batch_id", "expected string, found array"),
    row(RETRIEVE, {ID: 17}, "message_batch_id", "string"),
    row(RETRIEVE, {ID: ""}, "message_batch_id"),
    row(RETRIEVE, {ID: "x" * 300}, "message_batch_id", "200"),
    row(CREATE, {"model": "claude-haiku-5-5"}, "model: unknown argument; it belongs in requests[].params"),
    row(CREATE, {"rows_file": "rows.csv"}, '"content": "Summarise: {{column}}"', "template"),
    row(RETRIEVE, {ID: "$running", "wait_seconds": "1m"}, "wait_seconds", "found string '1m'; for example 1"),
    # Ids of no batch.
    *(row(tool, {ID: UNKNOWN}, "msgbatch_...", "list the batches") for tool in ON_ONE),
    *(row(tool, {ID: "row-000001-3f9c"}, "msgbatch_...", "'row-000001-3f9c' does not", "List the batches") for tool in ON_ONE),
    row(RETRIEVE, {ID: "batch_67ce"}, "msgbatch_...", "List the batches"),
    row(RETRIEVE, {ID: "Refunds of May"}, "msgbatch_...", "List the batches"),
    row(RESULTS, {ID: "msg_01XyZ"}, "msgbatch_...", "List the batches"),
    row(CANCEL, {ID: "latest"}, "msgbatch_...", "List the batches"),
    row(CREATE, {"retry_of": UNKNOWN}, "retry_of: this server has not created", "result_types [errored, expired]"),
    # The wrong moment.
    row(RESULTS, {ID: "$running"}, "batch_not_ended", "in_progress", "Look at its state again"),
    row(DELETE, {ID: "$running"}, "Wait for its end", "Cancel it only if the user wants that"),
    row(CANCEL, {ID: "$ended"}, "nothing to cancel: it has ended", "Retrieve its results"),
    row(CREATE, {"retry_of": "$running"}, "batch_not_ended", "Look at its state again"),
    row(CREATE, {"retry_of": "$ended"}, "every request of batch", "nothing to send again"),
    row(CREATE, {"retry_of": "$other"}, "retry_of: this server has not created"),
    *(row(tool, {ID: "$deleted"}, "This batch was deleted through this server") for tool in ON_ONE),
    row(CREATE, {"retry_of": "$deleted"}, "it was deleted", "original rows"),
    row(CREATE, {"requests": requests(1, "ended")}, "duplicate_create", "$ended", "allow_duplicate"),
    # Pages.
    row(LIST, {"after_id": "$ended", "before_id": "$running"}, "only one of the two"),
    row(LIST, {"limit": 0}, "limit: 0 is less than the minimum of 1"),
    row(LIST, {"limit": 5000}, "limit: 5000 is more than the maximum of 1000"),
    row(LIST, {"page": 2}, "page: unknown argument"),
    row(LIST, {"cursor": "abc"}, "cursor: unknown argument"),
    row(LIST, {"after": "$ended"}, "after: unknown argument", "after_id"),
    row(LIST, {"status": "ended"}, "status: unknown argument"),
    row(LIST, {"label": "refunds"}, "label: unknown argument"),
    row(RESULTS, {ID: "$ended", "cursor": "nonsense"}, "cursor: it is not one that this tool gave", "start again without"),
    row(RESULTS, {ID: "$ended", "cursor": "2"}, "cursor: it is not one", "start again without"),
    row(RESULTS, {ID: "$ended", "limit": 100_000}, "limit", "maximum of 1000"),
    row(RESULTS, {ID: "$ended", "offset": 20}, "offset: unknown argument"),
    row(RESULTS, {ID: "$ended", "result_types": ["failed"]}, "result_types[0]", "errored"),
    row(RESULTS, {ID: "$ended", "result_types": ["success"]}, "result_types[0]", "succeeded"),
    row(RESULTS, {ID: "$ended", "result_types": []}, "result_types"),
    row(RESULTS, {ID: "$ended", "result_type": ["errored"]}, "result_type: unknown argument", "result_types"),
    row(RESULTS, {ID: "$ended", "custom_id": "r0"}, "custom_id: unknown argument", "custom_ids"),
    row(RESULTS, {ID: "$ended", "custom_ids": ["no such row"]}, "custom_ids[0]"),
    row(RESULTS, {ID: "$ended", "custom_ids": ["nobody"]}, "No row has the custom_id nobody"),
    row(RESULTS, {ID: "$ended", "view": "json"}, "view: expected one of text, full"),
    row(RESULTS, {ID: "$ended", "as_file": "xlsx"}, "as_file: expected one of jsonl, csv"),
    row(RESULTS, {ID: "$ended", "as_file": "out.csv"}, "as_file: expected one of jsonl, csv"),
    row(RESULTS, {ID: "$ended", "format": "csv"}, "format: unknown argument"),
    row(RESULTS, {ID: "$ended", "max_chars_per_row": 5}, "max_chars_per_row", "minimum of 20"),
    # Waiting.
    row(RETRIEVE, {ID: "$ended", "wait_seconds": -1}, "wait_seconds", "minimum of 0"),
    row(RETRIEVE, {ID: "$ended", "wait_seconds": 1_000_000}, "wait_seconds", "maximum of 86400"),
    row(RETRIEVE, {ID: "$ended", "wait_seconds": "a minute"}, "wait_seconds", "integer"),
    row(RETRIEVE, {ID: "$ended", "timeout": 60}, "timeout: unknown argument"),
    row(CANCEL, {ID: "$running", "reason": "too slow"}, "reason: unknown argument"),
    row(DELETE, {ID: "$ended", "force": True}, "force: unknown argument"),
    # Requests.
    row(CREATE, {}, "requests"),
    row(CREATE, {"requests": []}, "requests"),
    row(CREATE, {"requests": [PARAMS]}, "custom_id"),
    row(CREATE, {"requests": ["Summarise this"]}, "requests[0]"),
    row(CREATE, {"requests": [{"custom_id": "a"}]}, "params"),
    row(CREATE, {"requests": [{"custom_id": "a b", "params": PARAMS}]}, "custom_id", "a b"),
    row(CREATE, {"requests": [REQUEST, REQUEST]}, "custom_id", "requests[1]"),
    row(CREATE, {"requests": [REQUEST | {"model": "x"}]}, "model"),
    row(CREATE, {"requests": one(max_tokens=0)}, "max_tokens"),
    row(CREATE, {"requests": one(max_tokens="100")}, "max_tokens"),
    row(CREATE, {"requests": one(stream=True)}, "stream"),
    row(CREATE, {"requests": one(messages="hello")}, "messages"),
    row(CREATE, {"requests": one(messages=[])}, "messages"),
    row(CREATE, {"requests": [{"custom_id": "a", "params": {"messages": PARAMS["messages"]}}]}, "model", "max_tokens"),
    row(CREATE, {"prompts": ["a", "b"]}, "prompts: unknown argument"),
    row(CREATE, {"requests": requests(1), "model": "claude-haiku-5-5"}, "model: unknown argument"),
    row(CREATE, {"requests": requests(1), "labels": "May"}, "labels: unknown argument", "label"),
    row(CREATE, {"requests": requests(1), "label": ""}, "label"),
    row(CREATE, {"requests": requests(1), "part": 0}, "part", "minimum of 1"),
    row(CREATE, {"requests": requests(1), "part": 7}, "part: 7 is more than the 1 there is"),
    row(CREATE, {"requests": requests(1), "betas": ["Some Beta"]}, "betas[0]"),
    # Files.
    row(CREATE, {"requests_file": "$folder/missing.jsonl"}, "missing.jsonl"),
    row(CREATE, {"requests_file": "$folder"}, "requests_file"),
    row(CREATE, {"requests_file": "/etc/passwd"}, "requests_file", "$folder"),
    row(CREATE, {"requests_file": "../up.jsonl"}, "up.jsonl"),
    row(CREATE, {"requests_file": "$folder/.hidden.jsonl"}, "hidden"),
    row(CREATE, {"requests_file": "$folder/empty.jsonl"}, "empty.jsonl", "no requests"),
    row(CREATE, {"requests_file": ROWS}, "rows_file", "template"),
    row(CREATE, {"rows_file": ROWS}, "template"),
    row(CREATE, {"template": {"model": "m"}}, "rows_file"),
    row(CREATE, {"rows_file": ROWS, "template": PARAMS | {"messages": [{"role": "user", "content": "{{bodi}}"}]}}, "bodi", "body"),
    row(CREATE, {"requests": requests(1), "requests_file": "$folder/empty.jsonl"}, "requests", "requests_file"),
    row(CREATE, {"file": ROWS}, "file: unknown argument"),
    # Retrying.
    row(CREATE, {"retry_of": "$ended", "requests": requests(1)}, "retry_of", "leave requests out"),
    row(CREATE, {"retry_types": ["expired"], "requests": requests(1)}, "retry_types: goes with retry_of"),
    row(CREATE, {"retry_of": "$failed", "retry_types": ["errored"]}, "retry_types[0]", "api_error"),
    row(CREATE, {"retry_of": "$failed", "retry_types": ["truncated"]}, "would be cut again", "retry_max_tokens above 100"),
    row(CREATE, {"retry_of": "$failed", "retry_types": ["truncated"], "retry_max_tokens": 50}, "cut again at 50"),
    row(CREATE, {"retry_of": "$failed", "retry_max_tokens": 500}, "goes with retry_types [truncated]"),
    row(CREATE, {"retry_of": "$failed", "retry_types": ["canceled"]}, "1 expired", "retry_types"),
    row(CREATE, {"retry": "$failed"}, "retry: unknown argument", "retry_of"),
]  # fmt: skip


# Only one meaning is possible.
UNDERSTOOD: list[Row] = [
    row(LIST, {"limit": "5"}, '"data"'),
    row(LIST, {"limit": 5.0, "after_id": None, "before_id": None}, '"data"'),
    row(LIST, {"limit": " 5 "}, '"data"'),
    row(RETRIEVE, {ID: "  $ended\n"}, '"ended"'),
    row(RETRIEVE, {ID: "$ended", "wait_seconds": "0"}, '"ended"'),
    row(RETRIEVE, {ID: "$ended", "wait_seconds": None}, '"ended"'),
    row(RESULTS, {ID: "$ended", "result_types": '["succeeded"]'}, '"ended0"'),
    row(RESULTS, {ID: "$ended", "custom_ids": None, "cursor": None, "as_file": None}, '"ended0"'),
    row(CREATE, {"requests": json.dumps(requests(1)), "dry_run": "true"}, '"dry_run"'),
    row(CREATE, {"requests": requests(1), "dry_run": True, "label": None, "betas": None}, '"dry_run"'),
]  # fmt: skip


def test_the_table_is_long_enough_and_says_nothing_twice() -> None:
    calls = [json.dumps([tool, arguments]) for tool, arguments, _ in CALLS]
    assert len(set(calls)) == len(calls) >= 88


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rows.csv").write_text("custom_id,body\na,Hello\n")
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / ".hidden.jsonl").write_text(json.dumps(REQUEST))
    return tmp_path


async def scene(client: Client, sandbox: Sandbox, key: str) -> dict[str, str]:
    """Batches in every state, by the name that the table calls them by."""
    ended = await persist(client, {"requests": requests(1, "ended"), "label": "Refunds of May"})
    deleted = await persist(client, {"requests": requests(1, "deleted")})
    phrases = {"late": "[[sandbox:expired]]", "cut": "[[sandbox:max_tokens]]"}
    failing = [
        {"custom_id": name, "params": PARAMS | {"max_tokens": 100, "messages": [{"role": "user", "content": phrase}]}}
        for name, phrase in phrases.items()
    ]
    failed = await persist(client, {"requests": failing})
    for each in (ended, deleted, failed):
        sandbox.end(each)
    assert not (await client.call_tool(DELETE, {ID: deleted})).is_error
    running = await persist(client, {"requests": requests(1, "running")})
    other = made_by_another(sandbox.url, key, 1, "other")
    return {"$ended": ended, "$deleted": deleted, "$failed": failed, "$running": running, "$other": other}


def filled(value: Any, names: dict[str, str]) -> Any:
    """A value with the names in it replaced."""
    text = json.dumps(value)
    for name, found in names.items():
        text = text.replace(name, found)
    return json.loads(text)


def wrong(answer: str, words: tuple[str, ...], names: dict[str, str]) -> Iterator[str]:
    """What an answer does not name, and what it should not show."""
    yield from (word for word in filled(words, names) if word.lower() not in answer.lower())
    if "Traceback" in answer:
        yield "no traceback"


async def test_each_answer_names_what_was_wrong_and_the_right_next_call(
    sandbox: Sandbox, key: str, folder: Path
) -> None:
    server = server_for(sandbox.url, key, limits=QUICK, clock=INSTANT, roots=[folder])
    async with Client(server) as client:
        names = {**await scene(client, sandbox, key), "$folder": str(folder)}
        before = existing(sandbox.url, key)
        missed: list[str] = []
        for tool, arguments, words in CALLS:
            result = await client.call_tool(tool, filled(arguments, names))
            text = text_of(result)
            assert len(text) < 10_000
            said = list(wrong(text, words, names))
            if result.is_error:
                assert error_of(result)["next_step"]
            if said:
                missed.append(f"{tool} {json.dumps(arguments)[:200]}: lacks {said}\n    {text[:600]}")
        for tool, arguments, words in UNDERSTOOD:
            result = await client.call_tool(tool, filled(arguments, names))
            if result.is_error or list(wrong(text_of(result), words, names)):
                missed.append(f"{tool} {json.dumps(arguments)[:200]}: {text_of(result)[:600]}")
        assert not missed, f"{len(missed)} of {len(CALLS)}:\n" + "\n".join(missed)
        assert existing(sandbox.url, key) == before
        running = await client.call_tool(RETRIEVE, {ID: names["$running"]})
    assert running.structured_content["processing_status"] == "in_progress"


@pytest.mark.parametrize("name", ["cancel", "anthropic_cancel_message_batch", "batches_mcp", "messages.create"])
async def test_a_tool_that_is_none_is_an_error_of_the_protocol(name: str) -> None:
    async with Client(server_for("http://127.0.0.1:9")) as client:
        with pytest.raises(MCPError, match=f"Unknown tool: {name}") as caught:
            await client.call_tool(name, {})
    assert caught.value.error.code == t.INVALID_PARAMS
