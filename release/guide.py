"""What README and docs/hosts.md say of hosts, made of the one table of them."""

from __future__ import annotations

from batches_mcp.hosts.launch import Launch
from batches_mcp.hosts.snippets import language, snippet
from batches_mcp.hosts.table import HOSTS, Host
from release.listings import SERVER

NAME = "batches"
COMMAND = Launch("/path/to/batches-mcp", ("serve",))
# Links are for people who have not installed anything yet.
LINKED = Launch("uvx", ("batches-mcp",))

_PLACES = {
    "{home}": "~",
    "{config}": "~/.config",
    "{codex}": "~/.codex",
    "{local}": "%LOCALAPPDATA%",
}
_DATA = {"macOS": "~/Library/Application Support", "Windows": "%APPDATA%", "Linux": "~/.config"}

_HEAD = f"""# Hosts

Generated from the table in `src/batches_mcp/hosts/table.py` by `make golden`.

`batches-mcp install` writes the entry for you, in the hosts that have a name below `install`; `batches-mcp install
--print` shows everything below with the path of your own installation. Where you paste it yourself, put the absolute
path of the command in the place of `{COMMAND.command}` (on Windows it ends in `batches-mcp.exe`, with doubled
backslashes in JSON). No entry holds a key: run `batches-mcp key set` once.

`install` passes `--root`, `--max-cost-usd`, `--confirm-over` and `--base-url` on to the server: what it may read, what
may be spent in 24 hours, and above which price you are asked before a batch is sent. `--confirm-over 1` is a good
beginning. A file's entry that `install` wrote keeps what you added to it, and loses flags that are no longer given.

In hosts with plugins (Claude Code, Codex, Copilot CLI, Gemini CLI, Cursor, VS Code, Kiro) the repository itself is
one, with the skill and the server, which is called `{SERVER}` there so that the names of its tools stay within 64
characters. In Claude Code, Gemini CLI and the bundle for Claude Desktop the price above which you are asked is a
setting (in the bundle 1 US dollar at first); elsewhere set `BATCHES_MCP_CONFIRM_OVER` where the host passes its
environment on.
"""


def table() -> str:
    """The hosts in one table, for the README."""
    lines = ["| host | `install` | file | in a project |", "| --- | --- | --- | --- |"]
    for host in HOSTS.rows:
        name = f"`{host.id}`" if host.installed else "paste"
        project = f"`{host.project}`" if host.project else ""
        lines.append(
            f"| [{host.title}](docs/hosts.md#{_anchor(host)}) | {name} | {_files(host, short=True)} | {project} |"
        )
    return "\n".join(lines)


def page() -> str:
    """docs/hosts.md."""
    return "\n".join([_HEAD, *(_section(host) for host in HOSTS.rows)])


def _section(host: Host) -> str:
    way = f"`batches-mcp install {host.id}`, or paste it" if host.installed else "Paste it"
    lines = [f"## {host.title}", "", f"{way} into {_files(host)}."]
    if host.project:
        lines.append(f"In a project: `{host.project}`.")
    lines.append(f"Then {host.after}.")
    if host.note:
        lines.append(host.note)
    lines += ["", f"```{language(host.form)}", snippet(host, NAME, COMMAND), "```", ""]
    if host.link:
        lines += [f"Or open this link, which starts the published package: `{host.link(NAME, LINKED)}`", ""]
    return "\n".join(lines)


def _files(host: Host, *, short: bool = False) -> str:
    template = host.files[0]
    beginning, _, rest = template.partition("/")
    windows = host.windows[0] if host.windows else template
    if beginning != "{data}":
        place = f"`{_PLACES[beginning]}/{rest}`"
        return place if short or windows == template else f"{place} (Windows: `{_windows(windows)}`)"
    places = [
        f"`{_windows(windows) if system == 'Windows' else f'{folder}/{rest}'}`" for system, folder in _DATA.items()
    ]
    return f"`.../{rest}`" if short else f"{places[0]} (Windows: {places[1]}, Linux: {places[2]})"


def _windows(template: str) -> str:
    beginning, _, rest = template.partition("/")
    return f"{_PLACES.get(beginning, _DATA['Windows'])}/{rest}".replace("/", "\\")


def _anchor(host: Host) -> str:
    return host.title.lower().replace(" ", "-")
