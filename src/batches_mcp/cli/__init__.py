"""The command line: the group of commands, and the boundary at which every error becomes a line and an exit code."""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

import click
from click.shell_completion import CompletionItem

from batches_mcp import __version__
from batches_mcp.cli.examples import epilog
from batches_mcp.core.diagnostics import did_you_mean
from batches_mcp.core.errors import BatchesMcpError, CapabilityError, TeamsError, UnreadableFile, UsageError
from batches_mcp.core.limits import LIMITS, Limits
from batches_mcp.core.logs import written_as_json
from batches_mcp.core.redact import printable

if TYPE_CHECKING:
    from batches_mcp.exchange.upstream import Clock

log = logging.getLogger(__name__)

_OWN = {"--help", "-h", "--version"}
# Help is as wide as the terminal, up to this.
_MOST_WIDTH = 160
_USAGE = 2
_INTERRUPTED = 130


class _Place(NamedTuple):
    """Where a command is defined, under its own name, and what it does in one line."""

    module: str
    does: str


# Commands are imported when they are run, so that each pays for its own imports only.
_COMMANDS = {
    "serve": _Place("serve", "Serve the tools over MCP (the default)."),
    "call": _Place("inspect", "Make one tool call and print its answer."),
    "tools": _Place("inspect", "Show the tools as an agent will see them."),
    "check": _Place("language", "Check capability files and print every problem."),
    "run": _Place("run", "Do a whole job: from a file of rows or requests to a file of results."),
    "jobs": _Place("jobs", "Show the batches that this machine submitted."),
    "job": _Place("job", "Have workers do a job of any size: from tables in a store to tables of results."),
    "worker": _Place("worker", "Do what is to be done for jobs, on any number of machines."),
    "results": _Place("results", "Write the results of a batch to a file."),
    "cancel": _Place("cancel", "Cancel a batch that is in progress."),
    "models": _Place("models", "List models with their prices in batches."),
    "key": _Place("key", "Store, show or forget the API key."),
    "teams": _Place("teams", "Check a teams file, or make a key for it."),
    "approvals": _Place("approvals", "Show what waits for an approval in a service, and answer it."),
    "audit": _Place("audit", "Print what a service has decided: who did what, and what was refused."),
    "install": _Place("install", "Add the server to Claude, VS Code, Cursor and other hosts."),
    "uninstall": _Place("install", "Remove the server from hosts again."),
    "doctor": _Place("doctor", "Look for what keeps the server from working in hosts."),
    "explain": _Place("language", "Show where a tool's inputs go, and what comes back."),
    "schema": _Place("language", "Print the JSON Schema of the capability language."),
    "export": _Place("export", "Print what is exposed over REST as OpenAPI 3.1."),
    "migrate": _Place("migrate", "Bring the tables of a shared database to this version."),
    "demo": _Place("demo", "Play the life of a batch against the sandbox."),
    "sandbox": _Place("sandbox", "Run a local stand-in for the API."),
}


class _Commands(click.Group):
    """`serve` is meant when no command is named, as in hosts' configurations; `help NAME` is `NAME --help`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args[:1] == ["help"]:
            args = [*args[1:], "--help"]
        # A shell that completes the first word wants the names of the commands.
        elif (not args and not ctx.resilient_parsing) or (args and args[0].startswith("-") and args[0] not in _OWN):
            args = ["serve", *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"batches_mcp.cli.{_COMMANDS[cmd_name].module}"), cmd_name)
        parts = getattr(command, "commands", {})
        for name, each in {cmd_name: command, **{f"{cmd_name} {part}": each for part, each in parts.items()}}.items():
            each.epilog = epilog(name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, place.does) for name, place in _COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _COMMANDS and not ctx.resilient_parsing:
            near = did_you_mean(args[0], list(_COMMANDS))
            hint = near if near.startswith("did") else "`batches-mcp --help` lists them"
            raise UsageError(f"there is no command {args[0]}; {hint}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = [
            CompletionItem(name, help=place.does) for name, place in _COMMANDS.items() if name.startswith(incomplete)
        ]
        found += click.Command.shell_complete(self, ctx, incomplete)
        if incomplete.startswith("-"):
            serve = self.get_command(ctx, "serve")
            assert serve is not None  # noqa: S101 - it is in the table
            found += serve.shell_complete(click.Context(serve, ctx, "serve", resilient_parsing=True), incomplete)
        return list({item.value: item for item in found}.values())


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": _MOST_WIDTH})
@click.version_option(__version__, prog_name="batches-mcp")
def cli() -> None:
    """Anthropic's Message Batches API (bulk Claude requests at half price) as an MCP server.

    Without a command it serves MCP over standard input and output. Every flag of a command can also be set in the
    environment, as the command's own --help says.

    \b
    Start here:
      batches-mcp demo                        a batch's life, without a key
      batches-mcp run in.jsonl -o out.jsonl   a whole job
      batches-mcp install                     the server in Claude and others
    """


def run(arguments: list[str] | None = None, limits: Limits = LIMITS, clock: Clock | None = None) -> int:
    """Run a command line and return its exit code; no exception leaves. `ready` finds the `limits` and the `clock`."""
    try:
        code = cli.main(arguments, prog_name="batches-mcp", standalone_mode=False, obj=(limits, clock))
    except click.exceptions.Abort:
        return _INTERRUPTED
    except click.ClickException as error:
        error.show(sys.stderr)
        return error.exit_code
    except CapabilityError as error:
        file = "teams" if isinstance(error, TeamsError) else "capability"
        return _failed(f"{error}\nbatches-mcp: the {file} file does not load", 1)
    except (UsageError, UnreadableFile) as error:
        return _failed(f"batches-mcp: {error}", _USAGE)
    except BatchesMcpError as error:
        return _failed(f"batches-mcp: {error}", 1)
    except Exception as error:  # the boundary: a traceback is for the log, at the level that asks for it
        log.debug("internal error", exc_info=True)
        return _failed(f"batches-mcp: internal error ({type(error).__name__}); --log-level debug shows more", 1)
    return code if isinstance(code, int) else 0


def _failed(text: str, code: int) -> int:
    if not written_as_json(text, logging.ERROR):
        click.echo("\n".join(map(printable, text.split("\n"))), err=True)
    return code
