"""`run` when results come wrong, and when two of them carry out the same job at once."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batches_mcp.sandbox import Sandbox, running_sandbox
from tests.support.jobs import Shell

ROWS = 5


@pytest.fixture(scope="module")
def quick() -> Iterator[Sandbox]:
    """A sandbox whose batches end in a moment."""
    with running_sandbox(process_seconds=0.2, retry_after_seconds=0) as running:
        yield running


@pytest.fixture
def shell(quick: Sandbox, tmp_path: Path) -> Shell:
    return Shell(tmp_path, quick, f"sk-ant-{uuid.uuid4().hex}")


@pytest.mark.parametrize(
    ("fault", "options"),
    [
        ("repeat_rows", {"rows": 1, "lines": 1}),
        ("foreign_rows", {"rows": 2, "lines": 2}),
        ("garble_rows", {"rows": 0, "lines": 5}),
        ("cut", {"rows": 3, "mid_row": True}),
        ("endless", {}),
    ],
)
def test_wrong_results_do_not_keep_a_job_from_its_end(fault: Any, options: dict[str, Any], shell: Shell) -> None:
    shell.write("in.jsonl", ["hello"] * ROWS)
    shell.sandbox.faults.add(fault, on="results", key=shell.key, **options)
    done = shell.run("run", "in.jsonl", "-o", "out.jsonl")
    assert done.code == 0, done.err
    rows = [json.loads(line) for line in (shell.folder / "out.jsonl").read_bytes().splitlines()]
    assert [row["custom_id"] for row in rows] == [f"row-{number}" for number in range(ROWS)]
    assert {row["result"]["type"] for row in rows} == {"succeeded"}
    assert shell.creates == 1


def test_two_of_the_same_job_at_once(shell: Shell) -> None:
    shell.write("in.jsonl", ["hello"] * ROWS * 4)
    with (
        shell.running("run", "in.jsonl", "-o", "one.jsonl") as one,
        shell.running("run", "in.jsonl", "-o", "other.jsonl") as other,
    ):
        said = [process.communicate(timeout=60)[1].decode() for process in (one, other)]
    assert (one.returncode, other.returncode) == (0, 0), said
    assert (shell.folder / "one.jsonl").read_bytes() == (shell.folder / "other.jsonl").read_bytes()
    assert (shell.folder / "one.jsonl").read_bytes().count(b"\n") == ROWS * 4
    assert shell.creates == 4
