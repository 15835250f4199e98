"""Awkward files: edited in one entry and nothing else, or refused and left as they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import tomllib
from pathlib import Path
from typing import Any

import pytest

from batches_mcp.hosts import documents
from batches_mcp.hosts.changes import Backups, Change, masked, plan, plan_removal
from batches_mcp.hosts.documents import CannotEdit, Format
from batches_mcp.hosts.launch import Launch, launch_of
from batches_mcp.hosts.table import HOSTS, Host

LAUNCH = Launch("/opt/my tools/batches-mcp", ("serve", "--root", "/data/my files"))
KEY = "sk-ant-api03-abcdefghijklmnop-WXYZ"


def host(name: str) -> Host:
    found = HOSTS.get(name)
    assert found is not None
    return found


@pytest.fixture
def backups(tmp_path: Path) -> Backups:
    return Backups(tmp_path / "state")


def install(backups: Backups, row: Host, path: Path, launch: Launch = LAUNCH) -> Change:
    return backups.apply(plan(row, path, "batches", launch), lambda: plan(row, path, "batches", launch))


def uninstall(backups: Backups, row: Host, path: Path) -> bool:
    change = plan_removal(row, path, "batches")
    assert change is not None
    return backups.undo(change, lambda: plan_removal(row, path, "batches"))


def entry(row: Host, path: Path) -> Any:
    return documents.entry_at(documents.parse(path.read_bytes(), row.form), row.path("batches"))


FILES = {
    "json": ("cursor", b'{\n  "mcpServers": {\n    "x": {"command": "y"}\n  }\n}\n'),
    "jsonc": ("zed", b'// mine\n{\n\t"theme": "One", // dark\n\t"context_servers": {\n\t\t"x": {}, // old\n\t},\n}\n'),
    "crlf": ("vscode", b'{\r\n  "servers": {\r\n    "x": {"command": "y"} // c\r\n  }\r\n}\r\n'),
    "bom": ("claude-desktop", b'\xef\xbb\xbf{"mcpServers":{"x":{}},"scale":1}'),
    "no map": ("claude-desktop", b'{"globalShortcut": ""}'),
    "empty": ("gemini", b""),
    "toml": ("codex", b'# mine\nmodel = "o"  # fast\n\n[mcp_servers.x]\ncommand = "y"\n\n[profiles.a]\nb = 1\n'),
    "toml without servers": ("codex", b'model = "o"\n'),
    "toml with crlf": ("codex", b'# mine\r\n[mcp_servers.x]\r\ncommand = "y"\r\n'),
    "yaml": ("goose", b"# mine\nextensions:\n  developer:  # on\n    enabled: true\n    args: [a,\n      b]\nGOOSE_MODEL: m # x\n"),
    "yaml without extensions": ("goose", b"GOOSE_MODEL: m"),
    "opencode": ("opencode", b'{"$schema": "https://opencode.ai/config.json", "mcp": {}}'),
    "copilot": ("copilot", b'{"mcpServers": {/* none */}}'),
    "cline": ("cline-cli", b'{\n  "mcpServers": {}\n}\n'),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content"), FILES.values(), ids=FILES)
def test_one_entry_is_written_and_uninstall_restores_the_bytes(
    backups: Backups, tmp_path: Path, name: str, content: bytes
) -> None:
    row, path = host(name), tmp_path / "config"
    path.write_bytes(content)
    before = documents.parse(content, row.form)
    install(backups, row, path)
    after = documents.parse(path.read_bytes(), row.form)
    assert entry(row, path) == row.shape(LAUNCH)
    assert documents.parse(documents.drop(path.read_bytes(), row.form, row.path("batches")), row.form) in (
        before,
        {**before, row.under[0]: {}},
    )
    if row.under[0] in before:
        assert documents.drop(path.read_bytes(), row.form, row.path("batches")) == content
    assert (b"\r\n" in content) == (b"\r\n" in path.read_bytes())
    assert after != before
    assert uninstall(backups, row, path) is True
    assert path.read_bytes() == content
    assert plan_removal(row, path, "batches") is None


@pytest.mark.parametrize(("name", "content"), FILES.values(), ids=FILES)
def test_a_file_that_was_changed_since_loses_the_entry_alone(
    backups: Backups, tmp_path: Path, name: str, content: bytes
) -> None:
    row, path = host(name), tmp_path / "config"
    path.write_bytes(content)
    install(backups, row, path)
    comment = {Format.TOML: b"# later\n", Format.YAML: b"# later\n"}.get(row.form, b" ")
    path.write_bytes(path.read_bytes() + comment)
    changed = documents.parse(path.read_bytes(), row.form)
    changed[row.under[0]].pop("batches")
    assert uninstall(backups, row, path) is False
    assert documents.parse(path.read_bytes(), row.form) in (
        changed,
        {key: value for key, value in changed.items() if key != row.under[0]},
    )
    assert path.read_bytes().endswith(comment)


def test_a_file_that_was_not_there_is_private_and_goes_again(backups: Backups, tmp_path: Path) -> None:
    row, path = host("windsurf"), tmp_path / "no such folder" / "mcp_config.json"
    install(backups, row, path)
    assert json.loads(path.read_text()) == {"mcpServers": {"batches": row.shape(LAUNCH)}}
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600
    assert uninstall(backups, row, path) is True
    assert not path.exists()


def test_installing_twice_changes_nothing_and_the_first_bytes_come_back(backups: Backups, tmp_path: Path) -> None:
    row, path = host("cursor"), tmp_path / "mcp.json"
    path.write_text("{}")
    install(backups, row, path)
    assert plan(row, path, "batches", LAUNCH).empty
    install(backups, row, path, Launch("/elsewhere/batches-mcp"))
    assert entry(row, path)["command"] == "/elsewhere/batches-mcp"
    assert uninstall(backups, row, path) is True
    assert path.read_text() == "{}"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps links for administrators")
def test_a_link_stays_a_link_and_its_target_keeps_its_mode(backups: Backups, tmp_path: Path) -> None:
    row, target, path = host("zed"), tmp_path / "dotfiles" / "zed.json", tmp_path / "settings.json"
    target.parent.mkdir()
    target.write_text("{}")
    target.chmod(0o640)
    path.symlink_to(target)
    install(backups, row, path)
    assert path.is_symlink()
    assert entry(row, target) == row.shape(LAUNCH)
    assert target.stat().st_mode & 0o777 == 0o640
    assert uninstall(backups, row, path)
    assert (path.is_symlink(), target.read_text(), target.stat().st_mode & 0o777) == (True, "{}", 0o640)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps links for administrators")
def test_a_link_to_nothing_gets_its_target_and_points_to_nothing_again(backups: Backups, tmp_path: Path) -> None:
    row, target, path = host("zed"), tmp_path / "dotfiles" / "zed.json", tmp_path / "settings.json"
    path.symlink_to(target)
    install(backups, row, path)
    assert path.is_symlink()
    assert entry(row, target) == row.shape(LAUNCH)
    assert uninstall(backups, row, path)
    assert (path.is_symlink(), target.exists()) == (True, False)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps links for administrators")
def test_links_that_point_to_each_other_are_left(backups: Backups, tmp_path: Path) -> None:
    path, other = tmp_path / "settings.json", tmp_path / "other.json"
    path.symlink_to(other)
    other.symlink_to(path)
    with pytest.raises(CannotEdit, match="the file cannot be read: "):
        install(backups, host("zed"), path)
    assert path.is_symlink()


@pytest.mark.parametrize("name", ["cursor", "codex", "goose", "cline-cli", "opencode"])
def test_the_entry_of_an_installation_that_has_moved_is_replaced(name: str, backups: Backups, tmp_path: Path) -> None:
    row, path = host(name), tmp_path / "config"
    old = Launch("/gone/.venv/bin/batches-mcp", ("serve", "--max-cost-usd", "5"))
    install(backups, row, path, old)
    assert launch_of(entry(row, path)) == old
    install(backups, row, path)
    assert launch_of(entry(row, path)) == LAUNCH
    assert b"/gone/" not in path.read_bytes()
    assert uninstall(backups, row, path)
    assert not path.exists()


REFUSED = {
    "broken JSON": ("cursor", b'{ "mcpServers": { broken', "line 1, column 19"),
    "comments where the host takes none": ("claude-desktop", b"{} // c", "expected no comment"),
    "trailing comma where the host takes none": ("gemini", b'{"a": 1,}', "no comma before the end"),
    "a list of servers": ("cursor", b'{"mcpServers": []}', "mcpServers is not an object"),
    "the map twice": ("cursor", b'{"mcpServers": {}, "mcpServers": {}}', "stands there 2 times"),
    "not UTF-8": ("cursor", b'{"a": "\xff"}', "not UTF-8: byte 7 is 0xff"),
    "UTF-16": ("cursor", '{"a": 1}'.encode("utf-16"), "not UTF-8"),
    "another server of this name": ("cursor", b'{"mcpServers": {"batches": {"command": "other"}}}', "it starts other"),
    "a remote server of this name": ("cursor", b'{"mcpServers": {"batches": {"url": "https://x"}}}', "something else"),
    "broken TOML": ("codex", b"[mcp_servers\n", "is not TOML"),
    "TOML with another thing there": ("codex", b"mcp_servers = 1\n", "mcp_servers is not a table"),
    "broken YAML": ("goose", b"extensions: [\n", "is not YAML"),
    "YAML in one line": ("goose", b"extensions: {a: {b: 1}}\n", "not written as a block"),
    "YAML with an empty map": ("goose", b"extensions:\n", "expected a mapping"),
    "YAML list": ("goose", b"- a\n", "not a mapping"),
}


@pytest.mark.parametrize(("name", "content", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_edited_safely_is_left_as_it_is(
    backups: Backups, tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    path = tmp_path / "config"
    path.write_bytes(content)
    with pytest.raises(CannotEdit) as caught:
        install(backups, host(name), path)
    assert words in str(caught.value)
    assert path.read_bytes() == content


def test_a_read_only_file_is_left_as_it_is(backups: Backups, tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("{}")
    path.chmod(0o444)
    with pytest.raises(CannotEdit, match="the file is read-only"):
        install(backups, host("cursor"), path)
    assert path.read_text() == "{}"
    assert path.stat().st_mode & 0o777 == 0o444


def test_a_folder_in_the_files_place_is_said(backups: Backups, tmp_path: Path) -> None:
    with pytest.raises(CannotEdit, match="the file cannot be read: "):
        install(backups, host("cursor"), tmp_path)


def test_what_others_wrote_between_the_plan_and_the_edit_stays(backups: Backups, tmp_path: Path) -> None:
    row, path = host("cursor"), tmp_path / "mcp.json"
    path.write_text("{}")
    planned = plan(row, path, "batches", LAUNCH)
    path.write_text('{"mcpServers": {"theirs": {"command": "x"}}}')
    backups.apply(planned, lambda: plan(row, path, "batches", LAUNCH))
    assert list(json.loads(path.read_text())["mcpServers"]) == ["theirs", "batches"]


def test_two_installs_at_once_both_arrive(backups: Backups, tmp_path: Path) -> None:
    row, path = host("cursor"), tmp_path / "mcp.json"
    path.write_text("{}")
    names = [f"batches{number}" for number in range(8)]
    ready = threading.Barrier(len(names))

    def one(name: str) -> None:
        planned = plan(row, path, name, LAUNCH)
        ready.wait()
        backups.apply(planned, lambda: plan(row, path, name, LAUNCH))

    threads = [threading.Thread(target=one, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(json.loads(path.read_text())["mcpServers"]) == names


def test_a_damaged_backup_is_a_missing_one(backups: Backups, tmp_path: Path) -> None:
    row, path = host("cursor"), tmp_path / "mcp.json"
    path.write_text('{"mcpServers": {"x": {}}}')
    install(backups, row, path)
    [copy] = (tmp_path / "state").rglob("*.bak")
    copy.write_text("{}")
    assert uninstall(backups, row, path) is False
    assert path.read_text() == '{"mcpServers": {"x": {}}}'


def test_backups_are_private(backups: Backups, tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("{}")
    path.chmod(0o644)
    install(backups, host("cursor"), path)
    if os.name == "posix":
        for made in (tmp_path / "state").rglob("*"):
            assert made.stat().st_mode & 0o077 == 0, made


def test_what_a_person_added_to_our_entry_stays_but_a_key_in_clear_text(backups: Backups, tmp_path: Path) -> None:
    row, path = host("cursor"), tmp_path / "mcp.json"
    old = {"command": "/gone/batches-mcp", "env": {"ANTHROPIC_API_KEY": KEY, "HTTPS_PROXY": "http://p"}, "timeout": 9}
    path.write_text(json.dumps({"mcpServers": {"batches": old}}))
    change = install(backups, row, path)
    assert change.clear_key == KEY
    assert KEY not in path.read_text()
    assert entry(row, path) == {
        "command": LAUNCH.command,
        "args": list(LAUNCH.args),
        "env": {"HTTPS_PROXY": "http://p"},
        "timeout": 9,
    }
    assert uninstall(backups, row, path) is False
    assert "batches" not in path.read_text()


@pytest.mark.parametrize("reference", ["${env:ANTHROPIC_API_KEY}", "${input:key}", "$ANTHROPIC_API_KEY"])
def test_a_reference_to_a_key_stays(backups: Backups, tmp_path: Path, reference: str) -> None:
    row, path = host("vscode"), tmp_path / "mcp.json"
    env = {"ANTHROPIC_API_KEY": reference}
    path.write_text(json.dumps({"servers": {"batches": {"command": "uvx", "args": ["batches-mcp"], "env": env}}}))
    assert install(backups, row, path).clear_key is None
    assert entry(row, path)["env"] == env


def test_a_diff_shows_no_secret_of_any_server(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    servers = {"x": {"env": {"GITHUB_TOKEN": "ghp_secret", "B": KEY}}, "batches": {"command": "/x/batches-mcp", "env": {"ANTHROPIC_API_KEY": KEY}}}  # fmt: skip
    path.write_text(json.dumps({"mcpServers": servers}, indent=1))
    diff = plan(host("cursor"), path, "batches", LAUNCH).diff()
    assert "ghp_secret" not in diff
    assert KEY not in diff
    assert '+   "command": "/opt/my tools/batches-mcp"' in diff
    for text in ("api_key = 'abc'", "  password: abc", '"Authorization": "Bearer abc"'):
        assert "abc" not in masked(text)


def test_without_the_extra_yaml_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("")
    code = (
        "import sys; sys.modules['ruamel.yaml'] = None\n"
        "from pathlib import Path\n"
        "from batches_mcp.hosts.changes import plan\n"
        "from batches_mcp.hosts.table import HOSTS\n"
        "from batches_mcp.hosts.launch import Launch\n"
        f"plan(HOSTS.get('goose'), Path({str(path)!r}), 'batches', Launch('x'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (
        "CannotEdit: this YAML file is edited with ruamel.yaml; install it with: pip install 'batches-mcp[install]'"
        in done.stderr
    )


TOML = {
    "inline": "[mcp_servers]\nx = { command = 'y' } # x\nbatches = { command = 'uvx', args = ['batches-mcp'] }\n",
    "dotted": "mcp_servers.x.command = 'y' # x\n[a]\nb = 1\n",
    "quoted": "[mcp_servers.x]\ncommand = 'y' # x\n[ mcp_servers . \"batches\" ]\ncommand = 'batches-mcp'\n",
    "other tables": "[mcp_servers.x] # x\ncommand = 'y'\n[mcp_servers.batches2]\ncommand = 'z'\n",
    "sub-tables": "[mcp_servers.batches]\ncommand = 'batches-mcp'\n[mcp_servers.batches.env]\nA = 'b'\n# x\n[mcp_servers.x]\ncommand='y'\n",
    "lists of lists": "[mcp_servers.batches]\ncommand = 'batches-mcp'\nm = [\n  [1],\n]\n[mcp_servers.x] # x\ncommand = 'y'\n",
}  # fmt: skip


@pytest.mark.parametrize("text", TOML.values(), ids=TOML)
def test_every_way_to_write_a_table_is_edited_or_left(backups: Backups, tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    install(backups, host("codex"), path)
    written = tomllib.loads(path.read_text())["mcp_servers"]
    assert written["batches"] | {"command": LAUNCH.command, "args": list(LAUNCH.args)} == written["batches"]
    assert written["x"] == {"command": "y"}
    assert "# x" in path.read_text()
    path.write_text(path.read_text() + "# later\n")
    uninstall(backups, host("codex"), path)
    assert "batches" not in tomllib.loads(path.read_text())["mcp_servers"]
    assert tomllib.loads(path.read_text())["mcp_servers"]["x"] == {"command": "y"}


def test_codex_reads_what_is_written(backups: Backups, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[mcp_servers]\nx = { command = 'y' }\n")
    install(backups, host("codex"), path)
    assert tomllib.loads(path.read_text())["mcp_servers"]["batches"] == {
        "command": LAUNCH.command,
        "args": list(LAUNCH.args),
    }


def test_nothing_is_left_behind_when_writing_fails(
    backups: Backups, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("{}")
    planned = plan(host("cursor"), path, "batches", LAUNCH)
    real = Path.replace

    def full(self: Path, target: Path) -> Path:
        if target == path.resolve():
            raise OSError(28, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(CannotEdit, match="the file cannot be written: No space left on device"):
        backups.apply(planned, lambda: planned)
    assert path.read_text() == "{}"
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == ["mcp.json"]


def test_every_row_of_the_table_is_whole() -> None:
    assert len({row.id for row in HOSTS.rows}) == len(HOSTS.rows)
    for row in HOSTS.rows:
        assert row.files
        assert row.after
        assert len(row.under) == 1
        data = documents.parse(documents.put(None, row.form, row.path("batches"), row.shape(LAUNCH)), row.form)
        launch = launch_of(documents.entry_at(data, row.path("batches")))
        assert launch == LAUNCH
