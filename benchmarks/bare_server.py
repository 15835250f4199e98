"""The baseline: six hard-coded tools on the SDK's lowlevel server, `retrieve` forwarded by hand.

This is what one writes without this project: no capability file, no check of arguments, no retries, no limits, no
masking of secrets. The tools stand in `bare_tools.json`, which `batches-mcp tools --json` prints.

Run as `python -m benchmarks.bare_server`, or with a port as its argument to serve over Streamable HTTP.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import anyio
import httpx2
import mcp.types as t
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

TOOLS = [t.Tool.model_validate(tool) for tool in json.loads(Path(__file__).with_name("bare_tools.json").read_bytes())]


@asynccontextmanager
async def lifespan(_: Server[httpx2.AsyncClient]) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"x-api-key": os.environ["ANTHROPIC_API_KEY"], "anthropic-version": "2023-06-01"}
    base_url = f"{os.environ['BATCHES_MCP_BASE_URL']}/v1"
    async with httpx2.AsyncClient(base_url=base_url, headers=headers, timeout=30) as client:
        yield client


async def list_tools(
    _context: ServerRequestContext[httpx2.AsyncClient], _params: t.PaginatedRequestParams | None
) -> t.ListToolsResult:
    return t.ListToolsResult(tools=TOOLS)


async def call_tool(
    context: ServerRequestContext[httpx2.AsyncClient], params: t.CallToolRequestParams
) -> t.CallToolResult:
    if params.name != "anthropic-retrieve-message-batch":
        raise ValueError(f"not needed here: {params.name}")
    batch_id = quote((params.arguments or {})["message_batch_id"], safe="")
    response = await context.lifespan_context.get(f"/messages/batches/{batch_id}")
    response.raise_for_status()
    text = t.TextContent(type="text", text=response.text)
    return t.CallToolResult(content=[text], structured_content=response.json())


server = Server("bare", lifespan=lifespan, on_list_tools=list_tools, on_call_tool=call_tool)


async def stdio() -> None:
    async with stdio_server() as (read_stream, write_stream):
        await server.run(read_stream, write_stream, server.create_initialization_options())


def http(port: int) -> None:
    import uvicorn

    app = server.streamable_http_app(stateless_http=True, json_response=False)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    if sys.argv[1:]:
        http(int(sys.argv[1]))
    else:
        anyio.run(stdio)
