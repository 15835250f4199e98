"""What `batches-mcp run` leaves when it is stopped, and what it does about batches that are no longer there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batches_mcp.core.state import StateFolder
from batches_mcp.sandbox import ManualClock, Sandbox, running_sandbox
from batches_mcp.store.entry import Entry, State
from batches_mcp.store.folders import FolderState
from batches_mcp.store.records import all_ledgers
from tests.support.jobs import Done, Shell, ids
from tests.support.servers import DELETE

RUN = ("run", "in.jsonl", "-o", "out.jsonl", "--report", "report.json")
DAY_S = 86_400.0
UNDER_WAY = "A create was under way: if it made a batch, the same command finds it, and sends nothing twice."


@pytest.fixture
def held() -> Iterator[Sandbox]:
    """A sandbox whose batches end when a test says so."""
    with running_sandbox(clock=ManualClock(), retry_after_seconds=0) as running:
        yield running


@pytest.fixture
def shell(held: Sandbox, tmp_path: Path) -> Shell:
    return Shell(tmp_path, held, f"sk-ant-{uuid.uuid4().hex}")


def entries(state: Path) -> list[Entry]:
    """What the ledgers hold."""
    with all_ledgers(FolderState(StateFolder(state))) as ledgers:
        return [entry for ledger in ledgers.values() for entry in ledger.entries()]


def ended(shell: Shell, process: subprocess.Popen[bytes]) -> Done:
    """A run whose batches end as soon as they are created."""
    while process.poll() is None:
        for batch in shell.batches():
            if batch["processing_status"] != "ended":
                shell.sandbox.end(batch["id"])
    out, err = process.communicate(timeout=60)
    return Done(process.returncode, out, err.decode())


def run(shell: Shell, *more: str) -> Done:
    """Do the job to its end; OUT is what this run makes of it."""
    (shell.folder / "out.jsonl").unlink(missing_ok=True)
    with shell.running(*RUN, *more) as process:
        return ended(shell, process)


def report(shell: Shell) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((shell.folder / "report.json").read_text())
    return found


def delete_with_the_tool(shell: Shell, batch_id: str) -> None:
    done = shell.run("call", DELETE, f"message_batch_id={batch_id}")
    assert done.code == 0, done.err


def forget(state: Path) -> None:
    """What is left when the ledger and the copies of results and requests are past their time."""
    with all_ledgers(FolderState(StateFolder(state))) as ledgers:
        for ledger in ledgers.values():
            ledger.drop([entry.key for entry in ledger.entries()])
    for folder in (*state.glob("*/spool"), *state.glob("*/kept")):
        shutil.rmtree(folder)


def whole_body_sent(state: Path) -> None:
    """Wait until the last byte of a create is on its way."""
    deadline_s = time.monotonic() + 30
    while not any(entry.sent_s is not None for entry in entries(state)):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_the_time_of_a_job_counts_from_its_beginning(shell: Shell) -> None:
    shell.write("in.jsonl", ["hello"] * 5)
    with shell.running(*RUN) as process:
        shell.until(1, "created")
        shell.until(len(shell.requests()) + 1)
        process.kill()
        process.wait(30)
    shell.sandbox.clock.advance(3 * 3600)
    resumed = run(shell)
    assert resumed.code == 0, resumed.err
    assert "time        3 h 0 min\n" in resumed.err
    took_s = report(shell)["seconds"]
    assert 3 * 3600 - 1 <= took_s < 4 * 3600  # the API tells its time in whole seconds
    # Written once more a day later, it took no longer; begun anew, it has a time of its own.
    shell.sandbox.clock.advance(DAY_S)
    assert run(shell).code == 0
    assert report(shell)["seconds"] == took_s
    assert run(shell, "--fresh").code == 0
    assert report(shell)["seconds"] < 3 * 3600


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
class TestStoppedWhileACreateIsUnderWay:
    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_a_create_that_is_answered_at_once_is_not_left_in_doubt(
        self, shell: Shell, state: Path, number: signal.Signals, code: int
    ) -> None:
        shell.write("in.jsonl", ["hello"])
        shell.sandbox.faults.add("delay", on="create", key=shell.key, seconds=0.5)
        with shell.running(*RUN) as process:
            whole_body_sent(state)
            done = shell.stopped(process, number)
        assert done.code == code, done.err
        [entry] = entries(state)
        assert entry.state is State.ACCEPTED, done.err
        [batch] = shell.batches()
        assert batch["id"] == entry.batch_id
        # What became of it is known, and told.
        assert "What is in progress at the API (1 batch) goes on" in done.err
        assert UNDER_WAY not in done.err
        shell.sandbox.end(batch["id"])
        resumed = shell.run(*RUN)
        assert (resumed.code, shell.creates) == (0, 1), resumed.err

    def test_a_create_that_is_not_answered_is_not_waited_for(self, shell: Shell, state: Path) -> None:
        shell.write("in.jsonl", ["hello"])
        shell.sandbox.faults.add("delay", on="create", key=shell.key, seconds=3000)
        with shell.running(*RUN) as process:
            whole_body_sent(state)
            done = shell.stopped(process, signal.SIGINT)
        assert done.code == 130, done.err
        entry: Entry
        [entry] = entries(state)
        assert not entry.settled
        assert done.err.splitlines()[-1] == f"Stopped. {UNDER_WAY} To resume, give the same command again."


class TestABatchThatWasDeletedWithTheTool:
    def test_its_rows_are_gone_and_not_sent_again(self, shell: Shell) -> None:
        shell.write("in.jsonl", ["hello"] * 12)
        assert run(shell).code == 0
        delete_with_the_tool(shell, shell.batches()[1]["id"])
        done = run(shell)
        assert (done.code, shell.creates) == (1, 3), done.err
        assert "12 requests in 3 batches: all submitted before" in done.err
        assert "The results of 5 rows are gone" in done.err
        assert "--fresh sends all rows of the job again, these as well, and they are paid again." in done.err
        assert ids(shell.folder / "out.jsonl") == [f"row-{number}" for number in (0, 1, 2, 3, 4, 10, 11)]
        assert report(shell)["missing"]["reasons"] == {"results_gone": 5}
        assert [batch["status"] for batch in report(shell)["batches"]] == ["ended", "deleted", "ended"]
        fresh = run(shell, "--fresh")
        assert (fresh.code, shell.creates) == (0, 6), fresh.err

    def test_before_its_results_were_read(self, shell: Shell) -> None:
        shell.write("in.jsonl", ["hello"])
        with shell.running(*RUN) as process:
            # A look at it comes after the create was written down.
            shell.until(1, "created")
            shell.until(len(shell.requests()) + 1)
            process.kill()
            process.wait(30)
        [batch] = shell.batches()
        shell.sandbox.end(batch["id"])
        delete_with_the_tool(shell, batch["id"])
        done = run(shell)
        assert (done.code, shell.creates) == (1, 1), done.err
        assert report(shell)["missing"]["reasons"] == {"results_gone": 1}

    def test_rows_that_it_sent_again_are_not_sent_a_third_time(self, shell: Shell) -> None:
        shell.write("in.jsonl", ["hello", "[[sandbox:expired]]"])
        assert run(shell, "--retries", "1").code == 1
        _, again = shell.batches()
        delete_with_the_tool(shell, again["id"])
        done = run(shell, "--retries", "1")
        assert (done.code, shell.creates) == (1, 2), done.err
        # The outcome that it had in the batch before.
        assert ids(shell.folder / "out.jsonl") == ["row-0", "row-1"]
        assert report(shell)["outcomes"]["expired"] == 1

    def test_a_fresh_job_whose_batch_is_gone_ends_like_any_other(self, shell: Shell) -> None:
        shell.write("in.jsonl", ["hello"])
        assert run(shell).code == 0
        with shell.running(*RUN, "--fresh", "--overwrite") as process:
            shell.until(2, "created")
            shell.until(len(shell.requests()) + 1)
            process.kill()
            process.wait(30)
        fresh = shell.batches()[1]["id"]
        shell.sandbox.end(fresh)
        delete_with_the_tool(shell, fresh)
        resumed = run(shell, "--fresh")
        assert (resumed.code, shell.creates) == (1, 2), resumed.err
        assert report(shell)["missing"]["reasons"] == {"results_gone": 1}
        anew = run(shell, "--fresh")
        assert (anew.code, shell.creates) == (0, 3), anew.err


class TestABatchThatTheLedgerForgot:
    def test_it_is_taken_up_as_long_as_the_api_has_it(self, shell: Shell, state: Path) -> None:
        shell.write("in.jsonl", ["hello"] * 7)
        assert run(shell).code == 0
        forget(state)
        done = run(shell)
        assert (done.code, shell.creates) == (0, 2), done.err
        assert len(ids(shell.folder / "out.jsonl")) == 7

    def test_its_rows_are_gone_and_not_sent_again(self, shell: Shell, state: Path) -> None:
        shell.write("in.jsonl", ["hello"] * 7)
        assert run(shell).code == 0
        shell.sandbox.clock.advance(31 * DAY_S)
        forget(state)
        done = run(shell)
        assert (done.code, shell.creates) == (1, 2), done.err
        assert report(shell)["missing"]["reasons"] == {"results_gone": 7}
        fresh = run(shell, "--fresh")
        assert (fresh.code, shell.creates) == (0, 4), fresh.err
        # Without it, the latest batches are taken up, also when the ledger has forgotten these as well.
        forget(state)
        again = run(shell)
        assert (again.code, shell.creates) == (0, 4), again.err
        assert [attempt["batch_id"] for attempt in report(shell)["batches"]] == []

    def test_rows_that_were_sent_again_are_not_sent_a_third_time(self, shell: Shell, state: Path) -> None:
        shell.write("in.jsonl", ["hello", "[[sandbox:expired]]"])
        assert run(shell, "--retries", "1").code == 1
        forget(state)
        done = run(shell, "--retries", "2")
        assert (done.code, shell.creates) == (1, 2), done.err
        assert ids(shell.folder / "out.jsonl") == ["row-0", "row-1"]

    def test_a_job_is_new_when_its_folder_is_past_its_time(self, shell: Shell, state: Path) -> None:
        shell.write("in.jsonl", ["hello"])
        assert run(shell).code == 0
        shell.sandbox.clock.advance(31 * DAY_S)
        forget(state)
        [folder] = state.glob("*/runs/*")
        before_s = time.time() - 28.9 * DAY_S
        os.utime(folder, (before_s, before_s))
        assert (run(shell).code, shell.creates) == (1, 1)
        before_s -= 0.2 * DAY_S
        os.utime(folder, (before_s, before_s))
        assert (run(shell).code, shell.creates) == (0, 2)


def test_a_line_of_what_was_made_that_is_cut_off_counts_for_nothing(shell: Shell, state: Path) -> None:
    """As a loss of power may leave it."""
    shell.write("in.jsonl", ["hello"] * 7)
    assert run(shell).code == 0
    [made] = state.glob("*/runs/*/made.jsonl")
    lines = made.read_bytes().splitlines(keepends=True)
    made.write_bytes(lines[0] + lines[1][:20])
    again = run(shell)
    assert (again.code, shell.creates) == (0, 2), again.err
    # What the ledger still knows has been written down anew.
    forget(state)
    done = run(shell)
    assert (done.code, shell.creates) == (0, 2), done.err
