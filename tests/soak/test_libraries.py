"""What others wrote runs batches unchanged: official SDKs and two libraries, over our REST and against the sandbox.

Run by `make soak`, which installs each into a folder of its own in the one that BATCHES_MCP_LIBRARIES names.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from batches_mcp.sandbox import ManualClock, Sandbox, running_sandbox
from tests.support.rest import rest_server
from tests.support.servers import STATE_DIR, environment

pytestmark = pytest.mark.soak

LIBRARIES = Path(os.environ.get("BATCHES_MCP_LIBRARIES", ".libraries")).absolute()
SCRIPTS = Path(__file__).parent / "libraries"
LIFE = (SCRIPTS / "life.mjs").read_text("utf-8")

# Each SDK: how its script is run.
SDKS: Mapping[str, Sequence[str]] = {
    "python": (str(LIBRARIES / "sdk" / "bin" / "python"), str(SCRIPTS / "life.py")),
    "python-0": (str(LIBRARIES / "sdk-0" / "bin" / "python"), str(SCRIPTS / "life.py")),
    # A text is looked up from the working directory, which has the package.
    "typescript": ("node", "--input-type=module", "--eval", LIFE),
}


@pytest.fixture(params=["rest", "sandbox"])
def upstream(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Sandbox, str]]:
    """A sandbox, and the URL that a library is given: the sandbox's own, or that of our REST before it."""
    with running_sandbox(clock=ManualClock()) as sandbox:
        if request.param == "sandbox":
            yield sandbox, sandbox.url
        else:
            flags = ("--allow-duplicates", "--max-cost-usd", "1000")
            with rest_server(sandbox.url, *flags, **{STATE_DIR: str(tmp_path / "state")}) as served:
                yield sandbox, served.url


@contextmanager
def program(command: Sequence[str], url: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A running program that takes the API to be at `url`."""
    variables = environment("any key", ANTHROPIC_BASE_URL=url)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=folder, env=variables
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def story(command: Sequence[str], url: str, folder: Path, sandbox: Sandbox) -> dict[str, Any]:
    """What a script tells at its end; whenever it asks for it, time goes on."""
    last = ""
    with program(command, url, folder) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        assert running.stderr is not None
        for line in running.stdout:
            last = line
            if line.strip() == "advance":
                sandbox.clock.advance(600)
                running.stdin.write("\n")
                running.stdin.flush()
        assert running.wait() == 0, running.stderr.read()
    told: dict[str, Any] = json.loads(last)
    return told


@pytest.mark.parametrize("sdk", SDKS)
def test_an_official_sdk_runs_the_life_of_a_batch(upstream: tuple[Sandbox, str], sdk: str) -> None:
    sandbox, url = upstream
    told = story(SDKS[sdk], url, LIBRARIES, sandbox)
    batch_id = told.pop("id")
    assert told == {
        "counted": True,
        "listed": True,
        "outcomes": {"expired": 1, "succeeded": 300},
        "canceled": "canceling",
        "ended": "ended",
        "deleted": "message_batch_deleted",
        "error": ["NotFoundError", 404, "false"],
    }
    deleted = next(i for i, each in enumerate(sandbox.requests) if each.method == "DELETE")
    after = [each for each in sandbox.requests[deleted + 1 :] if each.path.endswith(batch_id)]
    assert [each.method for each in after] == ["GET"]


def test_instructor_gets_data_of_a_model(upstream: tuple[Sandbox, str]) -> None:
    sandbox, url = upstream
    command = [str(LIBRARIES / "instructor" / "bin" / "python"), str(SCRIPTS / "structured.py")]
    assert story(command, url, LIBRARIES, sandbox) == {"batches": 2, "status": "ended", "listed": 2, "people": 40}


def test_promptbatch_runs_a_prompt_over_files(upstream: tuple[Sandbox, str], tmp_path: Path) -> None:
    sandbox, url = upstream
    files = tmp_path / "files"
    files.mkdir()
    for number in range(12):
        (files / f"f{number}.txt").write_text(f"text {number}", "utf-8")
    header = '+++\nmodel = "claude-haiku-5-5"\nmax_tokens = 64\nextensions = [".txt"]\n+++\n'
    (tmp_path / "task.md").write_text(header + "---prompt---\nSummarize: {{content}}\n", "utf-8")

    def run(*arguments: str) -> str:
        command = [str(LIBRARIES / "promptbatch" / "bin" / "promptbatch"), *arguments]
        with program(command, url, tmp_path) as running:
            out, err = running.communicate()
            assert running.returncode == 0, out + err
            return out + err

    assert "12" in run("run", "task.md", "files", "-o", "out", "--dry-run")
    run("batch", "submit", "task.md", "files", "-o", "out", "--max-cost", "20")
    sandbox.clock.advance(600)
    assert "ended" in run("batch", "status", "out")
    run("batch", "collect", "task.md", "out")
    made = sorted(each.name for each in (tmp_path / "out").glob("f*"))
    assert made == sorted(each.name for each in files.iterdir())
