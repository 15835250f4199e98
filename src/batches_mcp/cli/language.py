"""`check`, `explain` and `schema`: what is wrong with capability files, what their tools do, what may stand in one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from batches_mcp import language as capabilities
from batches_mcp.cli.completion import tool_name
from batches_mcp.cli.flags import capability, flag
from batches_mcp.cli.startup import ready, say
from batches_mcp.core.diagnostics import Diagnostic, Severity, did_you_mean
from batches_mcp.core.errors import UnreadableFile, UsageError
from batches_mcp.core.redact import printable
from batches_mcp.core.settings import Environment, UpstreamSettings, packaged
from batches_mcp.core.text import count
from batches_mcp.language.explain import explain as explained

# What a folder is searched for.
_YAML = {".yaml", ".yml"}


@click.command
@click.argument("paths", metavar="[FILE|FOLDER]...", nargs=-1, type=click.Path(path_type=Path))
@flag("--json", "as_json", is_flag=True, help="Print a JSON array.")
@flag("--strict", is_flag=True, help="Let warnings fail as well.")
def check(*, paths: tuple[Path, ...], as_json: bool, strict: bool) -> int:
    """Check capability files (the packaged one by default) and print every problem with its line and column.

    A folder stands for all .yaml and .yml files in it, and in the folders in it.

    Exit code 0: no errors; 1: errors; 2: a file cannot be read.
    """
    files = list(dict.fromkeys(file for path in paths for file in _files(path))) or [packaged("capability.yaml")]
    found: list[Diagnostic] = []
    failed = unreadable = 0
    failing = {Severity.ERROR, Severity.WARNING} if strict else {Severity.ERROR}
    for file in files:
        try:
            problems = capabilities.check(file)
        except UnreadableFile as error:
            say(str(error))
            unreadable += 1
            continue
        if problems and not as_json:
            click.echo("\n".join(printable(problem.text()) for problem in problems))
        found += problems
        failed += any(problem.severity in failing for problem in problems)
    if as_json:
        click.echo(json.dumps([problem.data() for problem in found], indent=2, ensure_ascii=False))
    elif unreadable < len(files):
        counts = f"{_count(found, Severity.ERROR)}, {_count(found, Severity.WARNING)}"
        many = f"{count(len(files), 'file')}, {failed} failed"
        many += f", {unreadable} cannot be read" if unreadable else ""
        click.echo(f"{printable(str(files[0])) if len(files) == 1 else many}: {counts}")
    return 2 if unreadable else 1 if failed else 0


def _files(path: Path) -> Iterator[Path]:
    """The file itself, or the files of a folder, by name, and of the folders in it; what is hidden is left out.

    Raises:
        UsageError: a folder without any.
    """
    if not path.is_dir():
        yield path
        return
    found = False
    for folder, inner, names in os.walk(path):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix in _YAML:
                found = True
                yield Path(folder, name)
    if not found:
        raise UsageError(f"{path}: there is no .yaml or .yml file in this folder")


def _count(problems: Sequence[Diagnostic], severity: Severity) -> str:
    return count(sum(problem.severity is severity for problem in problems), str(severity))


@click.command
@click.argument("tool", shell_complete=tool_name)
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


@click.command
def schema() -> None:
    """Print a JSON Schema (2020-12) of capability files, with which editors complete and check them.

    Save it, and name it in the first line of a file: # yaml-language-server: $schema=capability.schema.json
    """
    from batches_mcp.language.schema import schema as of_the_language

    click.echo(json.dumps(of_the_language(), indent=2, ensure_ascii=False))
