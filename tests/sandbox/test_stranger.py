"""A stranger's project: an environment with the wheel, the official SDK and pytest, and the example of the manual."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_the_example_in_a_clean_environment(tmp_path: Path) -> None:
    """Builds and installs from the package registry."""
    wheels, environment, project = (tmp_path / name for name in ("wheels", "environment", "project"))
    _run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(wheels), str(CHECKOUT))
    (wheel,) = wheels.glob("*.whl")
    _run(sys.executable, "-m", "venv", str(environment))
    python = str(environment / ("Scripts" if os.name == "nt" else "bin") / "python")
    _run(python, "-m", "pip", "install", "--quiet", str(wheel), "anthropic>=2.11,<3", "pytest")

    project.mkdir()
    manual = (CHECKOUT / "docs" / "sandbox.md").read_text("utf-8")
    (example,) = (block for block in re.findall(r"```python\n(.*?)```", manual, re.DOTALL) if "pytest" in block)
    (project / "test_greetings.py").write_text(example)
    assert "3 passed" in _run(python, "-m", "pytest", "-q", "-W", "error", cwd=project)
    listed = _run(python, "-m", "pip", "list")
    assert "hypothesis" not in listed
    # The page comes with the wheel, too.
    serve = "import urllib.request, batches_mcp.sandbox as s\nwith s.running_sandbox() as r:\n    print(urllib.request.urlopen(r.url).status, s.__file__)"
    status, file = _run(python, "-c", serve, cwd=project).split()
    assert status == "200"
    assert file.startswith(str(environment))


def _run(*command: str, cwd: Path | None = None) -> str:
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    ran = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=clean)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout
