"""The README is true: its generated tables are current, its snippets parse, and what it names exists."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard
from urllib.parse import parse_qs, unquote, urlsplit

import click
import pytest

from batches_mcp import language
from batches_mcp.cli import cli
from batches_mcp.cli.inspect import hint_words
from batches_mcp.core.settings import BatchSettings
from batches_mcp.hosts import documents
from batches_mcp.hosts.snippets import snippet
from batches_mcp.hosts.table import HOSTS, Host
from batches_mcp.language.compile import compile_server
from batches_mcp.tools.behaviors import behaviors, contributions
from release import guide
from tests.support.golden import assert_golden

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


def tools_table() -> str:
    lines = ["| tool | what it does | arguments | hints |", "| --- | --- | --- | --- |"]
    for tool in compile_server(
        language.read(ROOT / "capability.yaml"), contributions=contributions(behaviors(BatchSettings((ROOT,))))
    ).tools:
        required = tool.input_schema.get("required", [])
        arguments = [f"`{name}`" if name in required else f"`{name}`?" for name in tool.input_schema["properties"]]
        what = re.split(r"(?<=[.:;])\s", tool.description)[0].rstrip(".:;")
        lines.append(f"| `{tool.name}` | {what} | {', '.join(arguments)} | {', '.join(hint_words(tool))} |")
    return "\n".join(lines)


def flags_table() -> str:
    lines = ["| flag | environment | commands | meaning |", "| --- | --- | --- | --- |"]
    rows: dict[tuple[str, str, str], list[str]] = {}
    for command, option in options():
        if option.envvar:
            rows.setdefault((option.opts[0], str(option.envvar), option.help or ""), []).append(command)
    for (flag, twin, text), commands in rows.items():
        lines.append(f"| `{flag}` | `{twin}` | {', '.join(commands)} | {text} |")
    return "\n".join(lines)


def options() -> Iterator[tuple[str, click.Option]]:
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        parts = {f"{name} {part}": each for part, each in getattr(command, "commands", {}).items()}
        for full_name, each in {name: command, **parts}.items():
            yield from ((full_name, parameter) for parameter in each.params if _is_shown(parameter))


def _is_shown(parameter: click.Parameter) -> TypeGuard[click.Option]:
    return isinstance(parameter, click.Option) and not parameter.hidden


@pytest.mark.parametrize(("name", "table"), [("tools", tools_table), ("flags", flags_table), ("hosts", guide.table)])
def test_generated_tables_are_current(name: str, table: object) -> None:
    assert callable(table)
    text = README.read_text("utf-8")
    pattern = re.compile(rf"(<!-- {name}:begin [^\n]*-->\n).*?(<!-- {name}:end -->)", re.DOTALL)
    assert len(pattern.findall(text)) == 1
    current = pattern.sub(lambda match: f"{match[1]}{table()}\n{match[2]}", text)
    if os.environ.get("BATCHES_MCP_UPDATE_GOLDEN"):
        README.write_text(current, "utf-8")
    assert README.read_text("utf-8") == current, "run `make golden`"


def snippets(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("snippet", snippets("json"))
def test_host_configurations_parse_and_start_our_command(snippet: str) -> None:
    config = json.loads(snippet)
    [(name, server)] = (config.get("mcpServers") or config["servers"]).items()
    assert name == "batches"
    assert re.search(r"(^|[/\\])(batches-mcp(\.exe)?|uvx)$", server["command"])
    assert server["args"] == (["batches-mcp"] if server["command"] == "uvx" else ["serve"])
    assert "env" not in server, "the stored key is found without"


def test_there_is_a_snippet_for_every_host() -> None:
    text = README.read_text("utf-8")
    for host in ("Claude Desktop", "Claude Code", "VS Code", "Cursor", "HTTP", "Windows", "uvx"):
        assert host in text
    assert len(snippets("json")) == 2


def test_the_page_of_hosts_is_current() -> None:
    assert_golden(ROOT / "docs" / "hosts.md", guide.page())


@pytest.mark.parametrize("host", HOSTS.rows, ids=lambda host: host.id)
def test_what_is_pasted_is_what_would_be_written(host: Host) -> None:
    text = snippet(host, guide.NAME, guide.COMMAND)
    assert text in (ROOT / "docs" / "hosts.md").read_text("utf-8")
    if host.listed:
        entry = {"name": guide.NAME, **host.shape(guide.COMMAND)}
        assert documents.parse(text.encode(), host.form) == {host.under[0]: [entry]}
        return
    written = documents.put(None, host.form, host.path(guide.NAME), host.shape(guide.COMMAND))
    assert documents.parse(text.encode(), host.form) == documents.parse(written, host.form)
    assert "ANTHROPIC_API_KEY" not in text


@pytest.mark.parametrize("host", [row for row in HOSTS.rows if row.link], ids=lambda host: host.id)
def test_links_hold_the_published_command(host: Host) -> None:
    assert host.link is not None
    link = urlsplit(host.link(guide.NAME, guide.LINKED))
    given = parse_qs(link.query)
    if host.id == "goose":
        assert (given["cmd"], given["arg"]) == (["uvx"], ["batches-mcp"])
        return
    text = given["config"][0] if "config" in given else unquote(link.query)
    entry = json.loads(text if text.startswith("{") else base64.b64decode(text))
    assert (entry["command"], entry["args"]) == ("uvx", ["batches-mcp"])


def commands() -> list[list[str]]:
    lines = [
        line
        for snippet in snippets("sh")
        for line in snippet.splitlines()
        if "batches-mcp " in line and "claude mcp" not in line
    ]
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_shell_commands_exist_with_their_flags(words: list[str]) -> None:
    start = next(number for number, word in enumerate(words) if word.endswith("batches-mcp"))
    name, *rest = words[start + 1 :]
    context = click.Context(cli)
    command = cli.get_command(context, name)
    assert command is not None
    command.make_context(name, rest)


@pytest.mark.parametrize(
    "snippet", [line for text in snippets("sh") for line in text.splitlines() if line.startswith("claude mcp")]
)
def test_claude_code_commands_are_well_formed(snippet: str) -> None:
    words = shlex.split(snippet)
    assert words[:3] == ["claude", "mcp", "add"]
    assert "batches" in words
    assert words[-1].endswith(("/bin/batches-mcp", ":9090/mcp"))


def test_resources_and_prompts_are_named_as_they_are() -> None:
    plan = compile_server(language.read(ROOT / "capability.yaml"))
    section = README.read_text("utf-8").split("## Resources and prompts\n")[1].split("\n## ")[0]
    named = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
    assert named == [*(each.template for each in plan.resources), *(each.name for each in plan.prompts)]


@pytest.mark.parametrize("snippet", snippets("python"))
def test_python_snippets_compile(snippet: str) -> None:
    compile(snippet, "README.md", "exec")


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README.read_text("utf-8")):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_make_targets_named_in_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"`?make ([a-z]+)", README.read_text("utf-8")):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
