"""The contract that every release of the official SDK can keep, under its current release and under a 0.x."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anthropic
import pytest

from batches_mcp.sandbox import ManualClock, Sandbox, running_sandbox

SCRIPT = Path(__file__).with_name("sdk_contract.py")
CHECKS = 9


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """One of the contract's own: it begins with a reset."""
    with running_sandbox(clock=ManualClock()) as sandbox:
        yield sandbox


def _keep(python: Path, sandbox: Sandbox) -> str:
    command = [str(python), "-I", "-W", "error::ResourceWarning", str(SCRIPT), sandbox.url]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("ok ") == CHECKS
    return ran.stdout.split()[-1]


def test_current_release(sandbox: Sandbox) -> None:
    assert _keep(Path(sys.executable), sandbox) == anthropic.__version__
    entry = next(entry for entry in sandbox.requests if entry.method == "POST")
    assert str(entry.header("authorization")).startswith("Bearer ")
    assert entry.header("x-api-key") is None
    assert entry.header("anthropic-version") == "2026-10-21"


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_0_x_release(sandbox: Sandbox, pytestconfig: pytest.Config) -> None:
    python = _environment(pytestconfig.cache.mkdir("anthropic-0.x"), "anthropic==0.*")
    version = _keep(python, sandbox)
    assert version.startswith("0.")
    sent = [entry for entry in sandbox.requests if "beta=true" in entry.query]
    assert sent
    for entry in sent:
        assert "message-batches-2024-09-24" in str(entry.header("anthropic-beta"))
        assert entry.header("x-api-key") is not None
        assert entry.header("authorization") is None
        assert entry.header("anthropic-version") == "2023-06-01"


def _environment(folder: Path, requirement: str) -> Path:
    """The interpreter of a virtual environment with one package, made when it is not there yet."""
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    finished = folder / "finished"
    if not finished.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", requirement], check=True)
        finished.touch()
    return python
