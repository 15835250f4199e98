"""`batches-mcp run`, through the real command line: what it writes, what it says, and that it can be stopped anywhere."""

from __future__ import annotations

import csv
import json
import os
import signal
import sys
import time
import uuid
from pathlib import Path

import pytest

from batches_mcp.sandbox import Sandbox
from tests.support.jobs import Shell, ids, left_behind


@pytest.fixture
def shell(quick: Sandbox, tmp_path: Path) -> Shell:
    return Shell(tmp_path, quick, f"sk-ant-{uuid.uuid4().hex}")


@pytest.fixture
def slow(held: Sandbox, tmp_path: Path) -> Shell:
    return Shell(tmp_path, held, f"sk-ant-{uuid.uuid4().hex}")


def test_a_job_of_several_parts_in_the_order_of_its_input(shell: Shell) -> None:
    names = [f"row-{number * 7 % 12}" for number in range(12)]
    shell.write("in.jsonl", dict.fromkeys(names, "hello"))
    done = shell.run("run", "in.jsonl", "-o", "out.jsonl", "--report", "report.json")
    assert (done.code, done.out) == (0, b""), done.err
    out = shell.folder / "out.jsonl"
    assert ids(out) == names
    upstream = shell.rows_upstream()
    assert out.read_bytes().splitlines() == [upstream[name] for name in names]
    assert shell.creates == 3
    assert "part 3 of 3: 2 requests submitted as msgbatch_" in done.err
    assert "rows        12: 12 succeeded\n" in done.err
    report = json.loads((shell.folder / "report.json").read_text())
    assert (report["rows"], report["outcomes"]["succeeded"], report["submitted"]) == (12, 12, 3)
    assert [(batch["part"], batch["rows"], batch["status"]) for batch in report["batches"]] == [
        (1, 5, "ended"),
        (2, 5, "ended"),
        (3, 2, "ended"),
    ]
    assert 0 < report["usage"]["cost_usd"] < report["estimate"]["cost_usd"]["high"]
    assert sum(report["cost_usd_by_category"].values()) == pytest.approx(report["usage"]["cost_usd"])
    assert not left_behind(shell.folder)


def test_the_same_job_again_submits_nothing(shell: Shell) -> None:
    shell.write("in.jsonl", ["hello"] * 7)
    first = shell.run("run", "in.jsonl", "-o", "out.jsonl")
    written = (shell.folder / "out.jsonl").read_bytes()
    (shell.folder / "in.jsonl").rename(shell.folder / "renamed.jsonl")
    again = shell.run("run", "renamed.jsonl", "-o", "out.jsonl")
    other = shell.run("run", "renamed.jsonl", "-o", "other.csv")
    assert (first.code, again.code, other.code) == (0, 0, 0), again.err + other.err
    assert (shell.folder / "out.jsonl").read_bytes() == written
    assert "7 requests in 2 batches: all submitted before\n" in again.err
    assert shell.creates == 2


def test_what_failed_through_no_fault_of_the_request_is_sent_again(slow: Shell) -> None:
    slow.write("in.jsonl", ["hello", "hello", "hello", "[[sandbox:errored invalid_request_error]]"])
    with slow.running("run", "in.jsonl", "-o", "out.jsonl", "--report", "report.json") as process:
        slow.until(1, "created")
        [first] = slow.batches()
        slow.sandbox.expire(first["id"])
        slow.until(2, "created")
        # The very same rows as before, since none of them was done; that is no duplicate.
        [_, second] = slow.batches()
        assert sum(second["request_counts"].values()) == 4
        slow.sandbox.end(second["id"])
        _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    rows = [json.loads(line) for line in (slow.folder / "out.jsonl").read_bytes().splitlines()]
    assert [row["custom_id"] for row in rows] == ["row-0", "row-1", "row-2", "row-3"]
    assert [row["result"]["type"] for row in rows] == ["succeeded"] * 3 + ["errored"]
    report = json.loads((slow.folder / "report.json").read_text())
    assert report["sent_again"] == 4
    assert [batch["parent"] for batch in report["batches"]] == [None, first["id"]]
    assert b"4 requests sent again as" in err


def test_outcomes_of_every_kind(shell: Shell) -> None:
    texts = {
        "fine": "hello",
        "expired": "[[sandbox:expired]]",
        "overloaded": "[[sandbox:errored overloaded_error]]",
        "wrong": "[[sandbox:errored invalid_request_error]]",
        "credit": "[[sandbox:credit]]",
        "refused": "[[sandbox:refusal]]",
        "cut": "[[sandbox:max_tokens]]",
    }
    whole = Shell(shell.folder, shell.sandbox, shell.key, rows_per_batch=10)
    whole.write("in.jsonl", texts)
    done = whole.run("run", "in.jsonl", "-o", "out.jsonl", "--report", "report.json", "--retries", "2")
    assert done.code == 1
    assert ids(shell.folder / "out.jsonl") == list(texts)
    report = json.loads((shell.folder / "report.json").read_text())
    assert report["outcomes"] == {"succeeded": 3, "errored": 3, "canceled": 0, "expired": 1}
    assert report["needs_attention"] == {"refusal": 1, "truncated": 1}
    assert report["billing"] == 1
    assert (report["needs_fixing"]["rows"], report["needs_fixing"]["first"][0]["custom_id"]) == (1, "wrong")
    assert [batch["rows"] for batch in report["batches"]] == [7, 2, 2]
    again = whole.run("run", "in.jsonl", "-o", "out.jsonl", "--retries", "3")
    assert (again.code, whole.creates) == (1, 4), again.err


def test_canceled_rows_are_never_sent_again(slow: Shell) -> None:
    slow.write("in.jsonl", ["hello"] * 3)
    with slow.running("run", "in.jsonl", "-o", "out.jsonl") as process:
        slow.until(1, "created")
        [batch] = slow.batches()
        canceled = slow.run("call", "anthropic-cancel-message-batch", f"message_batch_id={batch['id']}")
        assert canceled.code == 0, canceled.err
        slow.sandbox.end(batch["id"])
        _, err = process.communicate(timeout=30)
    assert (process.returncode, slow.creates) == (1, 1), err
    rows = [json.loads(line) for line in (slow.folder / "out.jsonl").read_bytes().splitlines()]
    assert {row["result"]["type"] for row in rows} == {"canceled"}


def test_rows_from_csv_into_csv(shell: Shell) -> None:
    (shell.folder / "in.csv").write_text(
        "custom_id,say\nb,=1+1\na,hello\nc,[[sandbox:errored invalid_request_error]]\n"
    )
    params = {"model": "claude-haiku-5-5", "max_tokens": 9, "messages": [{"role": "user", "content": "{{say}}"}]}
    (shell.folder / "t.json").write_text(json.dumps(params))
    done = shell.run("run", "in.csv", "-o", "out.csv", "--template", "t.json")
    assert done.code == 1, done.err
    with (shell.folder / "out.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == [
        "custom_id", "say", "outcome", "answer", "error_type", "error_message", "stop_reason", "input_tokens",
        "output_tokens",
    ]  # fmt: skip
    assert [row[:3] for row in rows[1:]] == [
        ["b", "'=1+1", "succeeded"],
        ["a", "hello", "succeeded"],
        ["c", "[[sandbox:errored invalid_request_error]]", "errored"],
    ]
    needs = shell.run("run", "in.csv", "-o", "other.csv")
    assert (needs.code, needs.err.partition(": ")[2][:50]) == (2, "in.csv holds rows with the columns custom_id, say:")


def test_standard_input_and_output(shell: Shell) -> None:
    text = shell.write("in.jsonl", ["hello"] * 7).read_bytes()
    done = shell.run("run", "-", "-o", "-", stdin=text)
    assert done.code == 0, done.err
    assert [json.loads(line)["custom_id"] for line in done.out.splitlines()] == [f"row-{number}" for number in range(7)]
    again = shell.run("run", "-", "-o", "-", "--quiet", stdin=text)
    assert (again.code, again.out) == (0, done.out)
    assert again.err == f"batches-mcp: requests go to {shell.sandbox.url}\n"
    assert shell.creates == 2


def test_an_out_of_something_else_is_left_alone(shell: Shell) -> None:
    shell.write("in.jsonl", ["hello"])
    shell.write("other.jsonl", ["hello", "hello"])
    (shell.folder / "mine.jsonl").write_text("precious")
    refused = shell.run("run", "in.jsonl", "-o", "mine.jsonl")
    assert refused.code == 2
    assert "mine.jsonl exists, and batches-mcp did not write it; name another OUT, or add --overwrite" in refused.err
    assert (shell.folder / "mine.jsonl").read_text() == "precious"
    assert shell.creates == 0
    assert shell.run("run", "in.jsonl", "-o", "mine.jsonl", "--overwrite").code == 0
    assert ids(shell.folder / "mine.jsonl") == ["row-0"]
    assert shell.run("run", "other.jsonl", "-o", "mine.jsonl").code == 2
    assert shell.run("run", "in.jsonl", "-o", "in.jsonl", "--overwrite").code == 2
    assert shell.run("run", "in.jsonl", "-o", "no-such-folder/out.jsonl").code == 2


def test_rows_with_errors(shell: Shell) -> None:
    path = shell.write("in.jsonl", ["hello"] * 3)
    path.write_text(path.read_text() + '{"custom_id": "row-0", "params": {}}\nnonsense\n')
    refused = shell.run("run", "in.jsonl", "-o", "out.jsonl")
    assert (refused.code, shell.creates) == (1, 0)
    assert "error: line 4, custom_id: 'row-0' is the custom_id of line 1 as well" in refused.err
    assert "error: line 5: is not JSON" in refused.err
    assert not (shell.folder / "out.jsonl").exists()
    done = shell.run("run", "in.jsonl", "-o", "out.jsonl", "--skip-invalid")
    assert done.code == 0, done.err
    assert ids(shell.folder / "out.jsonl") == ["row-0", "row-1", "row-2"]
    assert "left out    2 rows with errors\n" in done.err


def test_what_may_cost_much_is_asked_first(shell: Shell) -> None:
    shell.write("in.jsonl", ["hello"] * 3)
    refused = shell.run("run", "in.jsonl", "-o", "out.jsonl", "--confirm-over", "0")
    assert (refused.code, shell.creates) == (2, 0)
    assert "more than the $0.00 of --confirm-over, and nobody can be asked here, so nothing was sent" in refused.err
    assert shell.run("run", "in.jsonl", "-o", "out.jsonl", "--confirm-over", "0", "--yes").code == 0
    # What was submitted before costs nothing, and is not asked about.
    assert shell.run("run", "in.jsonl", "-o", "out.jsonl", "--confirm-over", "0").code == 0


def test_a_cap_on_costs_is_kept(shell: Shell) -> None:
    shell.write("in.jsonl", ["hello"] * 3)
    refused = shell.run("run", "in.jsonl", "-o", "out.jsonl", "--max-cost-usd", "0.0000001")
    assert (refused.code, shell.creates) == (1, 0)
    assert "Traceback" not in refused.err


def test_without_a_ledger_there_is_no_run(shell: Shell) -> None:
    shell.write("in.jsonl", ["hello"])
    refused = shell.run("run", "in.jsonl", "-o", "out.jsonl", "--no-ledger")
    assert (refused.code, refused.err.partition(":")[2]) == (
        2,
        " run needs the ledger, without which it could submit the same rows twice; leave --no-ledger out\n",
    )


def test_no_more_batches_in_progress_than_asked_for(slow: Shell) -> None:
    slow.write("in.jsonl", ["hello"] * 20)
    with slow.running("run", "in.jsonl", "-o", "out.jsonl", "--max-open", "2") as process:
        for ended in range(4):
            slow.until(min(ended + 2, 4), "created")
            slow.until(len(slow.requests()) + 3)
            batches = slow.batches()
            assert len(batches) == min(ended + 2, 4)
            slow.sandbox.end(next(batch["id"] for batch in batches if batch["processing_status"] != "ended"))
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert len(ids(slow.folder / "out.jsonl")) == 20


def test_many_batches_are_looked_at_with_two_calls(slow: Shell) -> None:
    slow.write("in.jsonl", ["hello"] * 40)
    with slow.running("run", "in.jsonl", "-o", "out.jsonl", "--max-open", "8"):
        slow.until(8, "created")
        before = len(slow.requests())
        slow.until(before + 6)
        looks = [each.path for each in slow.requests()[before : before + 6]]
    assert sum(path.endswith("/batches") for path in looks) == 3


@pytest.mark.parametrize(
    ("kind", "on", "count"),
    [
        ("overloaded", "create", 2),
        ("rate_limit", "create", 4),
        ("server_error", "retrieve", 5),
        ("bad_gateway", "results", 4),
        ("cut", "results", 4),
        ("reset", "list", 4),
    ],
)
def test_failures_that_pass_are_waited_out(shell: Shell, kind: str, on: str, count: int) -> None:
    shell.write("in.jsonl", ["hello"] * 17)
    shell.sandbox.faults.add(kind, on=on, count=count, key=shell.key)  # type: ignore[arg-type]
    done = shell.run("run", "in.jsonl", "-o", "out.jsonl")
    shell.sandbox.faults.clear()
    assert done.code == 0, done.err
    assert len(ids(shell.folder / "out.jsonl")) == 17
    assert len(shell.batches()) == 4


def test_a_create_whose_answer_is_lost_is_found_and_not_repeated(shell: Shell) -> None:
    shell.write("in.jsonl", ["hello"] * 12)
    shell.sandbox.faults.add("reset_after", on="create", key=shell.key)
    done = shell.run("run", "in.jsonl", "-o", "out.jsonl")
    assert done.code == 0, done.err
    assert len(ids(shell.folder / "out.jsonl")) == 12
    assert len(shell.batches()) == 3


def test_what_does_not_pass_ends_the_run(shell: Shell) -> None:
    shell.write("in.jsonl", ["hello"] * 3)
    shell.sandbox.faults.add("spend_limit", on="create", key=shell.key)
    failed = shell.run("run", "in.jsonl", "-o", "out.jsonl")
    assert failed.code == 1
    assert "usage limits" in failed.err
    assert shell.run("run", "in.jsonl", "-o", "out.jsonl").code == 0


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_and_resumed(slow: Shell, number: signal.Signals, code: int) -> None:
    slow.write("in.jsonl", ["hello"] * 12)
    with slow.running("run", "in.jsonl", "-o", "out.jsonl") as process:
        slow.until(9)  # a look, three creates with one before each, and two after them
        done = slow.stopped(process, number)
    assert done.code == code
    assert done.err.splitlines()[-1] == (
        "Stopped waiting; nothing is canceled. What is in progress at the API (3 batches) goes on, and what is there already is "
        "kept. To resume, give the same command again."
    )
    batches = slow.batches()
    assert {batch["processing_status"] for batch in batches} == {"in_progress"}
    for batch in batches:
        slow.sandbox.end(batch["id"])
    resumed = slow.run("run", "in.jsonl", "-o", "out.jsonl")
    assert resumed.code == 0, resumed.err
    assert "12 requests in 3 batches: all submitted before" in resumed.err
    assert slow.creates == 3


# After so many answers of the sandbox: among creates, while waiting, among results, at the end.
@pytest.mark.parametrize("answers", [1, 3, 6, 9, 11])
def test_killed_and_resumed(shell: Shell, answers: int) -> None:
    shell.write("in.jsonl", ["hello", "[[sandbox:expired]]"] * 8)
    with shell.running("run", "in.jsonl", "-o", "out.jsonl", "--retries", "1") as process:
        shell.until(answers)
        process.kill()
        process.wait(30)
    _is_as_if_nothing_had_happened(shell)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(30))
def test_killed_at_any_point_and_resumed(quick: Sandbox, tmp_path: Path, seed: int) -> None:
    shell = Shell(tmp_path, quick, f"sk-ant-{uuid.uuid4().hex}")
    shell.write("in.jsonl", ["hello", "[[sandbox:expired]]"] * 8)
    # From the first import to after the end, which takes some 3 s.
    with shell.running("run", "in.jsonl", "-o", "out.jsonl", "--retries", "1") as process:
        time.sleep(0.3 + seed * 0.1)
        process.kill()
        process.wait(30)
    _is_as_if_nothing_had_happened(shell)


def _is_as_if_nothing_had_happened(shell: Shell) -> None:
    resumed = shell.run("run", "in.jsonl", "-o", "out.jsonl", "--retries", "1", "--report", "report.json")
    assert resumed.code == 1, resumed.err
    out = (shell.folder / "out.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["custom_id"] for line in out] == [f"row-{number}" for number in range(16)]
    assert [json.loads(line)["result"]["type"] for line in out] == ["succeeded", "expired"] * 8
    upstream = shell.rows_upstream()
    assert out == [upstream[f"row-{number}"] for number in range(16)]
    # Four parts, and for each one retry.
    assert len(shell.batches()) == 8
    assert len(json.loads((shell.folder / "report.json").read_text())["batches"]) == 8


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="pseudo-terminals")
def test_on_a_terminal(shell: Shell) -> None:
    import pty
    import subprocess

    shell.write("in.jsonl", ["hello"] * 7)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        shell.command("run", "in.jsonl", "-o", "out.jsonl", "--confirm-over", "0"),
        cwd=shell.folder,
        env={**shell.environment, "TERM": "xterm"},
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 4096):
            seen += chunk
            if seen.endswith(b"[y/N]: "):
                os.write(ours, b"y\n")
    except OSError:
        pass  # how Linux tells the end of a pseudo-terminal
    out, _ = process.communicate(timeout=30)
    os.close(ours)
    assert (process.returncode, out) == (0, b"")
    assert "It may cost" in seen.decode()
    assert "━" in seen.decode()
    assert "7: 7 succeeded" in seen.decode()


def test_jobs(shell: Shell) -> None:
    assert json.loads(shell.run("jobs", "--json").out) == []
    shell.write("in.jsonl", ["hello", "[[sandbox:expired]]"] * 3)
    assert shell.run("run", "in.jsonl", "-o", "out.jsonl", "--retries", "1").code == 1
    listed = shell.run("jobs", "--json")
    jobs = json.loads(listed.out)
    assert set(jobs[0]) == {
        "batch_id", "label", "source", "rows", "status", "created_at", "results_expire_at", "estimate_usd", "cost_usd",
        "parent", "part",
    }  # fmt: skip
    assert [(job["rows"], job["part"]) for job in jobs] == [(1, 2), (2, 1), (1, 2), (5, 1)]
    table = shell.run("jobs")
    first, *rows = table.out.decode().splitlines()
    assert first.split() == ["batch", "status", "rows", "age", "cost", "results", "until", "retries", "what"]
    assert len(rows) == 4
    shown = shell.run("jobs", "show", jobs[-1]["batch_id"])
    assert "counts            3 ok, 2 expired\n" in shown.out.decode()
    assert f"retries           {jobs[1]['batch_id']}\n" in shown.out.decode()
    unknown = shell.run("jobs", "show", "msgbatch_none")
    assert (unknown.code, unknown.out) == (2, b"")


def test_jobs_says_how_fresh_it_is(slow: Shell) -> None:
    slow.write("in.jsonl", ["hello"])
    with slow.running("run", "in.jsonl", "-o", "out.jsonl") as process:
        slow.until(4)  # two looks, the create, and a look at what became of it
        process.kill()
        process.wait(30)
    [batch] = slow.batches()
    slow.sandbox.end(batch["id"])
    without = Shell(slow.folder, slow.sandbox, "")
    stale = without.run("jobs", "--json")
    assert "as last seen: " in stale.err
    assert json.loads(stale.out)[0]["status"] == "in_progress"
    fresh = slow.run("jobs", "--json")
    assert "as the API says now" in fresh.err
    assert json.loads(fresh.out)[0]["status"] == "ended"
