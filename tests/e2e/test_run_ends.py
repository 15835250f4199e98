"""What `batches-mcp run` leaves when it is stopped, and what it does about batches that are no longer there."""

from __future__ import annotations

import signal
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from batches_mcp.sandbox import ManualClock, Sandbox, running_sandbox
from batches_mcp.store.entry import Entry, State
from batches_mcp.store.ledger import Ledger
from batches_mcp.store.records import LEDGER
from tests.support.jobs import Shell

RUN = ("run", "in.jsonl", "-o", "out.jsonl", "--report", "report.json")
UNDER_WAY = "A create was under way: if it made a batch, the same command finds it, and sends nothing twice."


@pytest.fixture
def held() -> Iterator[Sandbox]:
    """A sandbox whose batches end when a test says so."""
    with running_sandbox(clock=ManualClock(), retry_after_seconds=0) as running:
        yield running


@pytest.fixture
def shell(held: Sandbox, tmp_path: Path) -> Shell:
    return Shell(tmp_path, held, f"sk-ant-{uuid.uuid4().hex}")


def ledger(state: Path) -> Ledger:
    """The only one there is."""
    [path] = state.glob(f"*/{LEDGER}")
    return Ledger(path)


def whole_body_sent(state: Path) -> None:
    """Wait until the last byte of a create is on its way."""
    deadline_s = time.monotonic() + 30
    while not any(entry.sent_s is not None for path in state.glob(f"*/{LEDGER}") for entry in Ledger(path).entries()):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


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
        [entry] = ledger(state).entries()
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
        [entry] = ledger(state).entries()
        assert not entry.settled
        assert done.err.splitlines()[-1] == f"Stopped. {UNDER_WAY} To resume, give the same command again."
