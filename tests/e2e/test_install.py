"""`install` and `uninstall` as a person runs them: what is shown, written and proved, and what is refused."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from batches_mcp.sandbox import Sandbox
from tests.support.servers import command, environment

KEY = "sk-ant-api03-abcdefghijklmnop-WXYZ"
OTHER = "sk-ant-api03-qrstuvwxyzabcdef-1234"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the home of these tests is a POSIX one")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "a home"
    for name in (".cursor", ".codex", ".gemini", ".config/zed"):
        (folder / name).mkdir(parents=True)
    return folder


def run(home: Path, *arguments: str, cwd: Path | None = None, **env: str) -> tuple[int, str, str]:
    """Run a command in this home, with nothing on the PATH but what the system has."""
    env = {"HOME": str(home), "XDG_CONFIG_HOME": "", "PATH": "/usr/bin:/bin", **env}
    done = subprocess.run(
        command(*arguments),
        env=environment(None, **env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=110,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def store(home: Path, key: str = KEY) -> Path:
    path = home / ".config" / "batches-mcp" / "key"
    path.parent.mkdir(mode=0o700, parents=True)
    path.write_text(key)
    path.chmod(0o600)
    return path


def contents(home: Path) -> dict[str, bytes]:
    return {
        path.relative_to(home).as_posix(): path.read_bytes()
        for path in home.rglob("*")
        if path.is_file() and "batches-mcp" not in path.parts
    }


def test_every_host_that_is_found_is_installed_proved_and_restored(home: Path, sandbox: Sandbox) -> None:
    store(home)
    (home / ".codex" / "config.toml").write_text('model = "o" # mine\n')
    (home / ".config" / "zed" / "settings.json").write_text('{\n  // mine\n  "theme": "One",\n}\n')
    before = contents(home)
    code, out, err = run(
        home, "install", "--yes", "--base-url", sandbox.url, "--max-cost-usd", "20", "--confirm-over", "1.5",
        "--root", str(home),
    )  # fmt: skip
    assert code == 0, err
    for title, after in (
        ("Cursor", "reload Cursor"),
        ("Codex", "start a new session"),
        ("Gemini CLI", "start"),
        ("Zed", "nothing"),
    ):
        assert f"{title}: works, 6 tools, " in out
        assert after in out
    assert KEY not in out + err
    written = contents(home)
    assert written.keys() - before.keys() == {".cursor/mcp.json", ".gemini/settings.json"}
    assert not [name for name, content in written.items() if KEY.encode() in content]
    entry = json.loads(written[".cursor/mcp.json"])["mcpServers"]["batches"]
    assert Path(entry["command"]).is_absolute()
    assert entry["args"] == [
        "serve", "--root", str(home), "--max-cost-usd", "20", "--confirm-over", "1.5", "--base-url", sandbox.url,
    ]  # fmt: skip
    assert b"// mine" in written[".config/zed/settings.json"]
    assert b'model = "o" # mine\n' in written[".codex/config.toml"]

    code, out, _ = run(home, "uninstall", "--yes")
    assert code == 0
    assert "Cursor: as it was before" in out
    assert contents(home) == before
    assert "nothing to remove" in run(home, "uninstall", "--yes")[2]


def test_a_dry_run_shows_a_masked_diff_and_writes_nothing(home: Path) -> None:
    path = home / ".cursor" / "mcp.json"
    path.write_text(json.dumps({"mcpServers": {"x": {"command": "y", "env": {"GITHUB_TOKEN": "ghp_abc"}}}}, indent=2))
    before = contents(home)
    code, out, _ = run(home, "install", "cursor", "--dry-run")
    assert code == 0
    assert '+    "batches": {' in out
    assert "ghp_abc" not in out
    assert contents(home) == before


def test_without_a_yes_nothing_is_written(home: Path) -> None:
    code, _, err = run(home, "install", "cursor")
    assert code == 2
    assert "install asks before" not in err
    assert "nobody can be asked here, so nothing was written; --yes writes without asking" in err
    assert contents(home) == {}


def test_print_gives_what_to_paste_and_links_for_every_host(home: Path) -> None:
    code, out, _ = run(home, "install", "--print")
    assert code == 0
    for words in ("Claude Desktop (claude-desktop)", "cursor://anysphere.cursor-deeplink", "vscode:mcp/install?", "lmstudio://", "kiro.dev", "goose://extension", "[mcp_servers.batches]"):  # fmt: skip
        assert words in out
    assert contents(home) == {}


def test_a_host_whose_file_is_broken_gets_a_snippet_and_the_others_are_installed(home: Path, sandbox: Sandbox) -> None:
    store(home)
    broken = home / ".cursor" / "mcp.json"
    broken.write_text('{ "mcpServers": { broken')
    code, out, err = run(home, "install", "cursor", "gemini", "--yes", "--base-url", sandbox.url)
    assert code == 1
    assert "Cursor: left as it is: the file is not JSON with comments and trailing commas: line 1, column 19" in err
    assert '"batches": {' in out
    assert "Gemini CLI: works" in out
    assert broken.read_text() == '{ "mcpServers": { broken'


def test_keys_in_clear_text_move_into_the_store(home: Path, sandbox: Sandbox) -> None:
    entry = {"command": "uvx", "args": ["batches-mcp"], "env": {"ANTHROPIC_API_KEY": KEY}}
    cursor, gemini, codex = (
        home / ".cursor" / "mcp.json",
        home / ".gemini" / "settings.json",
        home / ".codex" / "config.toml",
    )
    cursor.write_text(json.dumps({"mcpServers": {"batches": entry}}))
    gemini.write_text(json.dumps({"mcpServers": {"batches": {**entry, "env": {"ANTHROPIC_API_KEY": OTHER}}}}))
    codex.write_text(
        f'[mcp_servers.batches]\ncommand = "batches-mcp"\n[mcp_servers.batches.env]\nANTHROPIC_API_KEY = "{KEY}"\n'
    )
    code, out, err = run(home, "install", "cursor", "gemini", "codex", "--yes", "--base-url", sandbox.url)
    assert code == 0, err
    assert "the API key in this file goes" in err
    assert "the files held 2 different keys; the first is stored" in err
    assert (home / ".config" / "batches-mcp" / "key").read_text() == f"{KEY}\n"
    for path in (cursor, gemini, codex):
        assert "sk-ant-" not in path.read_text()
    assert KEY not in out + err
    assert OTHER not in out + err
    assert "Codex: works, 6 tools" in out


def test_without_a_key_it_is_installed_and_says_what_is_missing(home: Path) -> None:
    code, out, _ = run(home, "install", "cursor", "--yes")
    assert code == 0
    assert "Cursor: works, 6 tools" in out
    assert "no API key yet (run: batches-mcp key set)" in out


def test_a_project_has_files_of_its_own(home: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    code, out, err = run(home, "install", "vscode", "claude-code", "windsurf", "--project", "--yes", cwd=project)
    assert code == 1
    assert "Windsurf: left as it is: it has no file for projects" in err
    assert json.loads((project / ".vscode" / "mcp.json").read_text())["servers"]["batches"]["type"] == "stdio"
    assert list(json.loads((project / ".mcp.json").read_text())["mcpServers"]) == ["batches"]
    assert contents(home) == {}
    assert "VS Code: works" in out


def test_an_open_editor_is_mentioned(home: Path) -> None:
    (home / ".cursor" / "mcp.json").write_text("{}")
    (home / ".cursor" / ".mcp.json.swp").write_text("")
    err = run(home, "install", "cursor", "--dry-run")[2]
    assert f"{home / '.cursor' / 'mcp.json'} is open in an editor" in err


@pytest.mark.parametrize(
    ("arguments", "env", "words"),
    [
        (["cursr"], {}, "no host is called cursr; did you mean `cursor`?"),
        (["cursor", "--name", "a name"], {}, "--name: expected up to 32 letters"),
        (["cursor", "--root", "/no/such/folder"], {}, "--root: /no/such/folder is not a folder"),
        (["cursor", "--root", "~no-such-user/files"], {}, "~no-such-user/files: Could not determine home directory"),
        (["cursor"], {"HOME": ""}, "hosts keep their files in your home, and HOME does not name it: it is not set"),
        (["cursor"], {"HOME": "/no/such/home"}, "/no/such/home is not a folder"),
    ],
)
def test_wrong_usage_is_said(home: Path, arguments: list[str], env: dict[str, str], words: str) -> None:
    code, out, err = run(home, "install", *arguments, "--yes", cwd=None, **env)
    assert (code, out) == (2, "")
    assert words in err


def test_a_machine_without_hosts_is_told_which_there_are(tmp_path: Path) -> None:
    code, _, err = run(tmp_path, "install", "--yes")
    assert code == 2
    assert "no host is found on this machine; name one to install into it anyway: claude-code, claude-desktop" in err


def test_a_name_that_makes_names_of_tools_too_long_is_refused(home: Path) -> None:
    code, _, err = run(home, "install", "cursor", "--name", "a-very-long-name-for-batches", "--yes")
    assert code == 1
    assert "Cursor: left as it is: its names of tools have at most 60 characters; give a shorter --name" in err
    assert contents(home) == {}


# Stands in for `claude`: the two commands that we use, on the same file, as the real program answers them.
CLAUDE = """#!{python}
import json, pathlib, sys
file = pathlib.Path.home() / ".claude.json"
data = json.loads(file.read_text()) if file.exists() else {{}}
servers = data.setdefault("mcpServers", {{}})
match sys.argv[1:]:
    case ["mcp", "add-json", name, text, "-s", "user"] if name not in servers:
        servers[name] = json.loads(text)
    case ["mcp", "remove", name, "-s", "user"] if name in servers:
        del servers[name]
    case _:
        sys.exit("MCP server already exists, or not at all")
file.write_text(json.dumps(data))
"""


def test_claude_code_writes_its_file_itself(home: Path, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "claude"
    program.parent.mkdir()
    program.write_text(CLAUDE.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    path = os.pathsep.join([str(program.parent), "/usr/bin", "/bin"])
    (home / ".claude.json").write_text('{"numStartups": 3}')
    for limit in ("5", "6"):
        code, out, err = run(home, "install", "claude-code", "--yes", "--max-cost-usd", limit, PATH=path)
        assert code == 0, err
        assert "Claude Code: works, 6 tools" in out
        data = json.loads((home / ".claude.json").read_text())
        assert data["mcpServers"]["batches"]["args"] == ["serve", "--max-cost-usd", limit]
        assert data["numStartups"] == 3
    code, out, _ = run(home, "uninstall", "claude-code", "--yes", PATH=path)
    assert (code, out.splitlines()[-1]) == (0, "Claude Code: entry removed; start a new session")
    assert json.loads((home / ".claude.json").read_text()) == {"numStartups": 3, "mcpServers": {}}


def test_when_claude_fails_that_is_said_with_what_to_paste(home: Path, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "claude"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho no >&2\nexit 3\n")
    program.chmod(0o755)
    path = os.pathsep.join([str(program.parent), "/usr/bin", "/bin"])
    code, out, err = run(home, "install", "claude-code", "--yes", PATH=path)
    assert code == 1
    assert "Claude Code: left as it is: " in err
    assert "failed with exit code 3: no" in err
    assert '"mcpServers": {' in out
