"""What a message of MCP was, in words of which there are only so many: for metrics and traces.

https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/mcp.md
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import mcp.types as t
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types.version import SUPPORTED_PROTOCOL_VERSIONS
from pydantic import ValidationError

# For histograms of how long operations take, in seconds.
BUCKETS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
_OTHER = "_OTHER"


@dataclass(frozen=True, slots=True)
class Operation:
    """Empty where there is nothing to say. `error_type` is `tool_error`, a code of JSON-RPC, or the name of a class."""

    method: str
    tool: str
    error_type: str
    transport: str
    protocol_version: str


async def measured(
    ctx: ServerRequestContext[Any, Any],
    call_next: CallNext,
    tools: Collection[str],
    record: Callable[[Operation, float], None],
) -> HandlerResult:
    """What comes of a message; if it was a request, `record` is given how long that took, in seconds."""
    began_s = time.monotonic()
    result: HandlerResult = None
    error: BaseException | None = None
    try:
        result = await call_next(ctx)
    except BaseException as failure:
        error = failure
        raise
    finally:
        if ctx.request_id is not None:
            record(operation(ctx, result, error, tools), time.monotonic() - began_s)
    return result


def operation(
    ctx: ServerRequestContext[Any, Any], result: HandlerResult, error: BaseException | None, tools: Collection[str]
) -> Operation:
    """What a message was, and how it ended. What a client made up itself, a method or a tool, is `_OTHER`."""
    method = _OTHER if isinstance(error, MCPError) and error.error.code == t.METHOD_NOT_FOUND else ctx.method
    tool = ""
    if ctx.method == "tools/call":
        name = (ctx.params or {}).get("name")
        tool = name if isinstance(name, str) and name in tools else _OTHER
    version = ctx.protocol_version if ctx.protocol_version in SUPPORTED_PROTOCOL_VERSIONS else _OTHER
    return Operation(method, tool, _error_type(result, error), transport_of(ctx), version)


def transport_of(ctx: ServerRequestContext[Any, Any]) -> str:
    """Over what a message came, as OpenTelemetry calls it."""
    return "pipe" if ctx.request is None else "tcp"


def _error_type(result: HandlerResult, error: BaseException | None) -> str:
    match error:
        case None:
            pass
        case MCPError():
            return str(error.error.code)
        case ValidationError():
            return str(t.INVALID_PARAMS)
        case _:
            return type(error).__qualname__
    match result:
        case t.CallToolResult(is_error=True) | {"isError": True}:
            return "tool_error"
        case _:
            return ""
