"""Names that a shell completes: those of the tools, for `call`, `explain`, `--tools` and `--exclude`."""

from __future__ import annotations

from pathlib import Path

import click

from batches_mcp.core.errors import BatchesMcpError
from batches_mcp.core.settings import packaged


def tool_names(capability: Path | None = None) -> list[str]:
    """The names of the tools that a capability file declares, by default the packaged one.

    Raises:
        UnreadableFile, CapabilityError: the file cannot be read, or has errors.
    """
    from batches_mcp import language
    from batches_mcp.language.compile import compile_server

    linked = language.read(capability or packaged("capability.yaml"), trusted=capability is None)
    return [tool.name for tool in compile_server(linked).tools]


def tool_name(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """The tools whose names begin so; a shell shows nothing in place of an error."""
    try:
        names = tool_names(context.params.get("capability"))
    except BatchesMcpError:
        return []
    return [name for name in names if name.startswith(incomplete)]


def tool_list(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The same for the last of several names with commas between them."""
    before, comma, last = incomplete.rpartition(",")
    given = before.split(",")
    return [f"{before}{comma}{name}" for name in tool_name(context, parameter, last) if name not in given]
