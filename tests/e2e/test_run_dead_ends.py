"""`batches-mcp run` has no dead ends: whatever is gone, missing or full, it says what happened and how to go on."""

from __future__ import annotations

import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from batches_mcp.sandbox import ManualClock, Sandbox, running_sandbox
from tests.support.jobs import Done, Shell, ids, left_behind

_DAY_S = 86_400.0
_RUN = ("run", "in.jsonl", "-o", "out.jsonl", "--report", "report.json", "--state-dir", "state")


@pytest.fixture
def held() -> Iterator[Sandbox]:
    """A sandbox whose batches end when a test says so."""
    with running_sandbox(clock=ManualClock(), retry_after_seconds=0) as running:
        yield running


@pytest.fixture
def shell(held: Sandbox, tmp_path: Path) -> Shell:
    return Shell(tmp_path, held, f"sk-ant-{uuid.uuid4().hex}")


def report(shell: Shell) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((shell.folder / "report.json").read_text())
    return found


def submitted(shell: Shell, batches: int, *more: str) -> list[dict[str, Any]]:
    """Begin a job and stop when its batches are submitted, of which each holds 5 rows; they end then."""
    before = shell.batches()
    with shell.running(*_RUN, *more) as process:
        shell.until(len(before) + batches, "created")
        # Asked how its batches are, it has written down the creates.
        shell.until(len(shell.requests()) + 2)
        process.kill()
        process.wait(30)
    made = shell.batches()[len(before) :]
    for batch in made:
        shell.sandbox.end(batch["id"])
    return made


def ended_by_the_test(shell: Shell, batches: int, *command: str) -> Done:
    """Run a command to its end; the batches that it creates end once so many are there."""
    before = shell.creates
    with shell.running(*command) as process:
        shell.until(before + batches, "created")
        for batch in shell.batches():
            if batch["processing_status"] != "ended":
                shell.sandbox.end(batch["id"])
        out, err = process.communicate(timeout=60)
    return Done(process.returncode, out, err.decode())


def errors_at_the_end(shell: Shell, *processes: subprocess.Popen[bytes]) -> list[str]:
    """What runs say whose batches end as soon as they are created."""
    while any(process.poll() is None for process in processes):
        for batch in shell.batches():
            if batch["processing_status"] != "ended":
                shell.sandbox.end(batch["id"])
    return [process.communicate(timeout=60)[1].decode() for process in processes]


def delete(shell: Shell, batch_id: str) -> None:
    """Delete a batch as another program would."""
    headers = {"x-api-key": shell.key, "anthropic-version": "2023-06-01"}
    httpx2.delete(f"{shell.sandbox.url}/v1/messages/batches/{batch_id}", headers=headers).raise_for_status()


def test_results_that_are_past_their_time(shell: Shell) -> None:
    shell.write("in.jsonl", ["hello"] * 7)
    submitted(shell, 2)
    shell.sandbox.clock.advance(31 * _DAY_S)
    done = shell.run(*_RUN)
    assert done.code == 1
    assert "rows        0: none has a result\n" in done.err
    assert "missing     7 rows: 7 results_gone (row-0, row-1, row-2, row-3, row-4, row-5, row-6)\n" in done.err
    assert "--fresh sends all rows of the job again, these as well, and they are paid again." in done.err
    assert (shell.folder / "out.jsonl").read_bytes() == b""
    assert report(shell)["missing"]["reasons"] == {"results_gone": 7}
    fresh = ended_by_the_test(shell, 2, *_RUN, "--fresh")
    assert fresh.code == 0, fresh.err
    assert len(ids(shell.folder / "out.jsonl")) == 7
    # Without it, the latest batches are taken up.
    again = shell.run(*_RUN)
    assert (again.code, shell.creates) == (0, 4), again.err


@pytest.mark.parametrize("how", ["deleted", "archived"])
def test_a_part_that_is_gone_leaves_the_others(shell: Shell, how: str) -> None:
    shell.write("in.jsonl", ["hello"] * 12)
    batches = submitted(shell, 3)
    shell.sandbox.clock.advance(120)
    if how == "deleted":
        delete(shell, batches[1]["id"])
    else:
        shell.sandbox.archive(batches[1]["id"])
    done = shell.run(*_RUN)
    assert done.code == 1
    assert ids(shell.folder / "out.jsonl") == [f"row-{number}" for number in (0, 1, 2, 3, 4, 10, 11)]
    missing = report(shell)["missing"]
    assert (missing["rows"], missing["reasons"]) == (5, {"results_gone": 5})
    assert [each["custom_id"] for each in missing["first"]] == [f"row-{number}" for number in range(5, 10)]
    assert "results_gone: " in done.err
    assert batches[1]["id"] in done.err
    assert "internal error" not in done.err
    assert "Part 2 of 3; this concerns 5 rows." in done.err
    assert shell.creates == 3


def test_a_batch_that_is_not_found_yet_is_not_gone(shell: Shell) -> None:
    shell.write("in.jsonl", ["hello"] * 3)
    submitted(shell, 1)
    shell.sandbox.faults.add("not_found", on="retrieve", key=shell.key)
    done = shell.run(*_RUN)
    assert done.code == 0, done.err
    assert len(ids(shell.folder / "out.jsonl")) == 3


def test_results_on_disk_outlast_their_batch(shell: Shell) -> None:
    shell.write("in.jsonl", ["hello", "[[sandbox:errored overloaded_error]]"])
    first = ended_by_the_test(shell, 1, *_RUN, "--retries", "0")
    assert first.code == 1
    shell.sandbox.clock.advance(120)
    delete(shell, shell.batches()[0]["id"])
    written = (shell.folder / "out.jsonl").read_bytes()
    (shell.folder / "out.jsonl").unlink()
    again = shell.run(*_RUN)
    assert again.code == 1
    assert (shell.folder / "out.jsonl").read_bytes() == written
    assert report(shell)["missing"]["rows"] == 0
    assert shell.creates == 1


def forget_results(shell: Shell) -> None:
    """Drop the copies of results, as happens when others need the room."""
    for folder in (shell.folder / "state").glob("*/spool"):
        shutil.rmtree(folder)


def test_rows_that_were_sent_again_outlast_the_batch_before(shell: Shell) -> None:
    shell.write("in.jsonl", ["hello", "[[sandbox:expired]]", "hello"])
    with shell.running(*_RUN, "--retries", "1") as process:
        [err] = errors_at_the_end(shell, process)
    assert "1 request sent again as" in err
    first, _ = shell.batches()
    shell.sandbox.clock.advance(120)
    delete(shell, first["id"])
    (shell.folder / "out.jsonl").unlink()
    forget_results(shell)
    again = shell.run(*_RUN, "--retries", "1")
    assert (again.code, shell.creates) == (1, 2), again.err
    assert ids(shell.folder / "out.jsonl") == ["row-1"]
    assert report(shell)["missing"]["reasons"] == {"results_gone": 2}


def test_rows_whose_requests_are_lost_keep_their_outcome(shell: Shell) -> None:
    shell.write("in.jsonl", ["hello", "[[sandbox:expired]]"])
    assert ended_by_the_test(shell, 1, *_RUN, "--retries", "0").code == 1
    for copy in (shell.folder / "state").glob("*/kept/*"):
        copy.unlink()
    again = shell.run(*_RUN, "--retries", "1")
    assert (again.code, shell.creates) == (1, 1), again.err
    assert "1 row cannot be sent again: " in again.err
    assert ids(shell.folder / "out.jsonl") == ["row-0", "row-1"]
    assert report(shell)["outcomes"]["expired"] == 1


def test_given_up_with_results_on_disk(shell: Shell) -> None:
    shell.write("in.jsonl", ["hello", "[[sandbox:expired]]", "hello"])
    with shell.running(*_RUN, "--retries", "1") as process:
        errors_at_the_end(shell, process)
    written = (shell.folder / "out.jsonl").read_bytes()
    (shell.folder / "out.jsonl").unlink()
    shell.sandbox.faults.add("bad_gateway", key=shell.key, count=1000)
    done = shell.run(*_RUN, "--give-up", "1")
    assert done.code == 1
    assert "Gave up after 1 s: OUT has 3 rows, and 0 of the job are missing" in done.err
    assert (shell.folder / "out.jsonl").read_bytes() == written


def test_fewer_rows_never_replace_more(shell: Shell) -> None:
    shell.write("in.jsonl", ["hello"] * 7)
    assert ended_by_the_test(shell, 2, *_RUN).code == 0
    written = (shell.folder / "out.jsonl").read_bytes()
    shell.sandbox.clock.advance(31 * _DAY_S)
    forget_results(shell)
    again = shell.run(*_RUN)
    assert again.code == 1
    assert (shell.folder / "out.jsonl").read_bytes() == written
    assert "not written  out.jsonl keeps the 7 rows that this job wrote before\n" in again.err
    assert report(shell)["out_rows"] == 7
    # `--overwrite` is about what others wrote.
    mine = shell.run(*_RUN, "--overwrite")
    assert (mine.code, (shell.folder / "out.jsonl").read_bytes()) == (1, written)
    assert "not written  out.jsonl keeps the 7 rows that this job wrote before\n" in mine.err
    (shell.folder / "out.jsonl").write_text("another's\n" * 20)
    other = shell.run(*_RUN, "--overwrite")
    assert (other.code, (shell.folder / "out.jsonl").read_bytes()) == (1, b"")


def test_fresh_goes_on_when_it_was_stopped_and_starts_anew_when_it_is_finished(shell: Shell) -> None:
    shell.write("in.jsonl", ["hello"] * 12)
    assert ended_by_the_test(shell, 3, *_RUN).code == 0
    submitted(shell, 3, "--fresh")
    resumed = shell.run(*_RUN, "--fresh")
    assert (resumed.code, shell.creates) == (0, 6), resumed.err
    assert "12 requests in 3 batches: all submitted before" in resumed.err
    assert len(ids(shell.folder / "out.jsonl")) == 12
    assert [batch["batch_id"] for batch in report(shell)["batches"]] == [each["id"] for each in shell.batches()[3:]]
    anew = ended_by_the_test(shell, 3, *_RUN, "--fresh")
    assert (anew.code, shell.creates) == (0, 9), anew.err


def test_fresh_stopped_between_its_creates(shell: Shell) -> None:
    shell.write("in.jsonl", ["hello"] * 12)
    assert ended_by_the_test(shell, 3, *_RUN).code == 0
    with shell.running(*_RUN, "--fresh", "--max-open", "1") as process:
        shell.until(4, "created")
        shell.until(len(shell.requests()) + 2)
        process.kill()
        process.wait(30)
    resumed = ended_by_the_test(shell, 2, *_RUN, "--fresh")
    assert (resumed.code, shell.creates) == (0, 6), resumed.err
    assert "; 1 of them submitted before" in resumed.err


def test_fresh_when_nothing_was_sent_before(shell: Shell) -> None:
    shell.write("in.jsonl", ["hello"] * 7)
    done = ended_by_the_test(shell, 2, *_RUN, "--fresh")
    assert (done.code, shell.creates) == (0, 2), done.err


def test_given_up_while_waiting(shell: Shell) -> None:
    shell.write("in.jsonl", ["hello"] * 12)
    batches = submitted_open(shell, 3)
    shell.sandbox.end(batches[1]["id"])
    done = shell.run(*_RUN, "--give-up", "3")
    assert done.code == 1
    assert ids(shell.folder / "out.jsonl") == [f"row-{number}" for number in range(5, 10)]
    assert report(shell)["missing"]["reasons"] == {"in_progress": 7}
    assert (
        "Gave up after 3 s: OUT has 5 rows, and 7 of the job are missing; nothing is canceled. What is in progress at "
        "the API (2 batches) goes on, and what is there already is kept. To resume, give the same command again.\n"
    ) in done.err
    for batch in (batches[0], batches[2]):
        shell.sandbox.end(batch["id"])
    resumed = shell.run(*_RUN, "--give-up", "60")
    assert (resumed.code, shell.creates) == (0, 3), resumed.err
    assert len(ids(shell.folder / "out.jsonl")) == 12


def submitted_open(shell: Shell, batches: int) -> list[dict[str, Any]]:
    """Begin a job, and stop it when so many batches are in progress."""
    with shell.running(*_RUN) as process:
        shell.until(batches, "created")
        shell.until(len(shell.requests()) + 2)
        process.kill()
        process.wait(30)
    return shell.batches()


@pytest.mark.parametrize(
    ("kind", "on"),
    [("overloaded", "create"), ("timeout", "create"), ("bad_gateway", "retrieve"), ("cut", "results")],
)
def test_given_up_while_failures_are_waited_out(shell: Shell, kind: Any, on: Any) -> None:
    shell.write("in.jsonl", ["hello"] * 5)
    if on != "create":
        [batch] = submitted(shell, 1)
        assert batch
    shell.sandbox.faults.add(kind, on=on, key=shell.key, count=1000)
    done = shell.run(*_RUN, "--give-up", "2")
    assert done.code == 1
    assert "internal error" not in done.err
    found = report(shell)
    assert found["missing"]["rows"] + found["rows"] == 5
    assert found["missing"]["rows"] > 0
    if kind != "cut":
        assert "Gave up after 2 s: OUT has 0 rows, and 5 of the job are missing" in done.err
    assert set(found["missing"]["reasons"]) <= {"no_batch", "in_progress", "not_fetched", "results_incomplete"}
    shell.sandbox.faults.clear()
    shell.sandbox.clock.advance(1000)
    resumed = ended_by_the_test(shell, int(on == "create"), *_RUN)
    assert resumed.code == 0, resumed.err
    assert len(ids(shell.folder / "out.jsonl")) == 5
    assert len(shell.batches()) == 1


def test_given_up_while_nobody_answers(shell: Shell, unused_port: int) -> None:
    shell.write("in.jsonl", ["hello"] * 5)
    done = shell.run(*_RUN, "--give-up", "1", "--base-url", f"http://127.0.0.1:{unused_port}")
    assert done.code == 1
    assert "Gave up after 1 s" in done.err
    assert report(shell)["missing"]["reasons"] == {"no_batch": 5}


@pytest.fixture
def unused_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@pytest.mark.parametrize("seconds", ["0", "-1", "soon"])
def test_a_time_to_give_up_after_is_positive(shell: Shell, seconds: str) -> None:
    shell.write("in.jsonl", ["hello"])
    assert shell.run(*_RUN, "--give-up", seconds).code == 2


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_stopped_while_a_copy_is_compressed(shell: Shell) -> None:
    noise = random.Random(1)  # noqa: S311
    big = Shell(shell.folder, shell.sandbox, shell.key, rows_per_batch=20)
    big.write("in.jsonl", [noise.randbytes(4_000_000).hex() for _ in range(10)])
    with big.running(*_RUN, "--yes") as process:
        big.until(1, "created")
        big.until(len(big.requests()) + 1)
        done = big.stopped(process, signal.SIGINT)
    assert done.code == 130
    assert "What is in progress at the API (1 batch) goes on" in done.err
    assert "To resume, give the same command again." in done.err
    # It was not compressed to its end first.
    assert [path.suffix for path in (big.folder / "state").glob("*/kept/*") if path.is_file()] == [".json"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_while_results_are_fetched(shell: Shell, number: signal.Signals, code: int) -> None:
    shell.write("in.jsonl", ["hello"] * 5)
    submitted(shell, 1)
    shell.sandbox.faults.add("delay", on="results", key=shell.key, seconds=3000)
    with shell.running(*_RUN) as process:
        shell.until(len(shell.requests()) + 2)
        done = shell.stopped(process, number)
    assert done.code == code
    assert "To resume, give the same command again." in done.err
    assert not left_behind(shell.folder)


@pytest.mark.parametrize("report_path", ["nowhere/report.json", "in.jsonl/report.json", "out.jsonl", "in.jsonl", "."])
def test_a_report_that_cannot_be_written_is_told_first(shell: Shell, report_path: str) -> None:
    shell.write("in.jsonl", ["hello"])
    done = shell.run("run", "in.jsonl", "-o", "out.jsonl", "--report", report_path)
    assert (done.code, shell.requests()) == (2, []), done.err
    assert done.err.startswith("batches-mcp: --report: ")


@pytest.mark.parametrize("gone", ["report", "out"])
def test_a_folder_that_vanishes_meanwhile(shell: Shell, gone: str) -> None:
    shell.write("in.jsonl", ["hello"] * 3)
    for name in ("report", "out"):
        (shell.folder / name).mkdir()
    command = ("run", "in.jsonl", "-o", "out/out.jsonl", "--report", "report/report.json")
    with shell.running(*command) as process:
        shell.until(1, "created")
        (shell.folder / gone).rmdir()
        shell.sandbox.end(shell.batches()[0]["id"])
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    flag = {"report": "--report", "out": "OUT"}[gone]
    assert f"batches-mcp: {flag}: {gone}/{gone}.json" in err.decode()
    assert "cannot be written: No such file or directory." in err.decode()
    assert "sends nothing again" in err.decode()
    (shell.folder / gone).mkdir()
    again = shell.run(*command)
    assert (again.code, shell.creates) == (0, 1), again.err
    assert len(ids(shell.folder / "out" / "out.jsonl")) == 3
    assert json.loads((shell.folder / "report" / "report.json").read_text())["rows"] == 3


def test_a_row_that_never_comes(shell: Shell) -> None:
    shell.write("in.jsonl", ["hello"] * 7)
    batches = submitted(shell, 2)
    shell.sandbox.faults.add("cut", on="results", key=shell.key, rows=4, count=1000)
    done = shell.run(*_RUN)
    assert done.code == 1
    assert batches[0]["id"] in done.err
    found = report(shell)
    assert (found["rows"], found["missing"]["reasons"]) == (6, {"results_incomplete": 1})
    [missing] = found["missing"]["first"]
    assert missing["custom_id"] not in ids(shell.folder / "out.jsonl")
    assert len(ids(shell.folder / "out.jsonl")) == 6
    assert "missing     1 row: 1 results_incomplete (" in done.err
    assert "did not come, however often they were asked for" in done.err
    shell.sandbox.faults.clear()
    again = shell.run(*_RUN)
    assert (again.code, shell.creates) == (0, 2), again.err


@pytest.mark.parametrize("names", [("first.jsonl", "second.jsonl"), ("same.jsonl", "same.jsonl")])
@pytest.mark.parametrize("more", [(), ("--fresh",)])
def test_two_runs_of_one_job_at_once(shell: Shell, more: Sequence[str], names: Sequence[str]) -> None:
    shell.write("in.jsonl", ["hello", "[[sandbox:expired]]"] * 6)
    with ExitStack() as stack:
        processes = [
            stack.enter_context(shell.running("run", "in.jsonl", "-o", name, "--retries", "1", *more)) for name in names
        ]
        errors = errors_at_the_end(shell, *processes)
    assert [process.returncode for process in processes] == [1, 1], errors
    first, second = ((shell.folder / name).read_bytes() for name in names)
    assert first == second
    assert ids(shell.folder / names[0]) == [f"row-{number}" for number in range(12)]
    assert len(shell.batches()) == 6
    # Whichever of them was the last to write it, OUT is this job's.
    assert shell.run("run", "in.jsonl", "-o", names[1], "--retries", "1").code == 1
    assert (shell.folder / names[1]).read_bytes() == first


@pytest.mark.parametrize("stdin", [False, True])
def test_an_empty_file(shell: Shell, stdin: bool) -> None:
    (shell.folder / "in.jsonl").write_bytes(b"")
    done = shell.run("run", "-" if stdin else "in.jsonl", "-o", "out.jsonl")
    named = "standard input" if stdin else "in.jsonl"
    assert (done.code, done.err.splitlines()[-1:]) == (2, [f"batches-mcp: FILE: {named} is empty"])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "folder",
            "FILE: folder is a folder; name a file of requests or rows, and it holds none that ends in .csv, .tsv, .jsonl, .json",
        ),
        ("missing.jsonl", "FILE: cannot read missing.jsonl: it is not there"),
    ],
)
def test_a_file_that_is_none(shell: Shell, name: str, words: str) -> None:
    (shell.folder / "folder").mkdir()
    done = shell.run("run", name, "-o", "out.jsonl")
    assert (done.code, done.err) == (2, f"batches-mcp: {words}\n")


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process")
@pytest.mark.parametrize("most_bytes", [1_000, 50_000, 120_000])
def test_a_disk_that_was_full_once(shell: Shell, most_bytes: int) -> None:
    """It fails at the ledger, or at the copies of what is sent, some 150 kB."""
    shell.write("in.jsonl", ["hello " * 5_000] * 5)
    full = replace(shell, most_file_bytes=most_bytes)
    with full.running(*_RUN) as process:
        [err] = errors_at_the_end(full, process)
    assert process.returncode == 1
    assert "internal error" not in err
    assert "Traceback" not in err
    after = ended_by_the_test(shell, 1 - len(shell.batches()), *_RUN)
    assert after.code == 0, after.err
    assert len(ids(shell.folder / "out.jsonl")) == 5
    assert len(shell.batches()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process")
def test_a_disk_that_was_full_for_results_and_for_out(shell: Shell) -> None:
    many = replace(shell, rows_per_batch=1_000)
    many.write("in.jsonl", ["hello"] * 600)
    submitted(many, 1)
    full = replace(many, most_file_bytes=150_000)
    for file, words in (("spool", "state_unusable"), ("out.jsonl", "OUT: out.jsonl cannot be written: File too large")):
        failed = full.run(*_RUN)
        assert failed.code == 1
        assert words in failed.err, file
        assert "internal error" not in failed.err
        assert not left_behind(shell.folder)
        done = many.run(*_RUN)
        assert done.code == 0, done.err
        assert len(ids(shell.folder / "out.jsonl")) == 600
        (shell.folder / "out.jsonl").unlink()
    assert shell.creates == 1
