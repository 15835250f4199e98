"""`results`, `cancel` and `models` as a person meets them: what is written, what is said, and the exit code."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from batches_mcp.sandbox import Sandbox
from tests.e2e.test_cli import run
from tests.support.jobs import Done, Shell, ids, left_behind
from tests.support.servers import CREATE, SEED


@pytest.fixture
def shell(held: Sandbox, tmp_path: Path) -> Shell:
    return Shell(tmp_path, held, f"sk-ant-{uuid.uuid4().hex}", rows_per_batch=100)


def submitted(shell: Shell, *texts: str) -> str:
    """A batch in progress, which this machine submitted; its id."""
    requests = [json.loads(line) for line in shell.write("in.jsonl", texts).read_text().splitlines()]
    done = shell.run("call", CREATE, "--args", json.dumps({"requests": requests, "label": "a label"}))
    assert done.code == 0, done.err
    return str(json.loads(done.out)["id"])


def said(done: Done) -> str:
    """Standard error without the line that says where requests go."""
    return "".join(line for line in done.err.splitlines(keepends=True) if "requests go to" not in line)


def test_results_are_written_to_a_file(shell: Shell) -> None:
    batch_id = submitted(shell, "hello", "[[sandbox:errored]]", "[[sandbox:expired]]")
    shell.sandbox.end(batch_id)
    done = shell.run("results", batch_id, "-o", "out.jsonl")
    assert (done.code, done.out) == (0, b""), done.err
    out = shell.folder / "out.jsonl"
    assert sorted(ids(out)) == ["row-0", "row-1", "row-2"]
    assert sorted(out.read_bytes().splitlines()) == sorted(shell.rows_upstream().values())
    assert f"batches-mcp: {batch_id}: 1 ok, 1 failed, 1 expired; cost $0.0" in done.err
    assert said(done).endswith("; 3 rows written to out.jsonl\n")
    assert not left_behind(shell.folder)
    [job] = json.loads(shell.run("jobs", "--json").out)
    assert (job["status"], job["cost_usd"] > 0) == ("ended", True)


def test_results_as_a_table(shell: Shell) -> None:
    batch_id = submitted(shell, "hello", "[[sandbox:errored]]")
    shell.sandbox.end(batch_id)
    assert shell.run("results", batch_id, "-o", "out.csv").code == 0
    with (shell.folder / "out.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = {row["custom_id"]: row for row in csv.DictReader(file)}
    assert rows.keys() == {"row-0", "row-1"}
    assert rows["row-1"]["error_type"] == "api_error"


def test_results_are_printed(shell: Shell) -> None:
    batch_id = submitted(shell, "hello")
    shell.sandbox.end(batch_id)
    done = shell.run("results", batch_id, "-o", "-")
    assert [json.loads(line)["custom_id"] for line in done.out.splitlines()] == ["row-0"]
    assert said(done).endswith("; 1 row\n")


def test_the_same_results_may_be_written_again_and_nothing_else_is_replaced(shell: Shell) -> None:
    batch_id = submitted(shell, "hello")
    shell.sandbox.end(batch_id)
    for _ in range(2):
        assert shell.run("results", batch_id, "-o", "out.jsonl").code == 0
    (shell.folder / "out.jsonl").write_text("something else")
    refused = shell.run("results", batch_id, "-o", "out.jsonl")
    assert refused.code == 2
    assert "out.jsonl was changed after batches-mcp wrote it; name another OUT, or add --overwrite" in refused.err
    assert (shell.folder / "out.jsonl").read_text() == "something else"
    assert shell.run("results", batch_id, "-o", "out.jsonl", "--overwrite").code == 0
    assert ids(shell.folder / "out.jsonl") == ["row-0"]


def test_results_of_a_batch_that_has_not_ended(shell: Shell) -> None:
    batch_id = submitted(shell, "hello", "hello")
    done = shell.run("results", batch_id, "-o", "out.jsonl")
    assert (done.code, done.out) == (1, b"")
    assert said(done) == (
        f"batches-mcp: batch {batch_id} has not ended, so nothing was written: it is in progress, with 2 processing; "
        "--wait waits for its end\n"
    )
    assert not (shell.folder / "out.jsonl").exists()


def test_results_wait_for_the_end(shell: Shell) -> None:
    batch_id = submitted(shell, "hello")
    asked = len(shell.requests())
    with shell.running("results", batch_id, "-o", "out.jsonl", "--wait") as process:
        shell.until(asked + 1)
        shell.sandbox.end(batch_id)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert f"{batch_id} is in progress: 1 request\n" in err.decode()
    assert ids(shell.folder / "out.jsonl") == ["row-0"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signal to one process")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("phase", ["waiting", "downloading"])
def test_results_can_be_stopped(number: signal.Signals, code: int, phase: str, shell: Shell) -> None:
    batch_id = submitted(shell, "hello")
    (shell.folder / "out.jsonl").write_text("an earlier one")
    if phase == "downloading":
        shell.sandbox.end(batch_id)
        # An answer that never comes, as far as the test is concerned.
        shell.sandbox.faults.add("delay", on="results", key=shell.key, seconds=300)
    asked = len(shell.requests())
    with shell.running("results", batch_id, "-o", "out.jsonl", "--wait", "--overwrite") as process:
        if phase == "downloading":
            shell.until_met()
        else:
            shell.until(asked + 1)
        done = shell.stopped(process, number)
    assert done.code == code, done.err
    words = f"stopped, and nothing was written; the same command gets the results of batch {batch_id} later"
    assert said(done).endswith(f"batches-mcp: {words}\n")
    assert "Traceback" not in done.err
    assert [path.name for path in shell.folder.glob("*out.jsonl*")] == ["out.jsonl"]
    assert (shell.folder / "out.jsonl").read_text() == "an earlier one"


def test_a_batch_that_the_key_cannot_see(shell: Shell) -> None:
    batch_id = submitted(shell, "hello")
    other = Shell(shell.folder, shell.sandbox, f"sk-ant-{uuid.uuid4().hex}")
    for arguments in (("results", batch_id, "-o", "out.jsonl"), ("cancel", batch_id, "--yes")):
        done = other.run(*arguments)
        assert done.code == 1
        assert f"the key that is set cannot see batch {batch_id}, which was submitted from here" in done.err
    for arguments in (("results", "msgbatch_none", "-o", "out.jsonl"), ("cancel", "msgbatch_none", "--yes")):
        done = shell.run(*arguments)
        assert done.code == 1
        words = "the API knows no batch msgbatch_none for this key; `batches-mcp jobs` lists those submitted from this"
        assert said(done) == f"batches-mcp: {words} machine\n"


@pytest.mark.parametrize("arguments", [("results", "msgbatch_1", "-o", "out.jsonl"), ("cancel", "msgbatch_1", "--yes")])
def test_without_a_key(shell: Shell, arguments: tuple[str, ...]) -> None:
    done = Shell(shell.folder, shell.sandbox, "").run(*arguments)
    assert done.code == 2
    assert said(done).startswith(
        "batches-mcp: there is no API key. Run `batches-mcp key set`, or set ANTHROPIC_API_KEY"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("results", "", "-o", "out.jsonl"), 2, "expected the id of a batch, found an empty text"),
        (("cancel", " "), 2, "expected the id of a batch, found an empty text"),
        (("results", "msgbatch_1"), 2, "Missing option '--out' / '-o'"),
        (("results", "msgbatch_1", "-o", "none/out.jsonl"), 2, "-o: none is not a folder that can be written to"),
        (("results", "msgbatch_1", "-o", "x", "--base-url", "http://127.0.0.1:9"), 1, "no connection to 127.0.0.1:9"),
        (("results", "msgbatch_1", "-o", "x", "--capability", str(SEED)), 2, "`x-behavior: status`"),
    ],
)
def test_wrong_use(shell: Shell, arguments: tuple[str, ...], code: int, words: str) -> None:
    done = shell.run(*arguments)
    assert (done.code, done.out) == (code, b"")
    assert words in done.err
    assert "Traceback" not in done.err


def test_cancel_says_what_is_billed(shell: Shell) -> None:
    batch_id = submitted(shell, "hello", "hello")
    done = shell.run("cancel", batch_id, "--yes")
    assert (done.code, done.out) == (0, b"")
    assert said(done) == (
        f"batches-mcp: batch {batch_id} is being canceled, which takes up to some minutes. Requests that are answered "
        f"before it stops are billed; the others are not. To get the results there are: "
        f"batches-mcp results {batch_id} --wait -o OUT\n"
    )
    assert json.loads(shell.run("jobs", "--json").out)[0]["status"] == "canceling"
    again = shell.run("cancel", batch_id, "--yes")
    assert (again.code, f"batch {batch_id} is being canceled already" in again.err) == (0, True)
    assert len(shell.requests("canceling")) <= 1


def test_cancel_of_what_has_ended(shell: Shell) -> None:
    batch_id = submitted(shell, "hello")
    shell.sandbox.end(batch_id)
    done = shell.run("cancel", batch_id)
    assert (done.code, said(done)) == (
        0,
        f"batches-mcp: batch {batch_id} has ended (1 ok), so there is nothing to cancel\n",
    )


def test_cancel_asks_or_does_nothing(shell: Shell) -> None:
    batch_id = submitted(shell, "hello")
    done = shell.run("cancel", batch_id)
    assert done.code == 2
    assert "nobody can be asked here, so nothing was canceled; --yes cancels without asking" in done.err
    forbidden = subprocess.run(
        shell.command("cancel", batch_id, "--yes"),
        env=shell.environment | {"BATCHES_MCP_READ_ONLY": "1"},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert forbidden.returncode == 2
    assert b"no tool that cancels batches" in forbidden.stderr
    assert shell.batches()[0]["processing_status"] == "in_progress"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
@pytest.mark.parametrize(("answer", "status"), [("n", "in_progress"), ("y", "canceling")])
def test_cancel_asks_at_a_terminal(shell: Shell, answer: str, status: str) -> None:
    batch_id = submitted(shell, "hello")
    theirs, ours = os.openpty()
    os.write(theirs, f"{answer}\n".encode())
    done = subprocess.run(
        shell.command("cancel", batch_id),
        env=shell.environment,
        stdin=ours,
        capture_output=True,
        check=False,
        timeout=60,
    )
    os.close(theirs)
    os.close(ours)
    assert done.returncode == (0 if answer == "y" else 1)
    question = done.stderr.decode()
    assert f"Batch {batch_id} is in progress: a label, 1 request, at most $0.0" in question
    assert "Requests that are answered before it stops are billed; the others are not." in question
    assert shell.batches()[0]["processing_status"] == status


def test_models_are_listed_with_their_price_in_batches_cheapest_first() -> None:
    code, out, _ = run("models", "--json", key=None)
    rows = json.loads(out)
    assert code == 0
    assert rows[0].keys() == {
        "model", "input_usd_per_million_tokens", "output_usd_per_million_tokens", "max_output_tokens",
    }  # fmt: skip
    priced = [row["output_usd_per_million_tokens"] for row in rows if row["output_usd_per_million_tokens"] is not None]
    assert priced == sorted(priced)
    by_name = {row["model"]: row for row in rows}
    # Half of the 1 and 5 dollars of https://platform.claude.com/docs/en/about-claude/pricing.
    haiku = by_name["claude-haiku-4-5"]
    assert (haiku["input_usd_per_million_tokens"], haiku["output_usd_per_million_tokens"]) == (0.5, 2.5)
    assert haiku["max_output_tokens"] == 64_000
    unpriced = [row["input_usd_per_million_tokens"] is None for row in rows]
    assert unpriced == sorted(unpriced)
    code, out, err = run("models", key=None)
    first, *lines = out.splitlines()
    assert first.split() == ["model", "USD", "in", "USD", "out", "most", "output", "tokens"]
    assert [line.split()[0] for line in lines] == [row["model"] for row in rows]
    assert "per million tokens in a batch, half the standard price; genai-prices" in err
