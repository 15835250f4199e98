"""`key`: the API key that is stored once, for every host of this user."""

from __future__ import annotations

import sys
from dataclasses import replace

import anyio
import click
from pydantic import SecretStr

from batches_mcp.api.batches import Batches
from batches_mcp.api.operations import Operations
from batches_mcp.cli.flags import flag
from batches_mcp.cli.startup import Ready, ready, say
from batches_mcp.core.errors import CallError, ServeError, UpstreamError
from batches_mcp.core.limits import Limits
from batches_mcp.core.plan import BehaviorName
from batches_mcp.core.redact import printable
from batches_mcp.core.settings import Environment, UpstreamSettings, key_file
from batches_mcp.core.variables import API_KEY
from batches_mcp.exchange.forward import Forward
from batches_mcp.exchange.upstream import Upstream
from batches_mcp.hosts import keystore

_REFUSED = (401, 403)
# A person waits for the answer.
_LIMITS = Limits(call_s=15.0)

_base_url = flag("--base-url", metavar="URL", help="Send requests there instead of to the file's baseUri.")


@click.group
def key() -> None:
    """Store the API key once, for every host on this machine, so that no host's configuration holds it.

    A key in the environment (ANTHROPIC_API_KEY or ANTHROPIC_API_KEY_FILE) goes before the stored one.
    """


@key.command("set")
@_base_url
def set_key(*, base_url: str | None) -> int:
    """Store a key, asked for without showing it, or read from standard input.

    Its form is checked, then one free call is made with it. A key that the API refuses is not stored.
    """
    given = click.prompt("API key", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline()
    secret = store_checked(given, base_url)
    found = Environment().find(API_KEY)
    if found and found.value != secret:
        say(f"the key in {found.source} goes before it here")
    return 0


def store_checked(given: str, base_url: str | None) -> SecretStr:
    """Check a key's form, try it, and store it, which is said.

    Raises:
        UsageError: it has not the form of a key.
        ServeError: the API refuses it.
    """
    secret = keystore.checked(given)
    problem = problem_with(secret, base_url)
    if isinstance(problem, UpstreamError) and problem.report.status in _REFUSED:
        raise ServeError(
            f"the key {keystore.masked(secret)} was not stored, because the API refuses it: {line_of(problem)}"
        )
    keystore.store(secret)
    say(f"the key {keystore.masked(secret)} is stored in {key_file()}")
    if problem is not None:
        say(f"it could not be tried: {line_of(problem)}")
    return secret


@key.command()
def show() -> int:
    """Show which key would be used, masked, and where it was found."""
    found = Environment(warn=say).find(API_KEY)
    if found is None:
        say("there is no key; `batches-mcp key set` stores one")
        return 1
    click.echo(printable(f"{keystore.masked(found.value)}, from {found.source}"))
    return 0


@key.command()
def forget() -> None:
    """Remove the stored key; keys in the environment stay."""
    say(f"{key_file()} is removed" if keystore.forget() else "no key is stored")


def problem_with(secret: SecretStr, base_url: str | None) -> CallError | None:
    """What one free call with this key runs into; None when it is answered."""
    values = {**Environment().values, API_KEY: secret.get_secret_value(), f"{API_KEY}_FILE": ""}
    with ready(UpstreamSettings(base_url=base_url), replace(Environment(), values=values)) as prepared:
        try:
            anyio.run(_free_call, prepared)
        except CallError as error:
            return error
    return None


async def _free_call(prepared: Ready) -> None:
    tool = next(tool for tool in prepared.plan.tools if BehaviorName.LIST in tool.beside)
    async with Upstream(_LIMITS) as upstream:
        await Batches(Forward(prepared.variables, upstream), Operations(tool)).page(1)


def line_of(error: CallError) -> str:
    """What went wrong, without what a model should do about it."""
    return error.report.text().partition("\n")[0]
