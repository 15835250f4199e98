"""Flags that several commands share; every flag has a twin in the environment, and the flag wins."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import SecretStr

from batches_mcp.cli.completion import tool_list
from batches_mcp.core.redact import printable
from batches_mcp.core.settings import PREFIX, BatchSettings, UpstreamSettings
from batches_mcp.core.text import CAP_EXPECTED
from batches_mcp.core.variables import is_placeholder

CommandT = TypeVar("CommandT", bound=Callable[..., Any])
Flag = Callable[[Callable[..., Any]], Callable[..., Any]]
"""Adds a flag to a command."""


class _Flag(click.Option):
    """An option whose twin in the environment counts as missing while it holds only a placeholder."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        value = super().resolve_envvar_value(ctx)
        return None if value and _left_out(str(self.envvar), value) else value


def _left_out(where: str, value: str) -> bool:
    """Whether a value is only a placeholder, which is then said."""
    if not is_placeholder(value):
        return False
    found = f"{where} holds only the placeholder {printable(value)}, which was not filled in; it counts as missing"
    click.echo(f"batches-mcp: {found}", err=True)
    return True


def flag(name: str, *parameter: str, **attributes: Any) -> Callable[[CommandT], CommandT]:
    """A flag `--name` with the twin `BATCHES_MCP_NAME`; `parameter` is the command's own name for it, if another."""
    twin = PREFIX + name.removeprefix("--").replace("-", "_").upper()
    return click.option(name, *parameter, cls=_Flag, envvar=twin, show_envvar=True, **attributes)


def _secret(_context: click.Context, _parameter: click.Parameter, value: str | None) -> SecretStr | None:
    """A text that is not to be shown."""
    return SecretStr(value) if value else None


def _negated(_context: click.Context, _parameter: click.Parameter, value: bool) -> bool:
    return not value


def folders(_context: click.Context, parameter: click.Parameter, value: tuple[Path, ...]) -> tuple[Path, ...]:
    """Folders, without those of which a host left a placeholder."""
    where = parameter.opts[0] if isinstance(parameter, click.Option) else "the list of folders"
    return tuple(folder for folder in value if not _left_out(where, str(folder)))


def names(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    """A comma-separated list of names."""
    return tuple(name.strip() for name in (value or "").split(",") if name.strip())


class HomePath(click.Path):
    """A path whose `~` is a home, which no shell has made of it when it comes from the environment or a host's file."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return Path(value).expanduser()
        except RuntimeError as error:
            self.fail(f"{value}: {error}", param, ctx)


def cap_usd(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    """An amount that bounds what is spent: text, nan or inf would not."""
    if value is None:
        return None
    try:
        amount = float(value)
    except ValueError:
        amount = math.nan
    if not 0 < amount < math.inf:
        raise click.BadParameter(f"{printable(value)!r} is not an amount; {CAP_EXPECTED}.")
    return amount


log_level = flag(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="warning",
    show_default=True,
    help="How much is logged to standard error.",
)

log_format = flag(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="json: one object a line, for programs that collect logs.",
)

metrics_address = flag(
    "--metrics-address", metavar="HOST:PORT", help="Serve metrics for Prometheus there, to whoever asks."
)

capability = flag(
    "--capability",
    type=click.Path(path_type=Path),
    help="The capability file to serve, in place of the packaged one.",
)

_READ_ONLY = "Serve only tools that change nothing; wins over every other flag."
state_dir_flag = flag(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder for what the server keeps between calls.  [default: the user's state folder; with --sandbox one "
    "that is thrown away]",
)
database_url_flag = flag(
    "--database-url",
    metavar="URL",
    callback=_secret,
    help="Share the state with other servers: the ledger in this PostgreSQL database; needs --object-store. "
    "BATCHES_MCP_DATABASE_URL_FILE may name a file with it.",
)
# Each flag by the field of the settings that it is for.
_UPSTREAM_FLAGS: Mapping[str, Flag] = {
    "capability": capability,
    "base_url": flag("--base-url", metavar="URL", help="Send requests there instead of to the file's baseUri."),
    "sandbox": flag(
        "--sandbox", is_flag=True, help="Send requests to an embedded sandbox: no API key is needed or used."
    ),
}
_STATE_FLAGS: Mapping[str, Flag] = {
    "state_dir": state_dir_flag,
    "database_url": database_url_flag,
    "object_store": flag(
        "--object-store",
        metavar="URL",
        help="Where requests and results are kept with --database-url: s3://BUCKET/PREFIX or file:///FOLDER; "
        "--state-dir is then a cache.",
    ),
    "account": flag(
        "--account",
        metavar="NAME",
        help="Whose batches these are, for what is kept of them.  [default: the workspace that the API names]",
    ),
}
_SERVED_FLAGS: Mapping[str, Flag] = {
    "read_only": flag("--read-only", is_flag=True, help=_READ_ONLY),
    "tools": flag(
        "--tools", callback=names, metavar="NAME,...", shell_complete=tool_list, help="Serve only these tools."
    ),
    "exclude": flag(
        "--exclude", callback=names, metavar="NAME,...", shell_complete=tool_list, help="Do not serve these tools."
    ),
}
# In the environment it forbids a cancel; on the command line it would make no sense.
_READ_ONLY_FLAG: Mapping[str, Flag] = {"read_only": flag("--read-only", is_flag=True, hidden=True, help=_READ_ONLY)}
_ROOT_FLAGS: Mapping[str, Flag] = {
    "roots": flag(
        "--root",
        "roots",
        multiple=True,
        type=HomePath(),
        callback=folders,
        metavar="DIR",
        help="Folder in which file arguments may read; may be given several times; `~` is the home.  [default: the "
        "host's project or the working directory, unless it is /, a home, a system folder or a plugin; over HTTP none]",
    ),
}
_CREATE_FLAGS: Mapping[str, Flag] = {
    "ledger": flag(
        "--no-ledger",
        "ledger",
        is_flag=True,
        callback=_negated,
        help="Remember no creates: the same requests may be billed twice, and nothing can be retried.",
    ),
    "allow_duplicates": flag(
        "--allow-duplicates",
        is_flag=True,
        help="Send the same requests again without asking, which bills them again; for libraries that resubmit.",
    ),
    "max_cost_usd": flag(
        "--max-cost-usd",
        callback=cap_usd,
        metavar="USD",
        help="Refuse creates that could bring the cost of the last 24 hours over this.",
    ),
    "wait_cap_s": flag(
        "--wait-cap",
        "wait_cap_s",
        type=click.FloatRange(0, 3600),
        metavar="SECONDS",
        default=45.0,
        show_default=True,
        help="The longest that a call may wait for a batch to end; hosts give most calls 60 s.",
    ),
}


def gathered(name: str, settings: Callable[..., object], flags: Mapping[str, Flag]) -> Flag:
    """Adds flags, each by the parameter of `settings` that it is for; the command gets what those make as `name`."""

    def adding(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def gathering(*args: Any, **given: Any) -> Any:
            own = {each: given.pop(each) for each in flags}
            return command(*args, **{name: settings(**own)}, **given)

        adorned: Callable[..., Any] = gathering
        for add in reversed(list(flags.values())):
            adorned = add(adorned)
        return adorned

    return adding


def upstream_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the flags that say what is served and where requests go; the command gets them as `upstream`."""
    return gathered("upstream", UpstreamSettings, {**_UPSTREAM_FLAGS, **_SERVED_FLAGS})(command)


def account_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the flags that say whose batches are meant and where they are; as `upstream` and `batch`.

    They are for commands that work with the batches there are, and serve nothing.
    """
    with_state = gathered("batch", BatchSettings, _STATE_FLAGS)(command)
    return gathered("upstream", UpstreamSettings, {**_UPSTREAM_FLAGS, **_READ_ONLY_FLAG})(with_state)


def batch_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the flags that say what the behaviours work with; the command gets them as `batch`."""
    return gathered("batch", BatchSettings, {**_ROOT_FLAGS, **_STATE_FLAGS, **_CREATE_FLAGS})(command)
