"""`install` and `uninstall`: our entry in hosts' files, shown first, proved afterwards."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from batches_mcp.cli.entries import Session, carried_out, planned, print_snippet, removed
from batches_mcp.cli.flags import HomePath, cap_usd, flag
from batches_mcp.cli.key import store_checked
from batches_mcp.cli.startup import say
from batches_mcp.core.diagnostics import did_you_mean
from batches_mcp.core.errors import UsageError
from batches_mcp.core.redact import printable
from batches_mcp.core.settings import PREFIX, Environment, user_state_folder
from batches_mcp.core.variables import API_KEY
from batches_mcp.hosts.changes import Backups, Change
from batches_mcp.hosts.documents import CannotEdit
from batches_mcp.hosts.launch import Launch
from batches_mcp.hosts.machine import Machine
from batches_mcp.hosts.own import own_command
from batches_mcp.hosts.table import HOSTS, Host

_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")

_hosts = click.argument("hosts", nargs=-1, metavar="[HOST]...")
_project = flag("--project", is_flag=True, help="The files of the project in this folder, not those of the user.")
_name = flag("--name", default="batches", show_default=True, metavar="NAME", help="What hosts call the server.")
_yes = flag("--yes", is_flag=True, help="Do not ask.")
_dry_run = flag("--dry-run", is_flag=True, help="Show what would change, and change nothing.")


@click.command
@_hosts
@_project
@flag("--root", "roots", multiple=True, type=HomePath(), metavar="DIR", help="serve's --root.")
@flag("--max-cost-usd", callback=cap_usd, metavar="USD", help="serve's --max-cost-usd.")
@flag("--confirm-over", type=click.FloatRange(0), metavar="USD", help="serve's --confirm-over.")
@flag("--base-url", metavar="URL", help="serve's --base-url.")
@_name
@_dry_run
@flag("--print", "only_print", is_flag=True, help="Print what to paste, with links, and change nothing.")
@_yes
def install(
    *,
    hosts: tuple[str, ...],
    project: bool,
    roots: tuple[Path, ...],
    max_cost_usd: float | None,
    confirm_over: float | None,
    base_url: str | None,
    name: str,
    dry_run: bool,
    only_print: bool,
    yes: bool,
) -> int:
    """Add the server to each HOST, or to all that are found here; then start it as the host would, and say how it went.

    One entry of the host's file is written, and every other byte of it stays. The API key is not written: the server
    finds the one that `batches-mcp key set` stored. `batches-mcp install --print` lists the names of all hosts.
    """
    machine = Machine(values=Environment().values)
    own = own_command(sys.argv[0], sys.executable, machine)
    serve = _serve(roots, max_cost_usd, confirm_over, base_url)
    launch = Launch(own.launch.command, (*own.launch.args, *serve))
    chosen = _chosen(hosts, machine, default_all=only_print)
    if only_print:
        for host in chosen:
            print_snippet(host, machine, name, launch)
        return 0
    session = _session(machine, launch, name, project=project)
    for warning in own.warnings:
        say(warning)
    changing, failed = planned(session, chosen)
    writing = [change for change in changing if not change.empty]
    for change in writing:
        click.echo(f"{change.host.title}: {change.path}\n{printable(change.diff())}\n")
        for note in _notes(change):
            say(note)
    if dry_run:
        return 1 if failed else 0
    if writing:
        _ask(f"Write {_files(writing)}?", yes=yes)
    _store_missing_key(writing, base_url, yes=yes)
    done = [carried_out(session, change) for change in changing]
    return 1 if failed or not all(done) else 0


@click.command
@_hosts
@_project
@_name
@_dry_run
@_yes
def uninstall(*, hosts: tuple[str, ...], project: bool, name: str, dry_run: bool, yes: bool) -> int:
    """Remove our entry from each HOST, or from all that have it.

    A file that nobody changed since `install` gets its old bytes back. The stored API key and the state folder stay.
    """
    machine = Machine(values=Environment().values)
    session = _session(machine, Launch(""), name, project=project)
    failed = False
    found: list[Change] = []
    for host in _chosen(hosts, machine, default_all=True):
        try:
            change = session.plan_removal(host) if host.installed and (host.project or not project) else None
        except CannotEdit as error:
            if hosts:
                failed = True
                say(f"{host.title}: {error}")
            continue
        if change is not None:
            found.append(change)
            click.echo(f"{host.title}: {change.path}\n{printable(change.diff())}\n")
        elif hosts:
            say(f"{host.title}: has no entry {name}")
    if not found:
        say("nothing to remove")
        return 1 if failed else 0
    if dry_run:
        return 1 if failed else 0
    _ask(f"Write {_files(found)}?", yes=yes)
    done = [removed(session, change) for change in found]
    return 1 if failed or not all(done) else 0


def _serve(
    roots: Sequence[Path], max_cost_usd: float | None, confirm_over_usd: float | None, base_url: str | None
) -> list[str]:
    """The arguments behind the command."""
    for root in roots:
        if not root.is_dir():
            raise UsageError(f"--root: {root} is not a folder")
    words = [word for root in roots for word in ("--root", str(root.resolve()))]
    words += ["--max-cost-usd", f"{max_cost_usd:.10g}"] if max_cost_usd is not None else []
    words += ["--confirm-over", f"{confirm_over_usd:.10g}"] if confirm_over_usd is not None else []
    words += ["--base-url", base_url] if base_url else []
    return ["serve", *words]


def _session(machine: Machine, launch: Launch, name: str, *, project: bool) -> Session:
    if not _NAME.fullmatch(name):
        raise UsageError(f"--name: expected up to 32 letters, digits, - and _, found {name!r}")
    state = Environment().get(f"{PREFIX}STATE_DIR")
    return Session(machine, launch, name, project, Backups(Path(state) if state else user_state_folder()))


def _chosen(names: Sequence[str], machine: Machine, *, default_all: bool) -> list[Host]:
    """The hosts that are meant.

    Raises:
        UsageError: one is not known, or none is found here.
    """
    chosen = []
    for name in names:
        host = HOSTS.get(name)
        if host is None:
            ids = [row.id for row in HOSTS.rows]
            raise UsageError(f"no host is called {name}; {did_you_mean(name, ids) or 'known are ' + ', '.join(ids)}")
        chosen.append(host)
    if chosen or default_all:
        return chosen or list(HOSTS.rows)
    found = [host for host in HOSTS.installed if host.found(machine)]
    if not found:
        known = ", ".join(host.id for host in HOSTS.installed)
        raise UsageError(f"no host is found on this machine; name one to install into it anyway: {known}")
    return found


def _notes(change: Change) -> list[str]:
    """What a person should know before the file is written."""
    notes = [change.host.note] if change.host.id == "claude-desktop" else []
    editors = (f".{change.path.name}.swp", f".#{change.path.name}")
    if any((change.path.parent / name).exists() or (change.path.parent / name).is_symlink() for name in editors):
        notes.append(f"{change.path} is open in an editor; load it again there before you save")
    if change.clear_key:
        notes.append("the API key in this file goes; the server finds the stored one")
    return [f"{change.host.title}: {note}" for note in notes]


def _files(planned: Sequence[Change]) -> str:
    return "this file" if len(planned) == 1 else f"these {len(planned)} files"


def _ask(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked here, so nothing was written; --yes writes without asking")
    click.confirm(question, abort=True, err=True)


def _store_missing_key(writing: Sequence[Change], base_url: str | None, *, yes: bool) -> None:
    """Store a key where none is set or stored: the one of a file that loses it, or one that is asked for."""
    if Environment().find(API_KEY) is not None:
        return
    in_files = [change.clear_key for change in writing if change.clear_key]
    if in_files:
        store_checked(in_files[0], base_url)
        if len(set(in_files)) > 1:
            say(f"the files held {len(set(in_files))} different keys; the first is stored")
    elif sys.stdin.isatty() and not yes:
        given = click.prompt("API key (empty: later)", hide_input=True, err=True, default="", show_default=False)
        if given:
            store_checked(given, base_url)
