"""`tools` and `call`: looking at what a capability file compiles to, and at what a call answers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import click

from batches_mcp.cli.completion import tool_name
from batches_mcp.cli.flags import batch_flags, capability, flag, log_level, upstream_flags
from batches_mcp.cli.startup import ready, say
from batches_mcp.core.diagnostics import did_you_mean
from batches_mcp.core.errors import UsageError
from batches_mcp.core.plan import ToolPlan
from batches_mcp.core.redact import printable, printable_json
from batches_mcp.core.server_plan import ServerPlan
from batches_mcp.core.settings import BatchSettings, Environment, UpstreamSettings
from batches_mcp.core.variables import API_KEY

_MISSING = "missing_variable:"
_MOST_WIDTH = 110


@click.command
@capability
@flag("--json", "as_json", is_flag=True, help="Print the tools as MCP's tools/list sends them.")
def tools(*, capability: Path | None, as_json: bool) -> None:
    """Show the tools as an agent will see them."""
    with ready(UpstreamSettings(capability), Environment(warn=say), default_root=Path.cwd()) as prepared:
        if as_json:
            from batches_mcp.serve.client import wire_form
            from batches_mcp.serve.mcp import tool_of

            forms = [wire_form(tool_of(tool)) for tool in prepared.plan.tools]
            click.echo(json.dumps(forms, indent=2, ensure_ascii=False))
            return
        for tool in prepared.plan.tools:
            _show(tool)


def _show(tool: ToolPlan) -> None:
    width = min(shutil.get_terminal_size().columns, _MOST_WIDTH)
    click.echo(f"{click.style(tool.name, bold=True)}  ({', '.join(hint_words(tool))})")
    click.echo(click.wrap_text(printable(tool.description), width, "  ", "  ", preserve_paragraphs=True))
    required = tool.input_schema.get("required", [])
    for name, schema in tool.input_schema["properties"].items():
        need = "required" if name in required else "optional"
        click.echo(
            click.wrap_text(
                f"{name} ({schema.get('type', 'any')}, {need}): {schema.get('description', '')}",
                width,
                "    - ",
                "      ",
            )
        )
    click.echo()


def hint_words(tool: ToolPlan) -> list[str]:
    """A tool's hints in words."""
    change = "read-only" if tool.hints.read_only else "destructive" if tool.hints.destructive else "writes"
    return [change, *(["idempotent"] if tool.hints.idempotent else [])]


@click.command
@click.argument("tool", shell_complete=tool_name)
@click.argument("pairs", nargs=-1, metavar="[KEY=VALUE]...")
@flag("--args", "given", metavar="JSON", help="All arguments as one JSON object.")
@upstream_flags
@batch_flags
@log_level
def call(
    *,
    tool: str,
    pairs: tuple[str, ...],
    given: str | None,
    upstream: UpstreamSettings,
    batch: BatchSettings,
    log_level: str,
) -> int:
    """Call one TOOL through a real MCP client in this process and print its answer as JSON.

    An answer goes to standard output; an error goes to standard error, with exit code 1.
    """
    with ready(upstream, Environment(warn=say), log_level, batch, Path.cwd()) as prepared:
        arguments = call_arguments(prepared.plan, tool, given, pairs)
        from batches_mcp.serve.client import in_process

        server = prepared.server()

        async def once() -> Any:
            async with in_process(server) as client:
                return await client.call(tool, arguments)

        outcome = anyio.run(once)
    if outcome.error is not None:
        # What a model does next is not for the person who reads this.
        click.echo("\n".join(map(printable, outcome.error.partition("\nNext: ")[0].split("\n"))), err=True)
        if outcome.error.startswith(_MISSING) and API_KEY in outcome.error:
            click.echo(f"Next: run `batches-mcp key set`, or set {API_KEY}; --sandbox needs no key", err=True)
        return 1
    click.echo(printable_json(json.dumps(outcome.content, indent=2, ensure_ascii=False)))
    return 0


def call_arguments(plan: ServerPlan, tool: str, given: str | None, pairs: Sequence[str]) -> dict[str, Any]:
    """Arguments from `--args` JSON or from `key=value` pairs, whose types the tool's schema gives.

    Raises:
        UsageError: there is no such tool, or the arguments cannot be read.
    """
    schemas = {each.name: each.input_schema["properties"] for each in plan.tools}
    if tool not in schemas:
        hint = did_you_mean(tool, list(schemas)) or "`batches-mcp tools` lists them"
        raise UsageError(f"there is no tool called {tool}; {hint}")
    if given is None:
        return dict(_pair(pair, schemas[tool]) for pair in pairs)
    if pairs:
        raise UsageError("give the arguments either as --args or as key=value, not both")
    try:
        value = json.loads(given)
    except ValueError as error:
        raise UsageError(f"--args is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise UsageError('--args: expected a JSON object, for example {"limit": 5}')
    return value


def _pair(pair: str, schemas: Mapping[str, Any]) -> tuple[str, Any]:
    name, equals, value = pair.partition("=")
    if not equals:
        raise UsageError(f"{pair}: expected key=value")
    if schemas.get(name, {}).get("type") in (None, "string"):
        return name, value
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value  # the check of the arguments says what is expected there
