"""What installs must not slow what serves: nothing of hosts is imported by a server."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
from click.testing import CliRunner
from batches_mcp.cli import cli
result = CliRunner().invoke(cli, ["serve", "--sandbox"], input="")
assert result.exit_code == 0, result.output
print([name for name in sys.modules if name.startswith(("batches_mcp.hosts", "tomlkit", "ruamel"))])
"""


def test_a_server_imports_nothing_of_hosts() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "[]"), done.stderr
