"""The README is true: its generated tables are current, its snippets parse, and what it names exists."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
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
from batches_mcp.serve import jobs
from batches_mcp.tools.behaviors import behaviors, contributions
from release import guide
from tests.support.golden import assert_golden

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
# The pages that are written by hand, with commands to type.
PAGES = [
    README,
    *(
        ROOT / "docs" / f"{name}.md"
        for name in ("flags", "http-rest", "money", "requests", "results", "run", "tools", "troubleshooting")
    ),
]
TABLES = {"tools": README, "flags": ROOT / "docs" / "flags.md"}


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
            yield from ((full_name, parameter) for parameter in each.params if isinstance(parameter, click.Option))


@pytest.mark.parametrize(("name", "table"), [("tools", tools_table), ("flags", flags_table)])
def test_generated_tables_are_current(name: str, table: object) -> None:
    assert callable(table)
    page = TABLES[name]
    text = page.read_text("utf-8")
    pattern = re.compile(rf"(<!-- {name}:begin [^\n]*-->\n).*?(<!-- {name}:end -->)", re.DOTALL)
    assert len(pattern.findall(text)) == 1
    current = pattern.sub(lambda match: f"{match[1]}{table()}\n{match[2]}", text)
    if os.environ.get("BATCHES_MCP_UPDATE_GOLDEN"):
        page.write_text(current, "utf-8")
    assert page.read_text("utf-8") == current, "run `make golden`"


def snippets(language: str) -> list[str]:
    texts = [page.read_text("utf-8") for page in PAGES]
    return [found for text in texts for found in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)]


@pytest.mark.parametrize("snippet", snippets("json"))
def test_host_configurations_parse_and_start_our_command(snippet: str) -> None:
    config = json.loads(snippet)
    [(name, server)] = (config.get("mcpServers") or config["servers"]).items()
    assert name == "batches"
    assert re.search(r"(^|[/\\])(batches-mcp(\.exe)?|uvx)$", server["command"])
    assert server["args"][:1] == ["serve"]
    assert "env" not in server, "the stored key is found without"


def test_there_is_a_snippet_for_every_host() -> None:
    text = README.read_text("utf-8")
    for host in ("Claude Desktop", "Claude Code", "VS Code", "Cursor", "HTTP", "Windows", "uvx"):
        assert host in text


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
        for line in snippet.replace("\\\n", " ").splitlines()
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
    section = (ROOT / "docs" / "tools.md").read_text("utf-8").split("## Resources and prompts\n")[1].split("\n## ")[0]
    named = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
    of_jobs = [jobs.LISTED.uri, jobs.TEMPLATE.uri_template]
    assert named == [*(each.template for each in plan.resources), *of_jobs, *(each.name for each in plan.prompts)]


@pytest.mark.parametrize("snippet", snippets("python"))
def test_python_snippets_compile(snippet: str) -> None:
    compile(snippet, "README.md", "exec")


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "ARCHITECTURE.md", ROOT / "docs" / "README.md"], ids=lambda page: page.name
)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[)#]", page.read_text("utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages == set(re.findall(r"\]\(([a-z-]+\.md)\)", index))


def test_the_files_that_the_architecture_names_exist() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    names = {path.name for path in (ROOT / "src").rglob("*.py")} | {path.name for path in (ROOT / "tests").glob("*.py")}
    assert set(re.findall(r"\b([a-z_]+\.py)\b", text)) <= names
    paths = {str(path.relative_to(ROOT / "src" / "batches_mcp")) for path in (ROOT / "src").rglob("*.py")}
    assert set(re.findall(r"(?<![\w/])([a-z]+/[a-z_]+\.py)\b", text)) <= paths | {"tests/test_layers.py"}


def test_the_readme_is_read_in_some_minutes() -> None:
    assert len(README.read_text("utf-8").splitlines()) <= 160


def test_make_targets_named_in_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"`?make ([a-z]+)", README.read_text("utf-8")):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
