"""`doctor`: whether the server starts, has a key that works, and stands in hosts' files as it should."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from batches_mcp import __version__
from batches_mcp.cli.completion import tool_names
from batches_mcp.cli.flags import flag
from batches_mcp.cli.key import line_of, problem_with
from batches_mcp.cli.startup import say
from batches_mcp.core.errors import CallError, UsageError
from batches_mcp.core.redact import MASK, Redactor, printable
from batches_mcp.core.settings import PREFIX, Environment, user_state_folder
from batches_mcp.core.variables import API_KEY
from batches_mcp.hosts import files, keystore
from batches_mcp.hosts.changes import masked
from batches_mcp.hosts.findings import Finding, Level, in_hosts, in_log
from batches_mcp.hosts.launch import Launch
from batches_mcp.hosts.machine import Machine
from batches_mcp.hosts.own import own_command
from batches_mcp.hosts.probe import HOSTS_WAIT_S, NoServer, prove

_COLORS = {Level.OK: "green", Level.WARN: "yellow", Level.FIX: "red"}
_NETWORK = ("HTTPS_PROXY", "https_proxy", "SSL_CERT_FILE", "ANTHROPIC_BASE_URL", f"{PREFIX}BASE_URL")
_OTHERS = 0o077


@click.command
@flag("--json", "as_json", is_flag=True, help="Print the findings as a JSON array.")
@flag(
    "--bundle",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the findings there, masked, for a bug report.",
)
@flag("--base-url", metavar="URL", help="Send requests there instead of to the file's baseUri.")
def doctor(*, as_json: bool, bundle: Path | None, base_url: str | None) -> int:
    """Look at the installation, the API key (with one free call), the files of all hosts, and the state folder.

    Exit code 0: nothing to fix; 1: lines that begin with `fix` say what to do.
    """
    environment = Environment()
    machine = Machine(values=environment.values)
    findings = list(_findings(environment, machine, base_url))
    if as_json:
        click.echo(json.dumps([finding.data() for finding in findings], indent=2, ensure_ascii=False))
    else:
        for finding in findings:
            level = click.style(f"{finding.level:4}", fg=_COLORS[finding.level])
            click.echo(f"{level} {finding.subject}: {printable(finding.text)}")
            if finding.fix and finding.level is not Level.OK:
                click.echo(f"     -> {printable(finding.fix)}")
    if bundle is not None:
        _write_bundle(bundle, findings, environment, machine)
    return 1 if any(finding.level is Level.FIX for finding in findings) else 0


def _findings(environment: Environment, machine: Machine, base_url: str | None) -> Iterator[Finding]:
    own = own_command(sys.argv[0], sys.executable, machine)
    yield Finding(Level.OK, "version", f"{__version__}, Python {platform.python_version()}, {own.launch.command}")
    for warning in own.warnings:
        yield Finding(Level.WARN, "installation", warning)
    yield _start(own.launch, machine)
    yield from _key(environment, machine, base_url)
    yield from _network(environment)
    try:
        yield from in_hosts(machine, own.launch, tool_names())
        yield from in_log(machine)
    except UsageError as error:
        yield Finding(Level.WARN, "hosts", str(error))
    yield _state(environment)


def _start(launch: Launch, machine: Machine) -> Finding:
    """How the server starts as a host starts it; in the sandbox, so that nothing is sent."""
    try:
        proof = prove(Launch(launch.command, (*launch.args, "serve", "--sandbox")), machine.bare({}))
    except NoServer as error:
        return Finding(Level.FIX, "start", f"the server does not work: {error}", f"run {launch.command} serve by hand")
    text = f"first answer after {proof.first_answer_s:.1f} s, {len(proof.tools)} tools"
    if proof.first_answer_s > HOSTS_WAIT_S:
        return Finding(Level.WARN, "start", f"{text}; some hosts wait only {HOSTS_WAIT_S} s")
    return Finding(Level.OK, "start", text)


def _key(environment: Environment, machine: Machine, base_url: str | None) -> Iterator[Finding]:
    for name, placeholder in environment.placeholders([API_KEY, f"{API_KEY}_FILE"]).items():
        yield Finding(Level.WARN, "key", f"{name} holds only the placeholder {placeholder}", f"unset {name}")
    warnings: list[str] = []
    try:
        found = Environment(environment.values, warnings.append).find(API_KEY)
    except UsageError as error:
        yield Finding(Level.FIX, "key", str(error))
        return
    for warning in warnings:
        if "placeholder" not in warning:
            yield Finding(Level.FIX, "key", warning)
    if found is None:
        yield Finding(Level.FIX, "key", "no API key is set or stored", "batches-mcp key set")
        return
    where = f"{keystore.masked(found.value)}, from {found.source}"
    try:
        keystore.checked(found.value.get_secret_value())
    except UsageError as error:
        yield Finding(Level.WARN, "key", f"{where}: {error}")
    problem = problem_with(found.value, base_url)
    if problem is None:
        yield Finding(Level.OK, "key", f"{where}, works")
    else:
        yield Finding(Level.FIX, "key", f"{where}, does not work: {line_of(problem)}", _fix_for(problem))
    if "stored" not in found.source:
        yield Finding(Level.WARN, "key", "hosts do not pass this shell's environment on", "batches-mcp key set")
    elif machine.values.get("XDG_CONFIG_HOME"):
        yield Finding(Level.WARN, "key", "it is stored below XDG_CONFIG_HOME, which some hosts (Codex) do not pass on")


def _fix_for(problem: CallError) -> str:
    return "batches-mcp key set" if problem.report.status in (401, 403) else "check that the API can be reached"


def _network(environment: Environment) -> Iterator[Finding]:
    for name in _NETWORK:
        value = environment.get(name)
        if value:
            yield Finding(Level.WARN, "network", f"{name} is set here, and hosts may not pass it on")


def _state(environment: Environment) -> Finding:
    given = environment.get(f"{PREFIX}STATE_DIR")
    folder = Path(given) if given else user_state_folder()
    if not folder.exists():
        return Finding(Level.OK, "state", f"{folder}, not made yet")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return Finding(Level.FIX, "state", f"{folder} cannot be used", f"give yourself access to {folder}")
    if os.name == "posix" and folder.stat().st_mode & _OTHERS:
        return Finding(Level.WARN, "state", f"others can look into {folder}", f"chmod 700 {folder}")
    return Finding(Level.OK, "state", str(folder))


def _known_key(environment: Environment) -> str | None:
    try:
        found = environment.find(API_KEY)
    except UsageError:
        return None  # which is one of the findings
    return found.value.get_secret_value() if found else None


def _write_bundle(path: Path, findings: Sequence[Finding], environment: Environment, machine: Machine) -> None:
    """The findings and the machine, without keys, without values of variables, and with `~` for the home."""
    content: dict[str, Any] = {
        "version": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "variables": sorted(name for name in environment.values if name.startswith((PREFIX, "ANTHROPIC_"))),
        "findings": [{name: value and masked(value) for name, value in each.data().items()} for each in findings],
    }
    key = _known_key(environment)
    text = json.dumps(Redactor.of([key] if key else []).json(content), indent=2, ensure_ascii=False)
    home = machine.values.get("USERPROFILE" if machine.windows else "HOME", "")
    if len(home) > 1:
        text = text.replace(json.dumps(home)[1:-1], "~")
    try:
        files.replace(path, f"{text}\n".encode())
    except OSError as error:
        raise UsageError(f"--bundle: cannot write {path}: {error.strerror or error}") from error
    say(
        f"{path} is written; keys in it are {MASK}, and it names no values of variables. Look at it before you share it"
    )
