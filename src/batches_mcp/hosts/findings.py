"""What `doctor` finds in hosts' files: entries of ours that cannot work, stand there twice, or hold a key."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from batches_mcp.core.redact import excerpt
from batches_mcp.hosts import documents, files
from batches_mcp.hosts.changes import masked
from batches_mcp.hosts.documents import CannotEdit
from batches_mcp.hosts.launch import Launch, clear_key, launch_of
from batches_mcp.hosts.machine import Machine
from batches_mcp.hosts.table import HOSTS, Host

_KEY = re.compile(rb"sk-ant-[A-Za-z0-9_-]{16,}")
_PLUGIN = re.compile(r"batches@.*")
_LOG_END_BYTES = 20_000


class Level(StrEnum):
    """How bad a finding is: FIX means that something does not work, or puts a secret at risk."""

    OK = "ok"
    WARN = "warn"
    FIX = "fix"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `doctor`: what was looked at, what was found, and the command or the step that mends it."""

    level: Level
    subject: str
    text: str
    fix: str | None = None

    def data(self) -> dict[str, str | None]:
        return {"level": self.level, "subject": self.subject, "text": self.text, "fix": self.fix}


def in_hosts(machine: Machine, own: Launch, tools: Sequence[str]) -> Iterator[Finding]:
    """What is found in the files of each host that is here; `own` is the command of this installation.

    Raises:
        UsageError: the home is not known.
    """
    seen = False
    for host in HOSTS.rows:
        paths = [path for path in host.paths(machine) if path.exists()]
        if host.project and (machine.folder / host.project).exists():
            paths.append(machine.folder / host.project)
        for path in paths:
            seen = True
            yield from _in_file(host, path, machine, own, tools)
        if not paths and host.installed and host.found(machine):
            seen = True
            yield Finding(Level.OK, host.title, "found, the server is not in it", f"batches-mcp install {host.id}")
    if not seen:
        yield Finding(Level.OK, "hosts", "none found on this machine")


def _in_file(host: Host, path: Path, machine: Machine, own: Launch, tools: Sequence[str]) -> Iterator[Finding]:
    try:
        content = files.read(path)
        data = documents.parse(content, host.form)
    except OSError as error:
        yield Finding(Level.WARN, host.title, f"{path} cannot be read: {error.strerror or error}")
        return
    except CannotEdit as error:
        yield Finding(Level.WARN, host.title, f"{path}: {error}", f"correct {path}")
        return
    ours = dict(_ours(documents.entry_at(data, host.under)))
    again = f"batches-mcp install {host.id}{'' if path in host.paths(machine) else ' --project'}"
    for name, entry in ours.items():
        launch = launch_of(entry)
        where = f"{path}: {name}"
        problems = [] if launch is None else list(_problems(host, name, launch, own, tools, machine))
        if clear_key(entry):
            problems.append((Level.FIX, "holds the API key in clear text", again))
        for level, text, fix in problems:
            yield Finding(level, host.title, f"{where} {text}", fix or f"{again} --name {name}")
        if not problems:
            yield Finding(Level.OK, host.title, where)
    if len(ours) > 1:
        names = " and ".join(ours)
        yield Finding(
            Level.WARN, host.title, f"{path}: the server is there {len(ours)} times ({names})", _removal(host, ours)
        )
    if host.id == "claude-code" and ours and (plugins := _plugins(machine)):
        text = f"the server is there twice: as the plugin {plugins[0]} and directly"
        yield Finding(Level.WARN, host.title, text, f"batches-mcp uninstall {host.id}")
    strangers = len(_KEY.findall(content or b"")) - sum(bool(clear_key(entry)) for entry in ours.values())
    if strangers > 0:
        yield Finding(Level.WARN, host.title, f"{path} holds an Anthropic key in clear text outside our entry")
    if not ours:
        yield Finding(Level.OK, host.title, f"{path}: the server is not in it", again if host.installed else None)


def _ours(servers: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(servers, Mapping):
        for name, entry in servers.items():
            launch = launch_of(entry)
            if launch is not None and launch.ours:
                yield str(name), entry


def _problems(
    host: Host, name: str, launch: Launch, own: Launch, tools: Sequence[str], machine: Machine
) -> Iterator[tuple[Level, str, str | None]]:
    command = Path(launch.command)
    if machine.windows and not command.exists():  # which starts it without its ending too
        command = command.parent / f"{command.name}.exe"
    if not command.is_absolute():
        if machine.program(launch.command) is None:
            yield Level.FIX, f"starts {launch.command}, which is not on the PATH", None
        else:
            yield Level.WARN, f"starts {launch.command}, which the host may not find: it is not an absolute path", None
    elif not command.exists():
        yield Level.FIX, f"starts {launch.command}, which is not there any more", None
    elif not os.access(command, os.X_OK):
        yield Level.FIX, f"starts {launch.command}, which is not executable", None
    elif command != Path(own.command):
        yield Level.WARN, f"starts another installation, {launch.command}", None
    longest = max((len(host.prefix.format(name=name) + tool) for tool in tools), default=0)
    if longest > host.name_limit:
        text = f"gives names of tools with {longest} characters, and the host takes {host.name_limit}"
        yield Level.FIX, text, f"batches-mcp uninstall {host.id} --name {name}, then install with a shorter --name"


def _removal(host: Host, ours: Mapping[str, Any]) -> str:
    return f"batches-mcp uninstall {host.id} --name {list(ours)[-1]}"


def _plugins(machine: Machine) -> list[str]:
    """Our plugins that Claude Code has enabled."""
    try:
        content = files.read(machine.home() / ".claude" / "settings.json")
        enabled = documents.entry_at(documents.parse(content, documents.Format.JSON), ["enabledPlugins"])
    except (OSError, CannotEdit):
        return []
    names = enabled if isinstance(enabled, Mapping) else {}
    return [name for name, on in names.items() if on and _PLUGIN.fullmatch(str(name))]


def in_log(machine: Machine) -> Iterator[Finding]:
    """The last error in the log that Claude Desktop keeps of our server.

    Raises:
        UsageError: the home is not known.
    """
    folder = {"darwin": machine.home() / "Library" / "Logs" / "Claude"}.get(machine.platform)
    path = (folder or machine.path("{data}/Claude/logs")) / "mcp-server-batches.log"
    try:
        content = files.read(path)
    except OSError as error:
        yield Finding(Level.WARN, "log", f"{path} cannot be read: {error.strerror or error}")
        return
    if content is None:
        return
    lines = content[-_LOG_END_BYTES:].decode(errors="replace").splitlines()
    errors = [line for line in lines if "error" in line.lower() and '"jsonrpc"' not in line]
    if errors:
        yield Finding(Level.WARN, "log", f"{path}: the last error: {masked(excerpt(errors[-1], 300))}")
    else:
        yield Finding(Level.OK, "log", f"{path}: no errors at its end")
