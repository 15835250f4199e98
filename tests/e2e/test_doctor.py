"""`doctor` as a person runs it: lines, JSON, a bundle for a bug report, and the exit code."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from batches_mcp.sandbox import Sandbox
from tests.e2e.test_install import KEY, home, run, store

__all__ = ["home"]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the home of these tests is a POSIX one")


def test_all_is_well_after_an_install(home: Path, sandbox: Sandbox) -> None:
    store(home)
    assert run(home, "install", "cursor", "gemini", "--yes", "--base-url", sandbox.url)[0] == 0
    code, out, err = run(home, "doctor", "--base-url", sandbox.url)
    assert code == 0, out + err
    assert "ok   start: first answer after" in out or "warn start: first answer after" in out
    assert f"ok   key: sk-ant-...WXYZ, from {home}/.config/batches-mcp/key, the stored key, works" in out
    assert f"ok   Cursor: {home}/.cursor/mcp.json: batches" in out
    assert "ok   Gemini CLI: " in out
    assert "ok   state: " in out
    assert KEY not in out + err


def test_what_is_wrong_is_a_line_with_what_mends_it(home: Path, tmp_path: Path) -> None:
    path = home / ".cursor" / "mcp.json"
    env = {"ANTHROPIC_API_KEY": KEY}
    path.write_text(json.dumps({"mcpServers": {"batches": {"command": "/gone/bin/batches-mcp", "env": env}}}))
    bundle = tmp_path / "report.json"
    code, out, err = run(
        home,
        "doctor",
        "--json",
        "--bundle",
        str(bundle),
        ANTHROPIC_API_KEY="${user_config.api_key}",
        HTTPS_PROXY="http://u:p@x",
    )
    assert code == 1
    findings = json.loads(out)
    assert {tuple(each) for each in findings} == {("level", "subject", "text", "fix")}
    found = {(each["level"], each["subject"], each["fix"]) for each in findings}
    assert ("fix", "key", "batches-mcp key set") in found
    assert ("warn", "key", "unset ANTHROPIC_API_KEY") in found
    assert ("fix", "Cursor", "batches-mcp install cursor") in found
    assert ("fix", "Cursor", "batches-mcp install cursor --name batches") in found
    report = bundle.read_text()
    assert json.loads(report)["variables"] == ["ANTHROPIC_API_KEY", "BATCHES_MCP_STATE_DIR"]
    for secret in (KEY, "u:p@x", str(home)):
        assert secret not in report
    assert "~/.cursor/mcp.json" in report
    assert bundle.stat().st_mode & 0o777 == 0o600
    assert KEY not in out + err


def test_a_key_that_the_api_refuses_is_to_be_fixed(home: Path, sandbox: Sandbox) -> None:
    store(home, "sk-ant-api03-invalid-invalid-invalid")
    code, out, _ = run(home, "doctor", "--base-url", sandbox.url)
    assert code == 1
    assert "does not work: authentication_error (HTTP 401" in out
    assert "-> batches-mcp key set" in out
