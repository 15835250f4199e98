"""The environment and the flags, read once. The only module that looks at `os.environ`."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from batches_mcp.core.errors import UsageError
from batches_mcp.core.text import CAP_EXPECTED
from batches_mcp.core.variables import API_KEY, is_placeholder

PREFIX = "BATCHES_MCP_"
TOKEN = f"{PREFIX}TOKEN"
DATABASE_URL = f"{PREFIX}DATABASE_URL"

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})

_MAX_SECRET_FILE_BYTES = 64_000
_OTHERS_MAY_READ = stat.S_IRGRP | stat.S_IROTH


def key_file() -> Path:
    """Where the API key is kept for all hosts of this user: in the user's configuration folder."""
    from platformdirs import user_config_path

    return user_config_path("batches-mcp", appauthor=False) / "key"


@dataclass(frozen=True, slots=True)
class FoundSecret:
    """A secret, and in words where it was found."""

    value: SecretStr
    source: str


@dataclass(frozen=True, slots=True)
class Environment:
    """The process environment.

    A value that is empty, or only a placeholder that was not filled in, counts as missing. `warn` is given what is
    unwise but works.
    """

    values: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    warn: Callable[[str], None] = field(default=lambda _: None, repr=False)

    def get(self, name: str) -> str | None:
        value = self.values.get(name, "").strip()
        if is_placeholder(value):
            self.warn(f"{name} holds only the placeholder {value}, which was not filled in; it counts as missing")
            return None
        return value or None

    def filled(self) -> dict[str, str]:
        """The variables that have a value."""
        return {name: value for name, value in self.values.items() if value.strip() and not is_placeholder(value)}

    def placeholders(self, names: Iterable[str]) -> dict[str, str]:
        """The variables among `names` that hold only a placeholder, with it."""
        given = {name: self.values.get(name, "").strip() for name in names}
        return {name: value for name, value in given.items() if is_placeholder(value)}

    def secret(self, name: str) -> SecretStr | None:
        """The value of NAME, or the content of the file that NAME_FILE names; of the API key also the stored one.

        Raises:
            UsageError: both variables are set, or the file cannot be read or is empty.
        """
        found = self.find(name)
        return found.value if found else None

    def find(self, name: str) -> FoundSecret | None:
        """The same as `secret`, with where it was found."""
        value, file = self.get(name), self.get(f"{name}_FILE")
        if value and file:
            raise UsageError(f"{name} and {name}_FILE are both set; unset one of them")
        if file:
            return FoundSecret(
                SecretStr(self.read_secret(f"{name}_FILE", Path(file))), f"{file}, which {name}_FILE names"
            )
        if value:
            return FoundSecret(SecretStr(value), f"the environment variable {name}")
        return self._stored() if name == API_KEY else None

    def _stored(self) -> FoundSecret | None:
        path = key_file()
        if not path.exists():
            return None
        try:
            return FoundSecret(SecretStr(self.read_secret("the stored key", path)), f"{path}, the stored key")
        except UsageError as error:
            self.warn(f"{error}; it counts as missing")
            return None

    def bound(self, names: Iterable[str]) -> dict[str, SecretStr]:
        """The bound variables that have a value.

        Raises:
            UsageError: see `secret`.
        """
        values = {name: self.secret(name) for name in sorted(names)}
        return {name: value for name, value in values.items() if value is not None}

    def read_secret(self, subject: str, path: Path) -> str:
        """The secret in a file, without the white space round it; `subject` names in the error what said so.

        Raises:
            UsageError: the file cannot be read, is empty, or holds only a placeholder.
        """
        try:
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                content = file.read(_MAX_SECRET_FILE_BYTES).decode("utf-8-sig", "replace").strip()
        except OSError as error:
            raise UsageError(f"{subject}: cannot read {path}: {error.strerror or error}") from error
        if not content:
            raise UsageError(f"{subject}: {path} is empty; expected the value of {subject.removesuffix('_FILE')}")
        if is_placeholder(content):
            raise UsageError(f"{subject}: {path} holds only the placeholder {content}, which was not filled in")
        if os.name == "posix" and mode & _OTHERS_MAY_READ:
            self.warn(f"{subject}: others may read {path}; run: chmod 600 {path}")
        return content


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """Which capability is served, and where its requests go."""

    capability: Path | None = None
    base_url: str | None = None
    sandbox: bool = False
    read_only: bool = False
    tools: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Admission:
    """The header that lets a caller in.

    `scheme` is what stands before its value (`Bearer`, `Basic`), if anything; `name` is how to call the value.
    """

    header: str
    value: SecretStr
    scheme: str = ""
    name: str = "..."


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """How the server is reached over HTTP; `admission` is what the capability asks of callers, unless a token is set.

    With `doors`, each caller is known by a credential of its own.

    Raises:
        UsageError: others than this machine could reach the server, and nothing would keep them out.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    allow_hosts: tuple[str, ...] = ()
    token: SecretStr | None = None
    rest_port: int | None = None
    admission: Admission | None = None
    doors: bool = False

    @property
    def asked(self) -> Admission | None:
        """What a caller has to show: the operator's token, else what the capability asks for; None when nothing is."""
        return Admission("Authorization", self.token, "Bearer", TOKEN) if self.token else self.admission

    def __post_init__(self) -> None:
        open_to_others = self.host not in LOOPBACK_HOSTS or bool(self.allow_hosts)
        if open_to_others and self.token is None and not self.doors:
            reason = f"--host {self.host}" if self.host not in LOOPBACK_HOSTS else "--allow-host"
            raise UsageError(
                f"{reason} lets others than this machine reach the server, and with it your API key; "
                f"set {TOKEN} (or {TOKEN}_FILE) to a secret that clients must send as a bearer token"
            )


def is_safe(url: str) -> bool:
    """Whether nobody between here and there can change what a URL answers: https, or this machine."""
    try:
        parts = urlsplit(url)
        here = parts.hostname in LOOPBACK_HOSTS
    except ValueError:
        return False
    return bool(parts.netloc) and (parts.scheme == "https" or (parts.scheme == "http" and here))


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """What the behaviours work with: folders to read in, and the one to keep things in (None: not given).

    `ledger` tells whether creates are remembered there, `allow_duplicates` whether what made a batch is sent again
    without asking, `max_cost_usd` is the most that creates of 24 hours may cost, and in a `sandbox` nothing is spent.
    The user is asked before a create that may cost more than `confirm_over_usd`; None: never. Where there is a
    `database_url` and an `object_store`, the state is kept there, and `state_dir` is a cache.

    Raises:
        UsageError: a cap that is not an amount, or without a ledger, which alone knows what was spent.
    """

    roots: tuple[Path, ...] = ()
    state_dir: Path | None = None
    ledger: bool = True
    account: str | None = None
    max_cost_usd: float | None = None
    wait_cap_s: float = 45.0
    allow_duplicates: bool = False
    sandbox: bool = False
    confirm_over_usd: float | None = None
    database_url: SecretStr | None = None
    object_store: str | None = None

    def __post_init__(self) -> None:
        if self.max_cost_usd is not None and not 0 < self.max_cost_usd < math.inf:
            raise UsageError(f"--max-cost-usd: {self.max_cost_usd:g} is not an amount; {CAP_EXPECTED}")
        if self.max_cost_usd is not None and not self.ledger:
            raise UsageError("--max-cost-usd needs the ledger, which knows what was spent; leave --no-ledger out")


def user_state_folder() -> Path:
    """Where programs keep their state on this system."""
    from platformdirs import user_state_path

    return user_state_path("batches-mcp", appauthor=False)


# Where no user keeps files for an agent: what is there belongs to the system, or to all users.
_SYSTEM_FOLDERS = ("/etc", "/usr", "/var", "/opt", "C:\\Windows", "C:\\Program Files")


# Set by hosts for servers that come with a plugin, whose working directory is the plugin itself.
_PLUGIN_FOLDERS = ("PLUGIN_ROOT", "CLAUDE_PLUGIN_ROOT", "PLUGIN_DATA", "CLAUDE_PLUGIN_DATA")


def default_root(environment: Environment) -> Path | None:
    """The project that the host works in, else the working directory; None when that is a plugin's own folder."""
    project = environment.get("CLAUDE_PROJECT_DIR")
    folder = Path(project) if project else Path.cwd()
    plugins = [Path(value) for name in _PLUGIN_FOLDERS if (value := environment.get(name))]
    if not folder.is_dir() or any(folder.resolve().is_relative_to(plugin.resolve()) for plugin in plugins):
        return None
    return folder


def file_roots(given: Sequence[Path], default: Path | None) -> tuple[Path, ...]:
    """The folders that file arguments may read in: those given, else `default` unless that would open too much.

    Too much is the root of the file system, a home itself, and a system folder.

    Raises:
        UsageError: one that was given is not a folder.
    """
    for root in given:
        if not root.is_dir():
            raise UsageError(f"--root: {root} is not a folder")
    if given or default is None:
        return tuple(root.resolve() for root in given)
    folder = default.resolve()
    homes = {Path.home().resolve(), *(Path(name) for name in ("/root", "/home", "/Users"))}
    system = any(folder.is_relative_to(name) for name in _SYSTEM_FOLDERS)
    if folder == Path(folder.anchor) or folder in homes or folder.parent in {Path("/home"), Path("/Users")} or system:
        return ()
    return (folder,)


Transport = Literal["stdio", "http"]
Protocol = Literal["auto", "legacy"]


def packaged(name: str) -> Path:
    """A file of the project: carried by the wheel inside the package, found at the top of a checkout."""
    package = Path(__file__).parents[1]
    inside = package / name
    return inside if inside.exists() else package.parents[1] / name
