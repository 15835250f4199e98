"""What is computed for Windows, shown on any system: commands, paths, environments, and files that are open elsewhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path, PureWindowsPath
from typing import Any

import pytest

from batches_mcp.core.settings import Environment
from batches_mcp.hosts import claude, documents, files
from batches_mcp.hosts.changes import Backups, plan
from batches_mcp.hosts.documents import CannotEdit
from batches_mcp.hosts.findings import in_hosts
from batches_mcp.hosts.launch import Launch, launch_of
from batches_mcp.hosts.machine import Machine
from batches_mcp.hosts.own import own_command
from batches_mcp.hosts.table import HOSTS, Host

COMMAND = r"C:\Users\J. Müller\AppData\Roaming\uv\tools\batches-mcp\Scripts\batches-mcp.exe"
LAUNCH = Launch(COMMAND, ("serve", "--root", r"\\server\share\new files"))
# A script of the shell stands in for what npm installs there.
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="the program is a POSIX script")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine whose home is here, so that what is looked for can be found."""
    home = tmp_path / "home"
    home.mkdir()
    return Machine("win32", {"USERPROFILE": str(home), "PATH": str(tmp_path), "PATHEXT": ".EXE"}, tmp_path)


def host(name: str) -> Host:
    found = HOSTS.get(name)
    assert found is not None
    return found


@pytest.mark.parametrize("name", ["claude-desktop", "vscode", "codex", "goose", "cline-cli", "opencode"])
def test_every_format_holds_paths_of_windows(name: str, tmp_path: Path) -> None:
    row, path = host(name), tmp_path / "config"
    change = Backups(tmp_path / "state").apply(
        plan(row, path, "batches", LAUNCH), lambda: plan(row, path, "batches", LAUNCH)
    )
    written = launch_of(documents.entry_at(documents.parse(path.read_bytes(), row.form), row.path("batches")))
    assert written == LAUNCH
    assert PureWindowsPath(written.command).name == "batches-mcp.exe"
    assert change.after == path.read_bytes()


@pytest.mark.parametrize(
    ("command", "args", "ours"),
    [
        (COMMAND, (), True),
        (COMMAND.upper(), (), True),
        (r"C:\Python311\python.exe", ("-m", "batches_mcp"), True),
        (r"C:\Users\x\.local\bin\uvx.exe", ("batches-mcp@0.1.0",), True),
        (r"C:\batches-mcp\other.exe", (), False),
    ],
)
def test_an_entry_is_known_as_ours(command: str, args: tuple[str, ...], ours: bool) -> None:
    assert Launch(command, args).ours is ours


@pytest.mark.parametrize("place", ["batches-mcp.exe", "Scripts/batches-mcp.exe"])
def test_the_command_is_found_although_its_ending_is_not_told(place: str, machine: Machine, tmp_path: Path) -> None:
    script = tmp_path / place
    script.parent.mkdir(exist_ok=True)
    script.touch()
    own = own_command(str(script.with_suffix("")), str(tmp_path / "elsewhere" / "python.exe"), machine)
    beside = own_command("-c", str(tmp_path / "python.exe"), machine)
    assert own.launch == beside.launch == Launch(str(script))


def test_without_a_script_the_interpreter_is_the_command(machine: Machine) -> None:
    own = own_command("", r"C:\Python311\python.exe", machine)
    assert own.launch == Launch(r"C:\Python311\python.exe", ("-m", "batches_mcp"))


@pytest.mark.parametrize("folder", [r"AppData\Local\uv\cache\archive-v0", r"appdata\local\UV\Cache\environments-v2"])
def test_an_environment_that_uv_may_remove_is_no_place_for_hosts(folder: str, machine: Machine) -> None:
    own = own_command("", rf"C:\Users\x\{folder}\4f3a\Scripts\python.exe", machine)
    assert any("may be removed by uv" in warning for warning in own.warnings)


def test_hosts_keep_their_files_in_the_profile(machine: Machine, tmp_path: Path) -> None:
    home = tmp_path / "home"
    roaming = Machine("win32", {**machine.values, "APPDATA": r"D:\Roaming", "LOCALAPPDATA": r"D:\Local"}, tmp_path)
    desktop, store = host("claude-desktop").paths(roaming)
    assert PureWindowsPath(str(desktop)) == PureWindowsPath("D:/Roaming/Claude/claude_desktop_config.json")
    assert PureWindowsPath(str(store)).is_relative_to("D:/Local/Packages")
    assert host("cursor").paths(machine) == [home / ".cursor" / "mcp.json"]
    assert host("zed").paths(machine) == [home / "AppData" / "Roaming" / "Zed" / "settings.json"]


def test_a_server_gets_what_windows_programs_need(machine: Machine) -> None:
    given = {
        name: name.lower() for name in ("SYSTEMROOT", "SYSTEMDRIVE", "COMSPEC", "PATHEXT", "PATH", "ANTHROPIC_API_KEY")
    }
    bare = Machine("win32", {**machine.values, **given}).bare({"MORE": "1"})
    assert {name: bare.get(name) for name in given} == {**given, "ANTHROPIC_API_KEY": None}
    assert bare["MORE"] == "1"


def test_doctor_knows_a_command_without_its_ending(machine: Machine, tmp_path: Path) -> None:
    script = tmp_path / "batches-mcp.exe"
    script.touch(0o755)
    config = host("cursor").paths(machine)[0]
    config.parent.mkdir()
    config.write_text(json.dumps({"mcpServers": {"batches": {"command": str(script.with_suffix("")), "args": []}}}))
    findings = [each for each in in_hosts(machine, Launch(str(script)), ["a-tool"]) if each.subject == "Cursor"]
    assert [str(each.level) for each in findings] == ["ok"]


class Opened:
    """A file that another program has open, for so many tries; `pauses` are those between them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tries: int) -> None:
        self.pauses: list[float] = []
        self.tries = tries
        self.replace = Path.replace
        opened = self

        def replace(path: Path, target: Any) -> Path:
            opened.tries -= 1
            if opened.tries >= 0:
                raise PermissionError(13, "The process cannot access the file")
            return opened.replace(path, target)

        monkeypatch.setattr(Path, "replace", replace)


def test_a_file_that_is_open_for_a_moment_is_written_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    opened, path = Opened(monkeypatch, 3), tmp_path / "mcp.json"
    path.write_text("old")
    files.replace(path, b"new", opened.pauses.append)
    assert (path.read_text(), len(opened.pauses)) == ("new", 3)


def test_a_file_that_stays_open_is_left_as_it_is_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    opened, path = Opened(monkeypatch, 1_000), tmp_path / "mcp.json"
    path.write_text("{}")
    with pytest.raises(PermissionError):
        files.replace(path, b"new", opened.pauses.append)
    with pytest.raises(CannotEdit, match="quit the program and run the command again"):
        Backups(tmp_path / "state").apply(
            plan(host("cursor"), path, "batches", LAUNCH), lambda: plan(host("cursor"), path, "batches", LAUNCH)
        )
    assert sorted(each.name for each in tmp_path.iterdir() if each.is_file()) == ["mcp.json"]
    assert path.read_text() == "{}"


CLAUDE = """#!{python}
import json, pathlib, sys
assert sys.argv[1:] == ["mcp", "add-json", "batches", "-", "-s", "user"], sys.argv
file = pathlib.Path({file!r})
file.write_text(json.dumps({{"mcpServers": {{"batches": json.load(sys.stdin)}}}}))
"""


@POSIX
def test_a_claude_that_is_a_batch_file_reads_the_entry_from_its_input(tmp_path: Path) -> None:
    program, file = tmp_path / "claude.CMD", tmp_path / ".claude.json"
    program.write_text(CLAUDE.format(python=sys.executable, file=str(file)))
    program.chmod(0o755)
    row = host("claude-code")
    claude.add(str(program), plan(row, file, "batches", LAUNCH), {})
    assert launch_of(json.loads(file.read_text())["mcpServers"]["batches"]) == LAUNCH


def test_a_key_that_an_editor_saved_with_a_byte_order_mark_is_the_key(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"\xef\xbb\xbfsk-ant-api03-abcdefghijklmnop\r\n")
    path.chmod(0o600)
    secret = Environment({"ANTHROPIC_API_KEY_FILE": str(path)}).secret("ANTHROPIC_API_KEY")
    assert secret is not None
    assert secret.get_secret_value() == "sk-ant-api03-abcdefghijklmnop"
