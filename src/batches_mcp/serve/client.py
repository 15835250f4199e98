"""A real MCP client for our own commands: against a server in this process, or one launched over stdio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import mcp.types as t
from mcp import MCPError
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.server.lowlevel import Server

from batches_mcp.core.errors import UsageError


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call came to: the structured content, or the text of the error."""

    content: dict[str, Any]
    error: str | None


@dataclass(frozen=True, slots=True)
class ToolClient:
    """Lists and calls the tools of one server."""

    client: Client

    async def tools(self) -> list[dict[str, Any]]:
        """The tools in wire form."""
        listing = await self.client.list_tools()
        return [wire_form(tool) for tool in listing.tools]

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Outcome:
        """Call a tool.

        Raises:
            UsageError: the server refuses the call itself, which it does when there is no such tool.
        """
        try:
            result = await self.client.call_tool(name, dict(arguments))
        except MCPError as error:
            raise UsageError(error.message) from error
        text = "\n".join(block.text for block in result.content if isinstance(block, t.TextContent))
        return Outcome(result.structured_content or {}, text if result.is_error else None)


def wire_form(tool: t.Tool) -> dict[str, Any]:
    """A tool as `tools/list` sends it."""
    return tool.model_dump(by_alias=True, mode="json", exclude_none=True)


@asynccontextmanager
async def in_process(server: Server[Any]) -> AsyncIterator[ToolClient]:
    """A client of a server in this process."""
    with _one_error():
        async with Client(server) as client:
            yield ToolClient(client)


@asynccontextmanager
async def over_stdio(command: Sequence[str], environment: Mapping[str, str]) -> AsyncIterator[ToolClient]:
    """A client of a server that it launches, as a host does; `environment` is added to the few variables hosts pass."""
    parameters = StdioServerParameters(command=command[0], args=list(command[1:]), env=dict(environment))
    with _one_error():
        async with Client(stdio_client(parameters)) as client:
            yield ToolClient(client)


@contextmanager
def _one_error() -> Iterator[None]:
    """The SDK's client wraps what is raised within it into groups; the first error in them is the one that counts."""
    try:
        yield
    except BaseExceptionGroup as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from group
