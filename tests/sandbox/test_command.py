"""The flags of `batches-mcp sandbox` that steer answers."""

import subprocess
import sys

from batches_mcp.sandbox import Inferred


def _run(*arguments: str) -> tuple[int, str, str]:
    ran = subprocess.run([sys.executable, "-m", "batches_mcp", "sandbox", *arguments], capture_output=True, text=True)
    return ran.returncode, ran.stdout, ran.stderr


def test_the_switches_are_listed() -> None:
    code, out, _ = _run("--inferred", "help")
    assert code == 0
    assert [line.partition("=")[0] for line in out.splitlines()] == [switch.name for switch in Inferred.switches()]
    assert "cancel-ended=400|409|200" in out


def test_a_choice_that_does_not_exist() -> None:
    code, out, err = _run("--inferred", "cancel-ended=201")
    assert (code, out) == (2, "")
    assert "--inferred: cancel-ended is one of 400, 409, 200, not '201'" in err
    assert _run("--tier", "bronze")[0] == 2
