"""`demo`: the life of a batch, played by a real MCP client over stdio against the sandbox."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import anyio
import click

from batches_mcp.core.errors import ServeError
from batches_mcp.core.redact import excerpt
from batches_mcp.core.settings import Environment, packaged

if TYPE_CHECKING:
    from rich.console import Console

    from batches_mcp.serve.client import ToolClient

_EXAMPLE = "examples/support-desk.jsonl"
_PROCESS_S = 5.0
_POLL_S = 0.25
_COLORS = {"succeeded": "green", "errored": "red", "expired": "yellow", "canceled": "magenta"}


@click.command
def demo() -> None:
    """Play the whole life of a batch against the sandbox: no API key, nothing billed, done in seconds."""
    from rich.console import Console

    from batches_mcp.sandbox import running_sandbox

    with running_sandbox(process_seconds=_PROCESS_S, seed=1) as sandbox:
        console = Console(highlight=False, soft_wrap=True)
        anyio.run(_play, console, sandbox.url)
    console.print("\n[bold]What to type next[/bold]")
    for command, what in _next_commands(Environment()):
        console.print(f"\n  [dim]# {what}[/dim]")
        console.print(f"  {command}", markup=False)


def _next_commands(environment: Environment) -> Iterator[tuple[str, str]]:
    """Commands that work at the prompt at which this one was given, each with what it does."""
    from batches_mcp.hosts.machine import Machine
    from batches_mcp.hosts.own import own_command

    activate = _activation(environment)
    if activate is not None:
        yield activate, "puts batches-mcp on the PATH of this shell"
    example = _quoted(packaged(_EXAMPLE))
    yield f"batches-mcp run {example} -o results.jsonl --sandbox", "a whole job from a shell, still without a key"
    yield "batches-mcp install", "adds the server to Claude, VS Code, Cursor and other hosts that are found here"
    own = own_command(sys.argv[0], sys.executable, Machine(values=environment.values)).launch
    yield f"claude mcp add batches -- {shlex.join([own.command, *own.args, 'serve'])}", "the same for Claude Code alone"


def _activation(environment: Environment) -> str | None:
    """The command that activates the virtual environment of this program, where its own name is not found without."""
    prefix = Path(sys.prefix)
    found = shutil.which("batches-mcp", path=environment.get("PATH") or "")
    if prefix == Path(sys.base_prefix) or (found and Path(found).is_relative_to(prefix)):
        return None
    windows = prefix / "Scripts" / "activate"
    if windows.exists():
        return _quoted(windows)
    script = prefix / "bin" / "activate"
    return f". {_quoted(script)}" if script.exists() else None


def _quoted(path: Path) -> str:
    """A path as it is typed here: short where it lies below the working directory."""
    here = Path.cwd()
    short = path.relative_to(here) if path.is_relative_to(here) else path
    return f'"{short}"' if " " in str(short) else str(short)


async def _play(console: Console, url: str) -> None:
    from batches_mcp.serve.client import over_stdio

    requests = [json.loads(line) for line in packaged(_EXAMPLE).read_text("utf-8").splitlines()]
    console.print("[bold]The life of a message batch, through MCP[/bold]")
    console.print(
        "A real MCP client starts the server over stdio; a sandbox stands in for the API, so nothing is billed."
    )
    with TemporaryDirectory(prefix="batches-mcp-", ignore_cleanup_errors=True) as state:
        server = [sys.executable, "-m", "batches_mcp", "serve", "--base-url", url, "--state-dir", state]
        async with over_stdio(server, {"ANTHROPIC_API_KEY": "a key the sandbox takes"}) as client:
            await _Journey(console, client).play(requests)


@dataclass(frozen=True, slots=True)
class _Journey:
    console: Console
    client: ToolClient

    async def play(self, requests: Sequence[Mapping[str, Any]]) -> None:
        tools = await self.client.tools()
        # The packaged capability's tools, in its order.
        listing, create, retrieve, delete, cancel, results = (tool["name"] for tool in tools)
        [batch_id] = tools[2]["inputSchema"]["required"]

        self._step("1", "the tools the server offers")
        for tool in tools:
            self.console.print(f"  {tool['name']:<42} [dim]{_hints(tool['annotations'])}[/dim]")

        self._step("2", f"create a batch from {_EXAMPLE} ({len(requests)} requests)")
        first = await self._call(create, {"requests": requests})
        self.console.print(f"  {first['id']}, {first['processing_status']}")

        self._step("3", "follow it to its end")
        ended = await self._follow(retrieve, {batch_id: first["id"]})
        self.console.print(f"  ended: {_counts(ended)}")

        self._step("4", "look at its results, by outcome")
        self._outcomes(await self._call(results, {batch_id: first["id"], "limit": len(requests)}))

        self._step("5", "create a second batch, change our mind, and cancel it")
        second = await self._call(create, {"requests": requests[:20]})
        canceling = await self._call(cancel, {batch_id: second["id"]})
        self.console.print(f"  {second['id']}, {canceling['processing_status']}")
        self.console.print(f"  ended: {_counts(await self._follow(retrieve, {batch_id: second['id']}))}")

        self._step("6", "list the batches")
        for batch in (await self._call(listing, {"limit": 5}))["data"]:
            self.console.print(
                f"  {batch['id']}  {batch['created_at'][:19]}  {batch['processing_status']}  {_counts(batch)}"
            )

        self._step("7", "delete the first one")
        gone = await self._call(delete, {batch_id: first["id"]})
        self.console.print(f"  {gone['id']}, {gone['type']}")
        self.console.print("\n[bold green]Done.[/bold green]")

    def _step(self, number: str, what: str) -> None:
        self.console.print(f"\n[bold cyan]{number}.[/bold cyan] [bold]{what[0].upper()}{what[1:]}[/bold]")

    async def _call(self, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        outcome = await self.client.call(tool, arguments)
        if outcome.error is not None:
            raise ServeError(f"the demo's call of {tool} failed: {outcome.error}")
        return outcome.content

    async def _follow(self, retrieve: str, which: Mapping[str, str]) -> dict[str, Any]:
        """Ask until the batch has ended; on a terminal the waiting is shown as it goes on."""
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as progress:
            waiting = progress.add_task("asking for its state")
            said = ""
            while True:
                batch = await self._call(retrieve, which)
                status = f"{batch['processing_status']}: {_counts(batch)}"
                progress.update(waiting, description=status)
                if batch["processing_status"] == "ended":
                    return batch
                if status != said and not self.console.is_terminal:
                    self.console.print(f"  {status}")
                said = status
                await anyio.sleep(_POLL_S)

    def _outcomes(self, answer: Mapping[str, Any]) -> None:
        by_type: dict[str, list[Mapping[str, Any]]] = {}
        for row in answer["rows"]:
            by_type.setdefault(row["type"], []).append(row)
        for outcome in sorted(by_type, key=list(_COLORS).index):
            rows = sorted(by_type[outcome], key=lambda row: str(row["custom_id"]))
            self.console.print(f"  [{_COLORS[outcome]}]{outcome}[/] {len(rows)}")
            for row in rows[:: max(1, len(rows) // 4)][:4]:
                self.console.print(f"    [dim]{row['custom_id']:<14}[/dim] ", end="")
                self.console.print(excerpt(_text(row), max(20, self.console.width - 20)), markup=False)


def _hints(annotations: Mapping[str, bool]) -> str:
    names = {"readOnlyHint": "read-only", "destructiveHint": "destructive", "idempotentHint": "idempotent"}
    return ", ".join(word for hint, word in names.items() if annotations[hint]) or "writes"


def _counts(batch: Mapping[str, Any]) -> str:
    return ", ".join(f"{number} {name}" for name, number in batch["request_counts"].items() if number)


def _text(row: Mapping[str, Any]) -> str:
    match row:
        case {"type": "succeeded", "text": text}:
            return str(text)
        case {"type": "errored", "error_type": kind, "error_message": message}:
            return f"{kind}: {message}"
        case {"type": kind}:
            return f"no answer: the request was {kind}"
        case _:
            return ""
