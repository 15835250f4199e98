"""The same OUT again: what an earlier run wrote there gives way to a run that has at least as much, and nothing else does."""

from __future__ import annotations

import csv
import os
import uuid
from pathlib import Path

import pytest

from batches_mcp.sandbox import Sandbox
from tests.support.jobs import Done, Shell, ids

MORE = "name another OUT, or add --overwrite"


@pytest.fixture
def shell(quick: Sandbox, tmp_path: Path) -> Shell:
    rows = "".join(f"T-{number},text {number}\n" for number in range(6))
    (tmp_path / "tickets.csv").write_text(f"id,body\n{rows}", "utf-8")
    return Shell(tmp_path, quick, f"sk-ant-{uuid.uuid4().hex}", rows_per_batch=100)


def ran(shell: Shell, *more: str, prompt: str = "Sum up: {{body}}", tokens: int = 200, out: str = "a.csv") -> Done:
    asked = ("--prompt", prompt, "--model", "claude-haiku-5-5", "--max-tokens", str(tokens))
    return shell.run("run", "tickets.csv", *asked, "-o", out, "--state-dir", "state", *more)


def table(shell: Shell) -> list[dict[str, str]]:
    with (shell.folder / "a.csv").open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def edited(shell: Shell, old: str, new: str, name: str = "tickets.csv") -> None:
    path = shell.folder / name
    text = path.read_text("utf-8-sig")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def test_a_trial_becomes_the_whole(shell: Shell) -> None:
    assert ran(shell, "--limit", "2").code == 0
    trial = table(shell)
    done = ran(shell)
    assert done.code == 0, done.err
    assert "2 rows answered before, taken from there\n" in done.err
    assert len(table(shell)) == 6
    assert [row["answer"] for row in table(shell)[:2]] == [row["answer"] for row in trial]
    written = (shell.folder / "a.csv").read_bytes()
    smaller = ran(shell, "--limit", "2")
    assert (smaller.code, shell.creates) == (2, 2)
    assert f"a.csv has 6 rows of an earlier run, and this one has 2; {MORE}\n" in smaller.err
    assert (shell.folder / "a.csv").read_bytes() == written
    assert ran(shell, "--limit", "2", "--overwrite").code == 0
    assert len(table(shell)) == 2


def test_what_failed_is_corrected_and_run_again(shell: Shell) -> None:
    edited(shell, "text 3", "[[sandbox:errored invalid_request_error]]")
    assert ran(shell).code == 1
    edited(shell, "[[sandbox:errored invalid_request_error]]", "text 3 corrected")
    done = ran(shell)
    assert done.code == 0, done.err
    assert "5 rows answered before" in done.err
    assert [row["outcome"] for row in table(shell)] == ["succeeded"] * 6


def test_answers_that_were_cut_get_more_tokens(shell: Shell) -> None:
    assert ran(shell).code == 0
    done = ran(shell, tokens=400)
    assert (done.code, shell.creates) == (0, 2), done.err


def test_what_was_edited_since_is_left_alone(shell: Shell) -> None:
    assert ran(shell, "--limit", "2").code == 0
    path = shell.folder / "a.csv"
    before = path.stat()
    edited(shell, "T-1", "T-9", "a.csv")
    written = path.read_bytes()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    refused = ran(shell)
    assert (refused.code, shell.creates) == (2, 1)
    assert f"a.csv was changed after batches-mcp wrote it; {MORE}\n" in refused.err
    assert path.read_bytes() == written


def test_what_only_has_another_time_is_the_same(shell: Shell) -> None:
    assert ran(shell, "--limit", "2").code == 0
    os.utime(shell.folder / "a.csv", (1, 1))
    assert ran(shell).code == 0


def test_answers_to_something_else_are_left_alone(shell: Shell) -> None:
    assert ran(shell).code == 0
    other = ran(shell, prompt="Translate: {{body}}")
    assert (other.code, shell.creates) == (2, 1)
    assert f"a.csv has the answers to another prompt, model or template; {MORE}\n" in other.err
    (shell.folder / "more.csv").write_bytes((shell.folder / "tickets.csv").read_bytes())
    asked = ("--prompt", "Sum up: {{body}}", "--model", "claude-haiku-5-5", "--max-tokens", "200")
    of_another = shell.run("run", "more.csv", *asked, "-o", "a.csv", "--state-dir", "state", "--limit", "6")
    assert of_another.code == 2
    assert f"a.csv has the results of another FILE, {shell.folder / 'tickets.csv'}; {MORE}\n" in of_another.err


def test_answers_are_not_replaced_by_failures(shell: Shell) -> None:
    shell.write("in.jsonl", ["hello"] * 4)
    whole = ("run", "in.jsonl", "-o", "out.jsonl", "--state-dir", "state")
    assert shell.run(*whole).code == 0
    written = (shell.folder / "out.jsonl").read_bytes()
    shell.write("in.jsonl", ["[[sandbox:errored invalid_request_error]]"] * 2 + ["hello"] * 2)
    failed = shell.run(*whole)
    assert failed.code == 1
    assert "not written  out.jsonl keeps the 4 answers of an earlier run; -o FILE writes elsewhere\n" in failed.err
    assert (shell.folder / "out.jsonl").read_bytes() == written
    elsewhere = shell.run("run", "in.jsonl", "-o", "other.jsonl", "--state-dir", "state")
    assert (elsewhere.code, shell.creates) == (1, 2)
    assert ids(shell.folder / "other.jsonl") == [f"row-{number}" for number in range(4)]


def test_requests_from_standard_input_have_no_earlier_out(shell: Shell) -> None:
    text = shell.write("in.jsonl", ["hello"] * 2).read_bytes()
    arguments = ("run", "-", "-o", "out.jsonl", "--state-dir", "state")
    assert shell.run(*arguments, stdin=text).code == 0
    more = text + shell.write("more.jsonl", {"other": "hello"}).read_bytes()
    refused = shell.run(*arguments, stdin=more)
    assert refused.code == 2
    assert f"out.jsonl has the results of another run, of standard input; {MORE}\n" in refused.err
