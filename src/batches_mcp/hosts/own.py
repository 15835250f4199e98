"""The command by which hosts start this installation, and what is unwise about it."""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from batches_mcp import __version__
from batches_mcp.hosts.launch import Launch
from batches_mcp.hosts.machine import Machine

_SCRIPT = re.compile(r"batches-mcp(?:\.exe)?")
# Where uv keeps environments that it may remove at any time: its cache, which is %LOCALAPPDATA%/uv/cache on Windows.
_THROWN_AWAY = re.compile(r"[/\\](?:uv[/\\]archive-v\d+|\.cache[/\\]uv|uv[/\\]cache)[/\\]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Own:
    """The command without arguments of ours, and warnings for the person who installs it."""

    launch: Launch
    warnings: tuple[str, ...] = ()


def own_command(argv0: str, executable: str, machine: Machine) -> Own:
    """The absolute command of the running installation; under uvx the one that installs it again."""
    script = _script(Path(argv0), Path(executable), machine)
    launch = Launch(str(script)) if script else Launch(executable, ("-m", "batches_mcp"))
    if _THROWN_AWAY.search(launch.command):
        uvx = machine.program("uvx")
        if uvx:
            warning = "uvx may take longer to start it than hosts wait; better: uv tool install batches-mcp"
            return Own(Launch(uvx, (f"batches-mcp@{__version__}",)), (warning,))
        return Own(launch, (f"{launch.command} may be removed by uv; better: uv tool install batches-mcp",))
    warnings = []
    if Path(launch.command).is_relative_to(tempfile.gettempdir()):
        warnings.append(f"{launch.command} is in a temporary folder and may be removed")
    if _editable():
        warnings.append("this is a checkout: hosts stop finding the server when its folder moves")
    return Own(launch, tuple(warnings))


def _script(argv0: Path, executable: Path, machine: Machine) -> Path | None:
    places = [argv0, executable.parent / "batches-mcp"]
    if (
        machine.windows
    ):  # where the script has an ending that `argv[0]` lacks, and stands beside or below the interpreter
        places = [argv0, argv0.parent / f"{argv0.name}.exe", executable.parent / "batches-mcp.exe"]
        places.append(executable.parent / "Scripts" / "batches-mcp.exe")
    for path in places:
        if _SCRIPT.fullmatch(path.name) and path.is_file():
            return path.absolute()
    return None


def _editable() -> bool:
    try:
        text = distribution("batches-mcp").read_text("direct_url.json")
    except PackageNotFoundError:
        return False
    return bool(text and json.loads(text).get("dir_info", {}).get("editable"))
