"""State that stays: after a restart, after a kill, and for one sandbox at a time."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from batches_mcp.sandbox import ManualClock, StateFileError, SystemClock, running_sandbox

Ask = Callable[..., dict[str, Any]]

PATH = "/v1/messages/batches"
HEADERS = {"x-api-key": "k", "anthropic-version": "2026-10-21"}

SERVE = """
import sys
from pathlib import Path
from batches_mcp.sandbox import SandboxConfig, run_sandbox
run_sandbox("127.0.0.1", 0, SandboxConfig(state=Path(sys.argv[1]), process_seconds=0))
"""


@contextmanager
def _process(state: Path) -> Iterator[tuple[subprocess.Popen[str], httpx2.Client]]:
    with subprocess.Popen([sys.executable, "-c", SERVE, str(state)], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            url = process.stderr.readline().split()[-1]
            with httpx2.Client(base_url=url, headers=HEADERS, timeout=30) as http:
                yield process, http
        finally:
            process.kill()


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_state_survives_a_kill(tmp_path: Path, ask: Ask) -> None:
    state = tmp_path / "state.sqlite"
    with _process(state) as (process, http):
        ids = [http.post(PATH, json={"requests": [ask(f"r{n}") for n in range(500)]}).json()["id"] for _ in range(2)]
        results = http.get(f"{PATH}/{ids[0]}/results").content
        http.delete(f"{PATH}/{ids[1]}")
        process.send_signal(signal.SIGKILL)
        process.wait()
    with _process(state) as (_, http):
        assert [batch["id"] for batch in http.get(PATH).json()["data"]] == ids[:1]
        assert http.get(f"{PATH}/{ids[0]}/results").content == results
        assert http.get(f"{PATH}/{ids[1]}").headers["x-sandbox-answer"] == "deleted-id"


def test_one_sandbox_at_a_time(tmp_path: Path, ask: Ask) -> None:
    state = tmp_path / "state.sqlite"
    with (
        running_sandbox(state=state) as first,
        pytest.raises(StateFileError, match=r"state\.sqlite: in use by another sandbox"),
        running_sandbox(state=state),
    ):
        pass
    with running_sandbox(state=state) as again:
        assert httpx2.get(again.url + PATH, headers=HEADERS).status_code == 200
        second = subprocess.run([sys.executable, "-c", SERVE, str(state)], capture_output=True, text=True)
        assert "StateFileError" in second.stderr
        assert "in use by another sandbox" in second.stderr
    assert first.url != again.url


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    state = tmp_path / "no" / "state.sqlite"
    with pytest.raises(StateFileError, match="not a file in an existing folder"), running_sandbox(state=state):
        pass


def test_all_of_a_batch_survives(tmp_path: Path, ask: Ask) -> None:
    state, clock = tmp_path / "state.sqlite", ManualClock()
    texts = ["hi", "[[sandbox:slow 40]]", "[[sandbox:errored]]", "[[sandbox:slow 90000]]"]
    with (
        running_sandbox(state=state, clock=clock) as sandbox,
        httpx2.Client(base_url=sandbox.url, headers=HEADERS) as http,
    ):
        requests = [ask(f"r{number}", text) for number, text in enumerate(texts)]
        slow, archived, expired = (http.post(PATH, json={"requests": requests}).json()["id"] for _ in range(3))
        sandbox.end(archived)
        sandbox.archive(archived)
        clock.advance(10)
        sandbox.expire(expired)
        before = http.get(PATH).json()["data"]
        results = http.get(f"{PATH}/{expired}/results").content
    with (
        running_sandbox(state=state, clock=clock) as sandbox,
        httpx2.Client(base_url=sandbox.url, headers=HEADERS) as http,
    ):
        after = http.get(PATH).json()["data"]
        assert [{**batch, "results_url": None} for batch in after] == [
            {**batch, "results_url": None} for batch in before
        ]
        assert http.get(f"{PATH}/{expired}/results").content == results
        clock.advance(86_400)
        counts = http.get(f"{PATH}/{slow}").json()["request_counts"]
        assert counts == {"processing": 0, "succeeded": 2, "errored": 1, "canceled": 0, "expired": 1}


def test_time_goes_on_where_it_was_left(tmp_path: Path, ask: Ask) -> None:
    state = tmp_path / "state.sqlite"
    with running_sandbox(state=state) as sandbox, httpx2.Client(base_url=sandbox.url, headers=HEADERS) as http:
        batch_id = http.post(PATH, json={"requests": [ask()]}).json()["id"]
        http.post("/_sandbox/clock/advance", json={"seconds": 3_600})
        assert http.get(f"{PATH}/{batch_id}").json()["processing_status"] == "ended"
    with running_sandbox(state=state) as sandbox:
        assert sandbox.clock.now() > datetime.now(UTC) + timedelta(minutes=59)
        batch = httpx2.get(f"{sandbox.url}{PATH}/{batch_id}", headers=HEADERS).json()
        assert batch["processing_status"] == "ended"
        sandbox.reset()
    with running_sandbox(state=tmp_path / "other.sqlite", clock=SystemClock()) as sandbox:
        assert sandbox.clock.now() < datetime.now(UTC) + timedelta(seconds=1)
