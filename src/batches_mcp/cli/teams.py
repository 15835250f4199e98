"""`teams`: the file that says who may use a service, and keys for it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from batches_mcp.access import file, keys
from batches_mcp.access.principal import READ, SCOPES, WRITE
from batches_mcp.access.teams import NAME
from batches_mcp.cli.flags import flag
from batches_mcp.cli.startup import say
from batches_mcp.core.diagnostics import has_errors
from batches_mcp.core.errors import UsageError
from batches_mcp.core.redact import printable
from batches_mcp.core.settings import Environment
from batches_mcp.core.text import count


@click.group()
def teams() -> None:
    """Who may use a service, and for which team: the file of `serve --teams`."""


@teams.command()
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@flag("--json", "as_json", is_flag=True, help="Print a JSON array.")
def check(*, path: Path, as_json: bool) -> int:
    """Check a teams file and print every problem with its line and column.

    The API keys that it names must be there, in the environment or in their files; they are not shown.

    Exit code 0: no errors; 1: errors; 2: the file cannot be read.
    """
    problems = file.check(path, Environment(warn=say))
    if as_json:
        click.echo(json.dumps([problem.data() for problem in problems], indent=2, ensure_ascii=False))
    else:
        for problem in problems:
            click.echo(printable(problem.text()))
        errors = count(len(problems), "error")
        click.echo(f"{printable(str(path))}: {errors}")
    return 1 if has_errors(problems) else 0


@teams.command("key")
@click.argument("name")
@flag("--team", required=True, metavar="T", help="The team that it works for.")
@flag(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    default=(READ, WRITE),
    show_default=True,
    help="What it allows; may be given several times.",
)
def new_key(*, name: str, team: str, scopes: tuple[str, ...]) -> None:
    """Make a key called NAME: print it, once, and the line for the teams file, which holds its hash alone.

    Whoever shows the key at /key/mcp works for the team. It is kept nowhere: give it to its user now.
    """
    for what, text in (("NAME", name), ("--team", team)):
        if not NAME.fullmatch(text):
            raise UsageError(
                f"{what}: {printable(text)!r} is not a valid name; use letters, digits, `.`, `_` and `-`, at most 64"
            )
    key = keys.fresh()
    named = ", ".join(dict.fromkeys(scopes))
    say("the key, which is shown this once; its user sends it as `Authorization: Bearer <key>`:")
    click.echo(key)
    say("the line under `keys:` of the teams file:")
    click.echo(f"- {{name: {_text(name)}, sha256: '{keys.hash_of(key)}', team: {_text(team)}, scopes: [{named}]}}")


def _text(name: str) -> str:
    """A name as YAML text: one that is all digits, or a word such as `true`, would be something else."""
    return f"'{name}'"
