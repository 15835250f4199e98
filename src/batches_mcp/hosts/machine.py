"""Where programs keep their files on this machine, and what a host's environment is like."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from batches_mcp.core.errors import UsageError

# What graphical programs have, and what hosts that clear the environment keep, on Windows as MCP's SDKs do.
_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
_KEPT = (
    "HOME", "LANG", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "SYSTEMROOT", "SYSTEMDRIVE", "PATHEXT", "COMSPEC",
    "USERNAME", "HOMEDRIVE", "HOMEPATH", "PROCESSOR_ARCHITECTURE", "TEMP", "TMP",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Machine:
    """A system (`sys.platform`), its user's environment, and the working directory."""

    platform: str = sys.platform
    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    folder: Path = field(default_factory=Path.cwd)

    @property
    def windows(self) -> bool:
        return self.platform == "win32"

    def home(self) -> Path:
        """The user's home.

        Raises:
            UsageError: nobody says where it is.
        """
        home = self.values.get("USERPROFILE" if self.windows else "HOME", "").strip()
        if not home or not Path(home).is_dir():
            found = f"{home} is not a folder" if home else "it is not set"
            name = "USERPROFILE" if self.windows else "HOME"
            raise UsageError(f"hosts keep their files in your home, and {name} does not name it: {found}")
        return Path(home)

    def path(self, template: str) -> Path:
        """A path from a template that begins with `{home}`, `{data}`, `{config}`, `{local}` or `{codex}`.

        Raises:
            UsageError: see `home`.
        """
        beginning, _, rest = template.partition("/")
        return self._beginning(beginning) / rest

    def _beginning(self, name: str) -> Path:
        home = self.home()
        xdg = self.values.get("XDG_CONFIG_HOME", "").strip() or str(home / ".config")
        roaming = self.values.get("APPDATA", "").strip() or str(home / "AppData" / "Roaming")
        local = self.values.get("LOCALAPPDATA", "").strip() or str(home / "AppData" / "Local")
        data = roaming if self.windows else str(home / "Library" / "Application Support")
        places = {
            "{home}": str(home),
            "{config}": roaming if self.windows else xdg,
            "{data}": data if self.windows or self.platform == "darwin" else xdg,
            "{local}": local,
            "{codex}": self.values.get("CODEX_HOME", "").strip() or str(home / ".codex"),
        }
        return Path(places[name])

    def program(self, name: str) -> str | None:
        """The path of a program, if it can be found."""
        return shutil.which(name, path=self.values.get("PATH"))

    def bare(self, more: Mapping[str, str]) -> dict[str, str]:
        """The small environment in which a host starts a server, with what its entry sets."""
        kept = {name: self.values[name] for name in _KEPT if name in self.values}
        path = self.values.get("PATH", "") if self.windows else _PATH
        return {**kept, "PATH": path, **more}
