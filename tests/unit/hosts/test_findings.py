"""What `doctor` says of hosts' files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from batches_mcp.hosts.findings import Finding, Level, in_hosts, in_log
from batches_mcp.hosts.launch import Launch
from batches_mcp.hosts.machine import Machine

KEY = "sk-ant-api03-abcdefghijklmnop-WXYZ"
TOOLS = ("t" * 40,)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the home of these tests is a POSIX one")


@pytest.fixture
def own(tmp_path: Path) -> Launch:
    script = tmp_path / "bin" / "batches-mcp"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    return Launch(str(script))


def findings(tmp_path: Path, own: Launch, servers: dict[str, Any] | str, **more: str) -> list[Finding]:
    home = tmp_path / "home"
    path = home / ".cursor" / "mcp.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(servers if isinstance(servers, str) else json.dumps({"mcpServers": servers}))
    machine = Machine("linux", {"HOME": str(home), "PATH": "/usr/bin:/bin", **more}, tmp_path)
    return [each for each in in_hosts(machine, own, TOOLS) if each.subject == "Cursor"]


def test_a_good_entry_is_one_line(tmp_path: Path, own: Launch) -> None:
    [found] = findings(tmp_path, own, {"batches": {"command": own.command}, "x": {"command": "y"}})
    assert (found.level, found.text.endswith("mcp.json: batches")) == (Level.OK, True)


BAD = {
    "a venv that moved": ({"command": "/gone/.venv/bin/batches-mcp"}, "fix", "is not there any more"),
    "no absolute path": ({"command": "sh", "args": ["batches-mcp"]}, "warn", "it is not an absolute path"),
    "not on the PATH": ({"command": "batches-mcp"}, "fix", "which is not on the PATH"),
    "another installation": (
        {"command": "/bin/sh", "args": ["-c", "batches-mcp"]},
        "warn",
        "starts another installation",
    ),
    "not executable": ({"command": "/etc/passwd", "args": ["batches-mcp"]}, "fix", "which is not executable"),
}


@pytest.mark.parametrize(("entry", "level", "words"), BAD.values(), ids=BAD)
def test_an_entry_that_cannot_work_is_named_with_what_mends_it(
    tmp_path: Path, own: Launch, entry: dict[str, Any], level: str, words: str
) -> None:
    [found] = findings(tmp_path, own, {"batches": entry})
    assert found.level == level
    assert words in found.text
    assert found.fix == "batches-mcp install cursor --name batches"


def test_a_key_in_clear_text_is_found_and_not_repeated(tmp_path: Path, own: Launch) -> None:
    env = {"ANTHROPIC_API_KEY": KEY}
    found = findings(
        tmp_path, own, {"batches": {"command": own.command, "env": env}, "x": {"command": "y", "env": env}}
    )
    assert [(each.level, each.fix) for each in found] == [
        (Level.FIX, "batches-mcp install cursor"),
        (Level.WARN, None),
    ]
    assert "holds the API key in clear text" in found[0].text
    assert "outside our entry" in found[1].text
    assert KEY not in str(found)


def test_doubles_and_long_names_are_found(tmp_path: Path, own: Launch) -> None:
    long = "a-name-of-more-than-20-characters"
    found = findings(tmp_path, own, {"batches": {"command": own.command}, long: {"command": own.command}})
    assert [each.level for each in found] == [Level.OK, Level.FIX, Level.WARN]
    assert "names of tools with 74 characters, and the host takes 60" in found[1].text
    assert f"the server is there 2 times (batches and {long})" in found[2].text


def test_a_plugin_beside_a_direct_entry_is_found(tmp_path: Path, own: Launch) -> None:
    home = tmp_path / "home"
    (home / ".claude").mkdir(parents=True)
    (home / ".claude" / "settings.json").write_text('{"enabledPlugins": {"batches@batches-mcp": true, "x@y": true}}')
    (home / ".claude.json").write_text(json.dumps({"mcpServers": {"batches": {"command": own.command}}}))
    machine = Machine("linux", {"HOME": str(home), "PATH": "/bin"}, tmp_path)
    texts = [each.text for each in in_hosts(machine, own, TOOLS)]
    assert "the server is there twice: as the plugin batches@batches-mcp and directly" in texts


def test_a_file_that_cannot_be_read_is_a_warning(tmp_path: Path, own: Launch) -> None:
    [found] = findings(tmp_path, own, "{ broken")
    assert found.level is Level.WARN
    assert "expected a key in double quotes" in found.text


def test_a_host_without_the_server_is_told_how_to_get_it(tmp_path: Path, own: Launch) -> None:
    [found] = findings(tmp_path, own, {})
    assert (found.level, found.fix) == (Level.OK, "batches-mcp install cursor")


def test_the_last_error_of_claude_desktops_log_is_shown_masked(tmp_path: Path) -> None:
    machine = Machine("darwin", {"HOME": str(tmp_path)}, tmp_path)
    assert list(in_log(machine)) == []
    path = tmp_path / "Library" / "Logs" / "Claude" / "mcp-server-batches.log"
    path.parent.mkdir(parents=True)
    path.write_text(f"[info] ok\n[error] old\n[error] spawn ENOENT {KEY}\n[info] bye\n")
    [found] = in_log(machine)
    assert found.level is Level.WARN
    assert found.text.endswith("the last error: [error] spawn ENOENT ***")
    path.write_text("[info] ok\n")
    assert [each.level for each in in_log(machine)] == [Level.OK]


PATHS = {
    "darwin": "Library/Application Support/Claude/claude_desktop_config.json",
    "linux": ".config/Claude/claude_desktop_config.json",
    "win32": "AppData/Roaming/Claude/claude_desktop_config.json",
}


@pytest.mark.parametrize(("system", "path"), PATHS.items(), ids=PATHS)
def test_claude_desktop_has_a_place_on_every_system(tmp_path: Path, system: str, path: str) -> None:
    from batches_mcp.hosts.table import HOSTS

    host = HOSTS.get("claude-desktop")
    assert host is not None
    machine = Machine(system, {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}, tmp_path)
    assert host.file(machine, project=False) == tmp_path / path
    store = tmp_path / "AppData/Local/Packages/Claude_pzs8sxrjxfjjc/LocalCache/Roaming/Claude"
    if system == "win32":
        store.mkdir(parents=True)
        assert host.file(machine, project=False) == store / "claude_desktop_config.json"
