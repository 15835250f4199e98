"""The command line: the group of commands, and the boundary at which every error becomes a line and an exit code."""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import click

from batches_mcp import __version__
from batches_mcp.cli.examples import epilog
from batches_mcp.core.diagnostics import did_you_mean
from batches_mcp.core.errors import BatchesMcpError, CapabilityError, UnreadableFile, UsageError
from batches_mcp.core.redact import printable

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

log = logging.getLogger(__name__)

_OWN = {"--help", "-h", "--version"}
# Help is as wide as the terminal, up to this.
_MOST_WIDTH = 160
_USAGE = 2
_INTERRUPTED = 130


# Where each command is defined, under its own name; imported when it is run, so that it pays for its own imports only.
_COMMANDS = {
    "serve": "batches_mcp.cli.serve",
    "call": "batches_mcp.cli.inspect",
    "tools": "batches_mcp.cli.inspect",
    "check": "batches_mcp.cli.language",
    "run": "batches_mcp.cli.run",
    "jobs": "batches_mcp.cli.jobs",
    "results": "batches_mcp.cli.results",
    "cancel": "batches_mcp.cli.cancel",
    "models": "batches_mcp.cli.models",
    "key": "batches_mcp.cli.key",
    "install": "batches_mcp.cli.install",
    "uninstall": "batches_mcp.cli.install",
    "doctor": "batches_mcp.cli.doctor",
    "explain": "batches_mcp.cli.language",
    "schema": "batches_mcp.cli.language",
    "export": "batches_mcp.cli.export",
    "migrate": "batches_mcp.cli.migrate",
    "demo": "batches_mcp.cli.demo",
    "sandbox": "batches_mcp.cli.serve",
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
        command: click.Command = getattr(import_module(_COMMANDS[cmd_name]), cmd_name)
        parts = getattr(command, "commands", {})
        for name, each in {cmd_name: command, **{f"{cmd_name} {part}": each for part, each in parts.items()}}.items():
            each.epilog = epilog(name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _COMMANDS and not ctx.resilient_parsing:
            near = did_you_mean(args[0], list(_COMMANDS))
            hint = near if near.startswith("did") else "`batches-mcp --help` lists them"
            raise UsageError(f"there is no command {args[0]}; {hint}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = super().shell_complete(ctx, incomplete)
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


def run(arguments: list[str] | None = None) -> int:
    """Run a command line and return its exit code; no exception leaves."""
    try:
        code = cli.main(arguments, prog_name="batches-mcp", standalone_mode=False)
    except click.exceptions.Abort:
        return _INTERRUPTED
    except click.ClickException as error:
        error.show(sys.stderr)
        return error.exit_code
    except CapabilityError as error:
        return _failed(f"{error}\nbatches-mcp: the capability file does not load", 1)
    except (UsageError, UnreadableFile) as error:
        return _failed(f"batches-mcp: {error}", _USAGE)
    except BatchesMcpError as error:
        return _failed(f"batches-mcp: {error}", 1)
    except Exception as error:  # the boundary: a traceback is for the log, at the level that asks for it
        log.debug("internal error", exc_info=True)
        return _failed(f"batches-mcp: internal error ({type(error).__name__}); --log-level debug shows more", 1)
    return code if isinstance(code, int) else 0


def _failed(text: str, code: int) -> int:
    click.echo("\n".join(map(printable, text.split("\n"))), err=True)
    return code
