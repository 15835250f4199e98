"""The hosts themselves, from npm, offline: each reads what `install` wrote, starts the server, and speaks with it.

Run by `make hosts`, which puts their programs into the folder that BATCHES_MCP_HOSTS names.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.hosts

PROGRAMS = Path(os.environ.get("BATCHES_MCP_HOSTS", ".hosts/node_modules/.bin")).absolute()
NOWHERE = "http://127.0.0.1:9"

# Our command, which also notes the method of every message that the host sends.
RECORDER = """#!{python}
import json, subprocess, sys
server = subprocess.Popen([{python!r}, "-m", "batches_mcp", *sys.argv[1:]], stdin=subprocess.PIPE)
for line in sys.stdin.buffer:
    with open({log!r}, "a") as log:
        log.write(json.loads(line).get("method", "answer") + "\\n")
    server.stdin.write(line)
    server.stdin.flush()
server.stdin.close()
sys.exit(server.wait())
"""
INSTALL = "import sys; sys.argv = sys.argv[1:]; from batches_mcp.cli import run; sys.exit(run())"


@dataclass(frozen=True)
class RealHost:
    """A command that makes the host connect to its servers, and the messages that this must lead to."""

    words: Sequence[str]
    methods: frozenset[str]
    variables: tuple[tuple[str, str], ...] = ()


CODEX_PROVIDER = f'{{name="x",base_url="{NOWHERE}/v1",request_max_retries=0,stream_max_retries=0}}'
HOSTS = {
    "claude-code": RealHost(["claude", "mcp", "list"], frozenset({"server/discover"})),
    "codex": RealHost(
        ["codex", "exec", "--skip-git-repo-check", "-c", "model_provider=x", "-c", f"model_providers.x={CODEX_PROVIDER}", "hi"],
        frozenset({"initialize", "tools/list"}),
        (("OPENAI_API_KEY", "sk-dummy"),),
    ),
    "gemini": RealHost(["gemini", "mcp", "list"], frozenset({"initialize"}), (("GEMINI_CLI_TRUST_WORKSPACE", "true"),)),
    "copilot": RealHost(
        ["copilot", "-p", "hi", "--allow-all-tools"],
        frozenset({"server/discover", "tools/list"}),
        (
            ("COPILOT_OFFLINE", "true"),
            ("COPILOT_PROVIDER_BASE_URL", f"{NOWHERE}/v1"),
            ("COPILOT_PROVIDER_API_KEY", "x"),
            ("COPILOT_MODEL", "x"),
        ),
    ),
    "opencode": RealHost(["opencode", "mcp", "list"], frozenset({"initialize"})),
    "cline-cli": RealHost(
        ["cline", "-P", "anthropic", "-k", "sk-ant-dummy", "say hi to me"], frozenset({"initialize", "tools/list"})
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTS)
def test_a_real_host_connects_to_what_install_wrote(name: str, tmp_path: Path) -> None:
    host = HOSTS[name]
    assert (PROGRAMS / host.words[0]).exists(), "run `make hosts`"
    home, log, recorder = tmp_path / "home", tmp_path / "log", tmp_path / "bin" / "batches-mcp"
    (home / "project").mkdir(parents=True)
    recorder.parent.mkdir()
    recorder.write_text(RECORDER.format(python=sys.executable, log=str(log)))
    recorder.chmod(0o755)
    path = os.pathsep.join([str(PROGRAMS), os.environ["PATH"]])
    env = {"HOME": str(home), "PATH": path, "TERM": "dumb", "HTTPS_PROXY": NOWHERE, **dict(host.variables)}
    installed = subprocess.run(
        [sys.executable, "-c", INSTALL, str(recorder), "install", name, "--yes", "--base-url", NOWHERE],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert installed.returncode == 0, installed.stdout + installed.stderr
    log.write_text("")
    output = tmp_path / "output"
    with output.open("wb") as said:
        running = subprocess.Popen(
            [PROGRAMS / host.words[0], *host.words[1:]],
            cwd=home / "project", env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
        )  # fmt: skip
        # Some wait for a model that is not there: they have connected long before.
        try:
            running.wait(45)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
    assert host.methods <= set(log.read_text().split()), output.read_text(errors="replace")
    removed = subprocess.run(
        [sys.executable, "-c", INSTALL, str(recorder), "uninstall", name, "--yes"],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert removed.returncode == 0, removed.stdout + removed.stderr
