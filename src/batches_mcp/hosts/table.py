"""The hosts we know: where each keeps its servers, in which form, and what it makes of their names. One row a host.

Sources are the hosts' own documentation and their programs as of 2026-11; paths begin as `Machine.path` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from batches_mcp.hosts.documents import Format
from batches_mcp.hosts.launch import (
    Link,
    Shape,
    copilot,
    cursor_link,
    goose,
    goose_link,
    kiro_link,
    lm_studio_link,
    nested,
    opencode,
    plain,
    stdio,
    vs_code_link,
)
from batches_mcp.hosts.machine import Machine


@dataclass(frozen=True, slots=True)
class Host:
    """A program that starts servers.

    `files` are where it may keep them, most likely first; `windows` replaces them there. `installed` tells that a file
    is edited; of other hosts the snippet is shown. `listed` tells that servers stand in a list there. `prefix` is what
    it puts before the name of a tool, which then has at most `name_limit` characters. `after` is what a person has to
    do once the file is written.
    """

    id: str
    title: str
    files: tuple[str, ...]
    after: str
    windows: tuple[str, ...] = ()
    project: str | None = None
    form: Format = Format.JSON
    under: tuple[str, ...] = ("mcpServers",)
    shape: Shape = plain
    installed: bool = True
    listed: bool = False
    prefix: str = "mcp_{name}_"
    name_limit: int = 64
    binaries: tuple[str, ...] = ()
    link: Link | None = None
    note: str = ""

    def paths(self, machine: Machine) -> list[Path]:
        """The files that may hold its servers.

        Raises:
            UsageError: the home is not known.
        """
        templates = self.windows if machine.windows and self.windows else self.files
        return [machine.path(template) for template in templates]

    def file(self, machine: Machine, *, project: bool) -> Path | None:
        """The file to edit; None when the host has none of that kind.

        Raises:
            UsageError: the home is not known.
        """
        if project:
            return None if self.project is None else machine.folder / self.project
        paths = self.paths(machine)
        likely = [path for path in paths if path.exists()] or [path for path in paths if path.parent.exists()]
        return (likely or paths)[0]

    def found(self, machine: Machine) -> bool:
        """Whether it seems to be installed: its folder or its program is there."""
        home = machine.home()
        folders = [path.parent for path in self.paths(machine) if path.parent != home]
        programs = [name for name in self.binaries if machine.program(name)]
        return bool(programs) or any(path.exists() for path in [*folders, *self.paths(machine)])

    def path(self, name: str) -> tuple[str, ...]:
        """Where an entry of this name stands in the file."""
        return (*self.under, name)


@dataclass(frozen=True, slots=True)
class Hosts:
    """All hosts, by id."""

    rows: tuple[Host, ...]

    def get(self, name: str) -> Host | None:
        return next((row for row in self.rows if row.id == name), None)

    @property
    def installed(self) -> tuple[Host, ...]:
        return tuple(row for row in self.rows if row.installed)


HOSTS = Hosts(
    (
        Host(
            "claude-code",
            "Claude Code",
            ("{home}/.claude.json",),
            "start a new session",
            project=".mcp.json",
            shape=stdio,
            prefix="mcp__{name}__",
            name_limit=128,
            binaries=("claude",),
            note="Written by the program itself (`claude mcp add-json`) when it is on the PATH.",
        ),
        Host(
            "claude-desktop",
            "Claude Desktop",
            ("{data}/Claude/claude_desktop_config.json",),
            "quit Claude Desktop and start it again",
            windows=(
                "{data}/Claude/claude_desktop_config.json",
                "{local}/Packages/Claude_pzs8sxrjxfjjc/LocalCache/Roaming/Claude/claude_desktop_config.json",
            ),
            prefix="",
            note="It writes this file while it runs: quit it before you change the file.",
        ),
        Host(
            "vscode",
            "VS Code",
            ("{data}/Code/User/mcp.json", "{data}/Code - Insiders/User/mcp.json"),
            "start the server in the Extensions view",
            project=".vscode/mcp.json",
            form=Format.JSONC,
            under=("servers",),
            shape=stdio,
            binaries=("code", "code-insiders"),
            link=vs_code_link,
        ),
        Host(
            "cursor",
            "Cursor",
            ("{home}/.cursor/mcp.json",),
            "reload Cursor",
            project=".cursor/mcp.json",
            form=Format.JSONC,
            prefix="{name}-",
            name_limit=60,
            binaries=("cursor",),
            link=cursor_link,
        ),
        Host(
            "codex",
            "Codex",
            ("{codex}/config.toml",),
            "start a new session",
            project=".codex/config.toml",
            form=Format.TOML,
            under=("mcp_servers",),
            prefix="mcp__{name}__",
            binaries=("codex",),
            note="It clears the environment of servers, so a key of your shell does not reach them.",
        ),
        Host(
            "gemini",
            "Gemini CLI",
            ("{home}/.gemini/settings.json",),
            "start a new session",
            project=".gemini/settings.json",
            form=Format.JSON_WITH_COMMENTS,
            name_limit=63,
            binaries=("gemini",),
            note="Servers of the user are off in folders that are not trusted.",
        ),
        Host(
            "copilot",
            "Copilot CLI",
            ("{home}/.copilot/mcp-config.json",),
            "start a new session",
            project=".mcp.json",
            form=Format.JSONC,
            shape=copilot,
            prefix="{name}-",
            binaries=("copilot",),
        ),
        Host(
            "zed",
            "Zed",
            ("{home}/.config/zed/settings.json",),
            "nothing; Zed reads the file again by itself",
            windows=("{data}/Zed/settings.json",),
            project=".zed/settings.json",
            form=Format.JSONC,
            under=("context_servers",),
            binaries=("zed", "zeditor"),
        ),
        Host(
            "windsurf",
            "Windsurf",
            ("{home}/.codeium/windsurf/mcp_config.json", "{home}/.codeium/mcp_config.json"),
            "press Refresh in the MCP panel",
            binaries=("windsurf",),
        ),
        Host(
            "cline",
            "Cline",
            ("{data}/Code/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json",),
            "nothing; Cline reads the file again by itself",
        ),
        Host(
            "cline-cli",
            "Cline CLI",
            ("{home}/.cline/data/settings/cline_mcp_settings.json",),
            "start a new session",
            shape=nested,
            binaries=("cline",),
            note="It gives a server 2.5 s to answer, so start the installed command, not `uvx`.",
        ),
        Host(
            "opencode",
            "opencode",
            ("{home}/.config/opencode/opencode.json", "{home}/.config/opencode/opencode.jsonc"),
            "start a new session",
            project="opencode.json",
            form=Format.JSONC,
            under=("mcp",),
            shape=opencode,
            prefix="{name}_",
            binaries=("opencode",),
        ),
        Host(
            "goose",
            "Goose",
            ("{home}/.config/goose/config.yaml",),
            "start a new session",
            windows=("{data}/Block/goose/config/config.yaml",),
            form=Format.YAML,
            under=("extensions",),
            shape=goose,
            prefix="{name}__",
            binaries=("goose",),
            link=goose_link,
        ),
        Host(
            "roo",
            "Roo Code",
            ("{data}/Code/User/globalStorage/rooveterinaryinc.roo-cline/settings/mcp_settings.json",),
            "press Refresh in the MCP panel",
            project=".roo/mcp.json",
            installed=False,
        ),
        Host(
            "continue",
            "Continue",
            ("{home}/.continue/config.yaml",),
            "reload the window",
            form=Format.YAML,
            installed=False,
            listed=True,
        ),
        Host(
            "jetbrains",
            "JetBrains",
            ("{home}/.junie/mcp/mcp.json",),
            "apply the settings",
            project=".junie/mcp/mcp.json",
            installed=False,
            note="AI Assistant: Settings, Tools, AI Assistant, MCP: paste the JSON. Junie reads the file.",
        ),
        Host(
            "lm-studio",
            "LM Studio",
            ("{home}/.lmstudio/mcp.json",),
            "nothing; LM Studio reads the file again by itself",
            installed=False,
            link=lm_studio_link,
        ),
        Host(
            "kiro",
            "Kiro",
            ("{home}/.kiro/settings/mcp.json",),
            "reload the window",
            project=".kiro/settings/mcp.json",
            installed=False,
            link=kiro_link,
        ),
        Host(
            "amazon-q",
            "Amazon Q",
            ("{home}/.aws/amazonq/mcp.json",),
            "start a new session",
            installed=False,
        ),
    )
)
