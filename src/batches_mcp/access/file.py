"""Reading a teams file, and the API keys that it names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from batches_mcp.access.teams import Teams, read_teams
from batches_mcp.core.diagnostics import Diagnostic, has_errors
from batches_mcp.core.errors import CapabilityError, TeamsError, UsageError
from batches_mcp.core.settings import Environment
from batches_mcp.language import source


def load(path: Path, environment: Environment) -> Teams:
    """The teams that a file names.

    Raises:
        UnreadableFile: it cannot be opened or read.
        TeamsError: it has errors; every problem found is listed.
    """
    teams, problems = _read(path, environment)
    if has_errors(problems):
        raise TeamsError(problems)
    return teams


def check(path: Path, environment: Environment) -> tuple[Diagnostic, ...]:
    """Everything that is wrong with a teams file, in the order of its lines.

    Raises:
        UnreadableFile: it cannot be opened or read.
    """
    return _read(path, environment)[1]


def _read(path: Path, environment: Environment) -> tuple[Teams, tuple[Diagnostic, ...]]:
    content = source.content(path, "the teams file")
    try:
        parsed = source.parse(content, str(path))
    except CapabilityError as error:
        return Teams(), error.diagnostics
    return read_teams(parsed, _Secrets(path.parent, environment).find)


@dataclass(frozen=True, slots=True)
class _Secrets:
    """The environment, and files whose paths are relative to `folder`."""

    folder: Path
    environment: Environment

    def find(self, kind: str, name: str) -> SecretStr | str:
        if kind == "api_key_env":
            value = self.environment.get(name)
            return f"the environment variable {name} is not set (or is empty)" if value is None else SecretStr(value)
        try:
            return SecretStr(self.environment.read_secret(kind, self.folder / name))
        except UsageError as error:
            return str(error).removeprefix(f"{kind}: ")
