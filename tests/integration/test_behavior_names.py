"""Behaviours find what they need by what the file says, and the file does not load when it does not say it."""

from __future__ import annotations

from pathlib import Path

import pytest
from mcp.client.client import Client

from batches_mcp import language
from batches_mcp.sandbox import Sandbox
from tests.support.servers import CAPABILITY, CREATE, DELETE, REQUEST, RESULTS, RETRIEVE, server_for

pytestmark = pytest.mark.anyio

PATH = "/messages/batches/{{message_batch_id}}"


def changed(folder: Path, *changes: tuple[str, str]) -> Path:
    text = CAPABILITY.read_text("utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file = folder / "capability.yaml"
    file.write_text(text, "utf-8")
    return file


async def test_the_variable_of_the_path_may_have_any_name(tmp_path: Path, sandbox: Sandbox, key: str) -> None:
    file = changed(tmp_path, ("message_batch_id", "batch"))
    async with Client(server_for(sandbox.url, key, file=file)) as client:
        created = await client.call_tool(CREATE, {"requests": [REQUEST]})
        assert created.structured_content is not None
        batch_id = created.structured_content["id"]
        sandbox.end(batch_id)
        state = await client.call_tool(RETRIEVE, {"batch": batch_id})
        results = await client.call_tool(RESULTS, {"batch": batch_id})
        deleted = await client.call_tool(DELETE, {"batch": batch_id})
    assert not state.is_error
    assert results.structured_content is not None, results
    assert [row["custom_id"] for row in results.structured_content["rows"]] == ["a"]
    assert deleted.structured_content == {"id": batch_id, "type": "message_batch_deleted"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (f"path: {PATH}/results", "path: /messages/batches/results"),
        (f"path: {PATH}/results", "path: /messages/{{kind}}/{{message_batch_id}}/results"),
        (f"path: {PATH}/cancel", "path: /messages/batches/cancel"),
    ],
)
def test_an_operation_whose_variable_cannot_be_told_is_an_error_with_its_place(
    tmp_path: Path, old: str, new: str
) -> None:
    file = changed(tmp_path, (old, new))
    found = [problem for problem in language.check(file) if problem.code == "behavior"]
    lines = file.read_text("utf-8").split("\n")
    assert found
    assert all("call: " in lines[problem.line - 1] or "x-behavior" in lines[problem.line - 1] for problem in found)
    assert {problem.severity for problem in found} == {"error"}


@pytest.mark.parametrize(
    ("missing", "needed_by"), [("list", {"submit"}), ("status", {"submit", "results"}), ("results", {"submit"})]
)
def test_an_operation_that_a_behavior_needs_and_the_file_lacks_is_an_error_with_its_place(
    tmp_path: Path, missing: str, needed_by: set[str]
) -> None:
    file = changed(tmp_path, (f"        x-behavior: {missing}\n", ""))
    found = [problem for problem in language.check(file) if problem.code == "behavior"]
    lines = file.read_text("utf-8").split("\n")
    assert all("call: " in lines[problem.line - 1] for problem in found)
    assert {
        name for name in needed_by for problem in found if f"`x-behavior: {name}` needs" in problem.message
    } == needed_by
    assert all(f"`x-behavior: {missing}`" in problem.message for problem in found)
