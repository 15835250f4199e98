"""`explain` and `schema`: what a tool of a capability file does, and what may stand in such a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from batches_mcp.capability.diagnostics import did_you_mean
from batches_mcp.cli.flags import capability, flag
from batches_mcp.cli.startup import ready, say
from batches_mcp.errors import UsageError
from batches_mcp.explain import explain as explained
from batches_mcp.redact import printable
from batches_mcp.settings import Environment, UpstreamSettings


@click.command(short_help="Show where a tool's inputs go, and what comes back.")
@click.argument("tool")
@capability
@flag("--json", "as_json", is_flag=True, help="Print JSON.")
def explain(*, tool: str, capability: Path | None, as_json: bool) -> None:
    """Show what a call of TOOL sends: where each input goes, which variable feeds what, and what comes back.

    Variables are named, never shown.
    """
    with ready(UpstreamSettings(capability), Environment(warn=say), default_root=Path.cwd()) as prepared:
        plans = {each.name: each for each in prepared.plan.tools}
        if tool not in plans:
            hint = did_you_mean(tool, list(plans)) or "`batches-mcp tools` lists them"
            raise UsageError(f"there is no tool called {tool}; {hint}")
        found = explained(prepared.plan, plans[tool])
        set_variables = {name for name in found["variables"] if name in prepared.variables}
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        for line in _lines(found, set_variables):
            click.echo(printable(line))


def _lines(found: dict[str, Any], set_variables: set[str]) -> list[str]:
    inputs = [
        f"  {each['name']} ({each['type']}, {'required' if each['required'] else 'optional'})"
        f" -> {', '.join(each['goes_to']) or 'nowhere'}"
        for each in found["inputs"]
    ]
    sent = [
        f"  {each['in']} {each['name']}".rstrip()
        + f" = {each['value']}"
        + ("" if each["otherwise"] is None else f", or {each['otherwise']} when not set")
        + ("  (credential)" if each["credential"] else "")
        for each in found["sent"]
    ]
    variables = [
        f"  {each['bind']}: {name}{', secret' if each['secret'] else ''}, {'' if name in set_variables else 'not '}set"
        for name, each in found["variables"].items()
    ]
    again = "sent again when no answer comes" if found["repeatable"] else "never sent twice by itself"
    return [
        f"{found['tool']}: {found['request']}  ({again})",
        *_section("inputs", inputs),
        *_section("sent", sent),
        *_section("variables", variables),
        *_section("answer", [f"  {line}" for line in found["answer"]]),
    ]


def _section(title: str, lines: list[str]) -> list[str]:
    return ["", title, *lines] if lines else []


@click.command(short_help="Print the JSON Schema of the capability language.")
def schema() -> None:
    """Print a JSON Schema (2020-12) of capability files, with which editors complete and check them.

    Save it, and name it in the first line of a file: # yaml-language-server: $schema=capability.schema.json
    """
    from batches_mcp.capability.schema import schema as of_the_language

    click.echo(json.dumps(of_the_language(), indent=2, ensure_ascii=False))
