"""`batches-mcp run` when the answer to a create is lost: it pays once, and writes no row of another program's batch."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from batches_mcp.sandbox import ManualClock, Sandbox, running_sandbox
from batches_mcp.store.entry import DOUBT_S
from tests.support.jobs import Shell, ids

TEMPLATE = json.dumps(
    {"model": "claude-haiku-5-5", "max_tokens": 50, "messages": [{"role": "user", "content": "{{t}}"}]}
)


@pytest.fixture
def held() -> Iterator[Sandbox]:
    """A sandbox whose batches end when a test says so."""
    with running_sandbox(clock=ManualClock(), retry_after_seconds=0) as running:
        yield running


@pytest.fixture
def shell(held: Sandbox, tmp_path: Path) -> Shell:
    return Shell(tmp_path, held, f"sk-ant-{uuid.uuid4().hex}", rows_per_batch=10)


def looked(shell: Shell, times: int = 5) -> None:
    """Wait until the list was read so many times more."""
    lists = [each for each in shell.requests() if each.method == "GET" and each.path.endswith("/batches")]
    shell.until_lists(len(lists) + times)


def test_a_create_that_is_carried_out_late_is_paid_once(shell: Shell) -> None:
    shell.write("in.jsonl", ["a", "b", "c"])
    shell.sandbox.faults.add("late_create", on="create", seconds=40)
    with shell.running("run", "in.jsonl", "-o", "out.jsonl") as process:
        looked(shell)
        assert shell.batches() == []
        shell.sandbox.clock.advance(41)
        looked(shell)
        [batch] = shell.batches()
        shell.sandbox.end(batch["id"])
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err.decode()
    assert [each["id"] for each in shell.batches()] == [batch["id"]]
    assert ids(shell.folder / "out.jsonl") == ["row-0", "row-1", "row-2"]


def test_when_doubt_has_ended_it_is_sent_once_more(shell: Shell) -> None:
    shell.write("in.jsonl", ["a", "b", "c"])
    shell.sandbox.faults.add("timeout", on="create")
    with shell.running("run", "in.jsonl", "-o", "out.jsonl") as process:
        looked(shell)
        shell.sandbox.clock.advance(DOUBT_S + 1)
        shell.until(1, "created")
        [batch] = shell.batches()
        shell.sandbox.end(batch["id"])
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err.decode()
    assert len(shell.batches()) == 1


def test_a_batch_of_the_same_size_from_another_state_folder_is_not_taken(shell: Shell) -> None:
    for name in ("mine", "theirs"):
        (shell.folder / f"{name}.csv").write_text("t\n" + "".join(f"{name} {number}\n" for number in range(6)))

    (shell.folder / "template.json").write_text(TEMPLATE)
    flags = ("--template", "template.json")
    shell.sandbox.faults.add("reset", on="create")
    with shell.running("run", "mine.csv", "-o", "mine.jsonl", *flags) as process:
        looked(shell)
        with shell.running("run", "theirs.csv", "-o", "theirs.jsonl", "--state-dir", "elsewhere", *flags) as second:
            shell.until(1, "created")
            [theirs] = shell.batches()
            looked(shell)
            shell.sandbox.end(theirs["id"])
            second.communicate(timeout=60)
        looked(shell)
        assert len(shell.batches()) == 1
        assert not (shell.folder / "mine.jsonl").exists()
        shell.sandbox.clock.advance(DOUBT_S + 1)
        shell.until(2, "created")
        shell.sandbox.end(shell.batches()[-1]["id"])
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err.decode()
    assert len(shell.batches()) == 2
    mine = (shell.folder / "mine.jsonl").read_text()
    assert "mine 3" in mine
    assert "theirs" not in mine
    assert not set(ids(shell.folder / "mine.jsonl")) & set(ids(shell.folder / "theirs.jsonl"))
