"""The same requests are the same create, however they come; parts belong to one version of their file."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
from mcp.client.client import Client

from batches_mcp.core.settings import BatchSettings
from batches_mcp.sandbox import Sandbox
from tests.support.creates import INSTANT, QUICK, agent, create, existing, persist, requests
from tests.support.servers import server_for

pytestmark = pytest.mark.anyio


@pytest.fixture
def settings(tmp_path: Path) -> BatchSettings:
    return BatchSettings((tmp_path,))


def turned(value: object) -> object:
    """The same JSON value with its keys the other way round."""
    if isinstance(value, dict):
        return {name: turned(each) for name, each in reversed(value.items())}
    return [turned(each) for each in value] if isinstance(value, list) else value


async def test_a_file_and_an_array_of_the_same_requests(
    sandbox: Sandbox, key: str, tmp_path: Path, settings: BatchSettings
) -> None:
    rows = deepcopy(requests(3))
    rows[0]["params"]["messages"] = [{"role": "user", "content": "é / \u2028 \U0001f600"}]
    (tmp_path / "escaped.jsonl").write_text("".join(json.dumps(turned(row)) + "\n" for row in rows))
    (tmp_path / "plain.json").write_text(json.dumps(rows, ensure_ascii=False, indent=3), "utf-8")
    async with agent(sandbox.url, key, batch=settings) as client:
        made = await persist(client, {"requests": rows})
        for name in ("escaped.jsonl", "plain.json"):
            batch_id, error = await create(client, {"requests_file": name})
            assert (batch_id, error["type"]) == (None, "duplicate_create")
        batch_id, error = await create(client, {"requests": list(reversed(rows))})
        assert batch_id is not None
    assert existing(sandbox.url, key) == [batch_id, made]


async def test_a_part_of_a_file_that_changed_is_refused(
    sandbox: Sandbox, key: str, tmp_path: Path, settings: BatchSettings
) -> None:
    path, whole = tmp_path / "in.jsonl", "".join(json.dumps(row) + "\n" for row in requests(4))
    path.write_text(whole)
    async with agent(sandbox.url, key, batch=settings, limits=replace(QUICK, batch_requests=2)) as client:
        first = await persist(client, {"requests_file": "in.jsonl", "part": 1})
        path.write_text(json.dumps(requests(1, "new")[0]) + "\n" + whole)
        for part in (1, 2):
            batch_id, error = await create(client, {"requests_file": "in.jsonl", "part": part})
            assert (batch_id, error["type"]) == (None, "source_changed")
            assert f"in.jsonl has changed since part 1 of 2 was sent as batch {first}" in error["message"]
        path.write_text(whole)
        second = await persist(client, {"requests_file": "in.jsonl", "part": 2})
        # All parts of what it was are sent: what it is now is another file.
        path.write_text(json.dumps(requests(1, "new")[0]) + "\n" + whole)
        third = await persist(client, {"requests_file": "in.jsonl", "part": 1})
        path.write_text(whole.replace("r0", "r9"))
        fourth = await persist(client, {"requests_file": "in.jsonl", "part": 1, "allow_duplicate": True})
    assert existing(sandbox.url, key) == [fourth, third, second, first]


async def test_ids_that_are_made_for_rows_are_of_their_content(
    sandbox: Sandbox, key: str, tmp_path: Path, settings: BatchSettings
) -> None:
    template = {"model": "claude-haiku-5-5", "max_tokens": 9, "messages": [{"role": "user", "content": "{{t}}"}]}
    (tmp_path / "a.csv").write_text("t\nx\ny\n")
    (tmp_path / "b.csv").write_text("t\nx\nz\n")
    ids = []
    async with agent(sandbox.url, key, batch=settings) as client:
        for name, changed in (("a.csv", {}), ("b.csv", {}), ("a.csv", {"max_tokens": 8})):
            await persist(client, {"rows_file": name, "template": template | changed})
            body = json.loads(next(each for each in reversed(sandbox.requests) if each.method == "POST").body)
            ids.append([row["custom_id"] for row in body["requests"]])
    marks = {each.rpartition("-")[2] for made in ids for each in made}
    assert len(marks) == 3
    assert [each.rpartition("-")[0] for each in ids[0]] == ["row-000001", "row-000002"]


async def test_what_is_not_ready_in_time_is_not_said_to_be_submitting(
    sandbox: Sandbox, key: str, tmp_path: Path, settings: BatchSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in requests(50)))
    limits = replace(QUICK, call_s=0.0)
    async with Client(server_for(sandbox.url, key, limits=limits, clock=INSTANT, batch=settings)) as client:
        batch_id, error = await create(client, {"requests_file": "in.jsonl"})
    assert (batch_id, error["type"], error["retryable"]) == (None, "timeout", True)
    assert "Nothing was sent" in error["message"]
    assert "batches-mcp run FILE -o OUT" in error["next_step"]
    assert existing(sandbox.url, key) == []
