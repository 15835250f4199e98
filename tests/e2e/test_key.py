"""`key`: stored once, shown masked, found by every command and by the server; and what counts as no key at all."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from batches_mcp.sandbox import Sandbox
from tests.support.servers import CONFIG_HOME, LIST, command, environment, running

KEY = "sk-ant-api03-abcdefghijklmnop-WXYZ"
OTHER = "sk-ant-api03-qrstuvwxyzabcdef-1234"


def run(*arguments: str, key: str | None = None, stdin: str = "", **env: str) -> tuple[int, str, str]:
    done = subprocess.run(
        command(*arguments),
        env=environment(key, **env),
        input=stdin.encode(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture
def stored() -> Path:
    """Where the key of this test would be stored."""
    return Path(os.environ[CONFIG_HOME]) / "batches-mcp" / "key"


def test_a_stored_key_is_used_by_every_command_and_forgotten(sandbox: Sandbox, stored: Path) -> None:
    code, out, err = run("key", "set", "--base-url", sandbox.url, stdin=f"{KEY}\n")
    assert (code, out) == (0, "")
    assert f"the key sk-ant-...WXYZ is stored in {stored}" in err
    assert KEY not in err
    assert sandbox.requests[-1].query == "limit=1"
    assert stored.read_text() == f"{KEY}\n"
    if sys.platform != "win32":
        assert (stored.stat().st_mode & 0o777, stored.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert [path.name for path in stored.parent.iterdir()] == ["key"]

    assert run("call", LIST, "--base-url", sandbox.url)[0] == 0
    shown = f"sha256:{hashlib.sha256(KEY.encode()).hexdigest()[:12]}"
    assert dict(sandbox.requests[-1].headers)["x-api-key"] == shown
    assert run("key", "show")[:2] == (0, f"sk-ant-...WXYZ, from {stored}, the stored key\n")

    assert run("key", "forget")[0] == 0
    assert not stored.exists()
    code, out, err = run("key", "show")
    assert (code, out) == (1, "")
    assert "there is no key; `batches-mcp key set` stores one" in err
    assert "no key is stored" in run("key", "forget")[2]


def test_the_environment_goes_before_a_file_and_a_file_before_the_stored_key(
    sandbox: Sandbox, stored: Path, tmp_path: Path
) -> None:
    assert run("key", "set", "--base-url", sandbox.url, stdin=KEY)[0] == 0
    file = tmp_path / "key"
    file.write_text(OTHER)
    file.chmod(0o600)
    found = run("key", "show", ANTHROPIC_API_KEY_FILE=str(file))[1]
    assert found == f"sk-ant-...1234, from {file}, which ANTHROPIC_API_KEY_FILE names\n"
    found = run("key", "show", ANTHROPIC_API_KEY=OTHER)[1]
    assert found == "sk-ant-...1234, from the environment variable ANTHROPIC_API_KEY\n"
    assert run("key", "show", ANTHROPIC_API_KEY="${user_config.api_key}")[1].startswith("sk-ant-...WXYZ")
    said = run("key", "set", "--base-url", sandbox.url, stdin=KEY, ANTHROPIC_API_KEY=OTHER)[2]
    assert "the key in the environment variable ANTHROPIC_API_KEY goes before it here" in said


# Makes the terminal that is named the process's own, and becomes the command.
IN_TERMINAL = """
import os, sys
os.setsid()
terminal = os.open(sys.argv[1], os.O_RDWR)
for number in range(3):
    os.dup2(terminal, number)
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")
def test_a_person_is_asked_without_showing_the_key(sandbox: Sandbox, stored: Path) -> None:
    ours, theirs = os.openpty()
    words = [sys.executable, "-c", IN_TERMINAL, os.ttyname(theirs), *command("key", "set", "--base-url", sandbox.url)]
    with subprocess.Popen(words, env=environment(None)) as process:
        seen = b""
        while b"API key: " not in seen:
            seen += os.read(ours, 1000)
        os.write(ours, f"{KEY}\n".encode())
        while b"is stored in" not in seen:
            seen += os.read(ours, 1000)
        assert process.wait(60) == 0
    os.close(ours)
    os.close(theirs)
    assert KEY.encode() not in seen
    assert stored.read_text() == f"{KEY}\n"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", "nothing was given"),
        ("sk-ant-...", "is a placeholder, not a key"),
        ("${user_config.api_key}", "is a placeholder, not a key"),
        ("sk-ant-oat01-abcdefghijklmnopqrst", "an OAuth token"),
        ("sk-ant-admin01-abcdefghijklmnopqrst", "an admin key"),
        ("hunter2-hunter2-hunter2", "found 23 characters of another form"),
        ("sk-ant-api03-abc def ghi jkl mno", "of another form"),
    ],
)
def test_what_is_no_key_is_neither_stored_nor_repeated(stored: Path, given: str, words: str) -> None:
    code, out, err = run("key", "set", "--base-url", "http://127.0.0.1:9", stdin=given)
    assert (code, out) == (2, "")
    assert words in err
    assert "hunter2" not in err
    assert not stored.exists()


def test_a_key_that_the_api_refuses_is_not_stored(stored: Path) -> None:
    with running(["sandbox", "--port", "0"]) as process:
        url = process.say_until(r"(http://127\.0\.0\.1:\d+)")[1]
        code, _, err = run("key", "set", "--base-url", url, stdin=f"{KEY.replace('api03', 'invalid')}\n")
    assert code == 1, err
    assert "was not stored, because the API refuses it: authentication_error (HTTP 401" in err
    assert not stored.exists()


def test_a_key_that_cannot_be_tried_is_stored_and_that_is_said(stored: Path) -> None:
    code, _, err = run("key", "set", "--base-url", "http://127.0.0.1:9", stdin=KEY)
    assert code == 0
    assert "it could not be tried: " in err
    assert stored.read_text() == f"{KEY}\n"


@pytest.mark.parametrize("content", ["", "sk-ant-...\n"])
def test_a_stored_key_that_is_none_counts_as_missing(stored: Path, content: str) -> None:
    stored.parent.mkdir(parents=True)
    stored.write_text(content)
    stored.chmod(0o600)
    code, out, err = run("call", LIST, "--base-url", "http://127.0.0.1:9")
    assert (code, out) == (1, "")
    assert "the stored key: " in err
    assert "missing_variable" in err


@pytest.mark.parametrize(
    "placeholder",
    ["${user_config.api_key}", "$ANTHROPIC_API_KEY", "<your key>", "sk-ant-...", "${{ secrets.KEY }}", "%ANTHROPIC_API_KEY%"],
)  # fmt: skip
def test_a_placeholder_is_no_key_and_is_never_sent(sandbox: Sandbox, placeholder: str) -> None:
    before = sandbox.requests[-1:]
    code, out, err = run("call", LIST, "--base-url", sandbox.url, key=placeholder)
    assert (code, out) == (1, "")
    assert f"ANTHROPIC_API_KEY holds only the placeholder {placeholder}, which was not filled in" in err
    assert "batches-mcp key set" in err
    assert sandbox.requests[-1:] == before


def test_a_flag_whose_twin_holds_a_placeholder_has_its_default(sandbox: Sandbox) -> None:
    env = {
        "BATCHES_MCP_MAX_COST_USD": "${user_config.cap}",
        "BATCHES_MCP_READ_ONLY": "${user_config.read_only}",
        "BATCHES_MCP_ROOT": "${user_config.folder}",
        "ANTHROPIC_BASE_URL": "$ANTHROPIC_BASE_URL",
    }
    code, _, err = run("call", LIST, "--base-url", sandbox.url, key=KEY, **env)
    assert code == 0
    for name in ("BATCHES_MCP_MAX_COST_USD", "BATCHES_MCP_READ_ONLY", "BATCHES_MCP_ROOT"):
        assert f"{name} holds only the placeholder" in err


def test_a_token_that_is_a_placeholder_lets_nobody_in() -> None:
    code, _, err = run("serve", "--transport", "http", "--host", "0.0.0.0", BATCHES_MCP_TOKEN="${TOKEN}")
    assert code == 2
    assert "BATCHES_MCP_TOKEN holds only the placeholder ${TOKEN}" in err
    assert "--host 0.0.0.0 lets others than this machine reach the server" in err
