"""The operations beside a tool's own go to the paths beside its own, with its headers and its credential."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from batches_mcp import language
from batches_mcp.api.operations import Operations
from batches_mcp.core.plan import ToolPlan
from batches_mcp.exchange import request
from batches_mcp.language.compile import compile_server
from tests.support.servers import CAPABILITY, SEED

KEY = {"ANTHROPIC_API_KEY": SecretStr("sk")}
BASE = "http://127.0.0.1:1/v1/messages/batches"


def tools(file: Path, base_url: str | None = "http://127.0.0.1:1") -> tuple[ToolPlan, ...]:
    return compile_server(language.read(file), base_url).tools


@pytest.mark.parametrize("tool", tools(CAPABILITY) + tools(SEED), ids=lambda tool: tool.request.operation)
def test_siblings_of_every_operation(tool: ToolPlan) -> None:
    siblings = Operations(tool)
    one = {"message_batch_id": "msgbatch_a/b"}
    for sibling, arguments, url in (
        (siblings.retrieve, one, f"{BASE}/msgbatch_a%2Fb"),
        (siblings.results, one, f"{BASE}/msgbatch_a%2Fb/results"),
        (siblings.list, {"limit": 5, "after_id": "x"}, f"{BASE}?limit=5&after_id=x"),
    ):
        built = request.build(sibling.request, arguments, KEY)
        assert (built.method, built.url, built.body) == ("GET", url, None)
        headers = {name.lower(): value for name, value in built.headers}
        assert headers == {"anthropic-version": "2023-06-01", "x-api-key": "sk"}
        assert sibling.repeatable
