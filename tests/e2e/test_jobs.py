"""`jobs` at a terminal and in a pipe: how batches stand, in lines that fit, once or until all have ended."""

from __future__ import annotations

import json
import signal
import sys
import uuid
from pathlib import Path

import pytest

from batches_mcp.sandbox import Sandbox
from tests.e2e.test_one_batch import said, submitted
from tests.support.jobs import Shell

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")


@pytest.fixture
def shell(held: Sandbox, tmp_path: Path) -> Shell:
    return Shell(tmp_path, held, f"sk-ant-{uuid.uuid4().hex}", rows_per_batch=100)


def seen(shell: Shell, columns: int, *arguments: str) -> list[str]:
    from tests.support.terminal import seen_at

    return seen_at(columns, shell.command(*arguments), shell.environment, shell.folder).splitlines()


def test_no_line_folds_at_80_columns(shell: Shell) -> None:
    ended = submitted(shell, "hello", *["[[sandbox:errored]]"] * 3, "[[sandbox:expired]]")
    open_ = submitted(shell, "more")
    shell.sandbox.end(ended)
    lines = seen(shell, 80, "jobs")
    assert max(map(len, lines)) <= 80
    first, below, second, also_below = lines[-4:]
    assert first.split(maxsplit=1) == [open_, "in progress"]
    assert below.startswith("  a label: 1 row, ")
    assert ", cost up to $0.0" in below
    assert second.split(maxsplit=1) == [ended, "ended: 1 ok, 3 failed, 1 expired"]
    assert also_below.startswith("  a label: 5 rows, ")


def test_one_line_each_where_there_is_room(shell: Shell) -> None:
    batch_id = submitted(shell, "hello")
    head, line = seen(shell, 160, "jobs")[-2:]
    assert head.split() == ["batch", "status", "rows", "age", "cost", "results", "until", "what"]
    assert line.startswith(f"{batch_id}  in progress  1 ")
    assert line.endswith("  a label")
    piped = shell.run("jobs").out.decode().splitlines()
    assert [each.split()[0] for each in piped] == ["batch", batch_id]


def test_whose_batches_they_are_where_there_are_several_accounts(shell: Shell) -> None:
    theirs = submitted(shell, "hello")
    other = Shell(shell.folder, shell.sandbox, f"sk-ant-{uuid.uuid4().hex}", rows_per_batch=100)
    own = submitted(other, "hello")
    head, *lines = other.run("jobs").out.decode().splitlines()
    assert "account" in head.split()
    by_id = {line.split()[0]: line for line in lines}
    assert by_id.keys() == {own, theirs}
    assert "this key's" in by_id[own]
    assert "other " in by_id[theirs]


def test_what_is_kept_of_the_json_stays(shell: Shell) -> None:
    submitted(shell, "hello")
    [job] = json.loads(shell.run("jobs", "--json").out)
    assert set(job) == {
        "batch_id", "label", "source", "rows", "status", "created_at", "results_expire_at", "estimate_usd", "cost_usd",
        "parent", "part",
    }  # fmt: skip


def test_watch_in_a_pipe_tells_what_changes_and_ends_with_the_last_batch(shell: Shell) -> None:
    first, second = submitted(shell, "hello"), submitted(shell, "[[sandbox:errored]]")
    asked = len(shell.requests())
    with shell.running("jobs", "--watch") as process:
        shell.until(asked + 1)
        shell.sandbox.end(first)
        shell.until(asked + 3)
        shell.sandbox.end(second)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    lines = out.decode().splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["batch", second, first]
    assert lines[3:] == [f"{first}  ended: 1 ok  a label", f"{second}  ended: 1 failed  a label"]


def test_watch_at_a_terminal_ends_with_the_list_as_it_is(shell: Shell) -> None:
    batch_id = submitted(shell, "hello")
    shell.sandbox.end(batch_id)
    lines = seen(shell, 80, "jobs", "--watch")
    assert max(map(len, lines)) <= 80
    assert lines[-3].split(maxsplit=1) == [batch_id, "ended: 1 ok"]
    assert "as the API says now" in lines[-1]


def test_watch_can_be_stopped(shell: Shell) -> None:
    submitted(shell, "hello")
    asked = len(shell.requests())
    with shell.running("jobs", "--watch") as process:
        shell.until(asked + 2)
        done = shell.stopped(process, signal.SIGINT)
    assert done.code == 130
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--watch", "--json"), "--watch shows the list as it changes; leave --json out"),
        (("--watch", "show", "msgbatch_1"), "leave `show` out"),
        (("show",), "jobs show: which batch? `batches-mcp jobs` lists their ids"),
        (("shwo", "msgbatch_1"), "found 'shwo msgbatch_1'; did you mean `show`?"),
        (("show", "msgbatch_none"), "the ledger knows no batch msgbatch_none; `batches-mcp jobs` lists those it knows"),
    ],
)
def test_wrong_use(shell: Shell, arguments: tuple[str, ...], words: str) -> None:
    done = shell.run("jobs", *arguments)
    assert (done.code, done.out) == (2, b"")
    assert words in done.err


def test_watch_without_a_key_says_so_and_ends(shell: Shell) -> None:
    submitted(shell, "hello")
    done = Shell(shell.folder, shell.sandbox, "").run("jobs", "--watch")
    assert (done.code, said(done).startswith("batches-mcp: there is no API key. ")) == (2, True)
