"""The operations beside a tool's own go to the paths beside its own, with its headers and its credential."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from batches_mcp import language
from batches_mcp.api.operations import Operations
from batches_mcp.core.errors import CallError
from batches_mcp.core.plan import BehaviorName, ToolPlan
from batches_mcp.exchange import request
from batches_mcp.language.compile import compile_server
from tests.support.servers import CAPABILITY

KEY = {"ANTHROPIC_API_KEY": SecretStr("sk")}
BASE = "http://127.0.0.1:1/v1/messages/batches"


def tools(file: Path, base_url: str | None = "http://127.0.0.1:1") -> tuple[ToolPlan, ...]:
    return compile_server(language.read(file), base_url).tools


@pytest.mark.parametrize("tool", tools(CAPABILITY), ids=lambda tool: tool.request.operation)
def test_operations_beside_every_other(tool: ToolPlan) -> None:
    beside = Operations(tool)
    one = {"message_batch_id": "msgbatch_a/b"}
    for operation, arguments, url in (
        (beside.retrieve, one, f"{BASE}/msgbatch_a%2Fb"),
        (beside.results, one, f"{BASE}/msgbatch_a%2Fb/results"),
        (beside.list, {"limit": 5, "after_id": "x"}, f"{BASE}?limit=5&after_id=x"),
    ):
        built = request.build(operation.request, arguments, KEY)
        assert (built.method, built.url, built.body) == ("GET", url, None)
        headers = {name.lower(): value for name, value in built.headers}
        assert headers == {"anthropic-version": "2023-06-01", "x-api-key": "sk"}
        assert operation.repeatable


def test_an_operation_that_the_file_does_not_declare_is_an_error() -> None:
    tool = replace(tools(CAPABILITY)[0], beside={})
    with pytest.raises(CallError, match="declares no operation with x-behavior: list"):
        _ = Operations(tool).list


def test_operations_are_where_the_file_says(tmp_path: Path) -> None:
    text = CAPABILITY.read_text("utf-8").replace("path: /messages/batches\n", "path: /elsewhere\n")
    file = tmp_path / "capability.yaml"
    file.write_text(text, "utf-8")
    results = next(tool for tool in tools(file) if tool.behavior is BehaviorName.RESULTS)
    assert request.build(Operations(results).list.request, {"limit": 1}, KEY).url.endswith("/v1/elsewhere?limit=1")
