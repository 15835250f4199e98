"""What installs, and what workers do, must not slow what serves: nothing of it is imported by a server."""

from __future__ import annotations

import re
import subprocess
import sys


def test_a_server_imports_nothing_of_hosts_or_jobs() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "batches_mcp", "serve", "--sandbox"],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    imported = re.findall(r"^import time:.*\| +(\S+)$", done.stderr, re.MULTILINE)
    assert done.returncode == 0, done.stderr[-1000:]
    assert "batches_mcp.serve.stdio" in imported
    assert [name for name in imported if name.startswith(("batches_mcp.hosts", "tomlkit", "ruamel"))] == []
    assert [name for name in imported if name.startswith(("batches_mcp.cluster", "procrastinate", "duckdb"))] == []
