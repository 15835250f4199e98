"""`batches-mcp run` as somebody types it for the first time: a CSV in, a CSV out, and what it says to mistakes."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path
from typing import Any

import pytest

from batches_mcp.sandbox import ManualClock, Sandbox, running_sandbox
from tests.e2e.test_cli import run
from tests.support.jobs import Shell, ids
from tests.support.servers import ROOT, command, environment

PROMPT = ("--prompt", "Summarise in one sentence: {{body}}", "--model", "claude-haiku-5-5", "--max-tokens", "200")
ROWS = 'id,customer,body\nT-1,Ann,"Late, and wet"\nT-2,Jürgen,Too small\nT-3,Li,"He said ""no"""\nT-4,Zoë,Blue\n'


@pytest.fixture
def shell(quick: Sandbox, tmp_path: Path) -> Shell:
    (tmp_path / "tickets.csv").write_text(ROWS, "utf-8")
    return Shell(tmp_path, quick, f"sk-ant-{uuid.uuid4().hex}")


@pytest.fixture
def slow(held: Sandbox, tmp_path: Path) -> Shell:
    (tmp_path / "tickets.csv").write_text(ROWS, "utf-8")
    return Shell(tmp_path, held, f"sk-ant-{uuid.uuid4().hex}")


def sent(shell: Shell) -> list[dict[str, Any]]:
    """The requests of all creates."""
    bodies = [json.loads(each.body) for each in shell.requests("created")]
    return [request for body in bodies for request in body["requests"]]


def test_one_line_from_csv_to_csv(shell: Shell) -> None:
    done = shell.run("run", "tickets.csv", *PROMPT, "--system", "For {{customer}}.", "-o", "answers.csv")
    assert done.code == 0, done.err
    assert next(request["params"] for request in sent(shell)) == {
        "model": "claude-haiku-5-5",
        "max_tokens": 200,
        "system": "For Ann.",
        "messages": [{"role": "user", "content": "Summarise in one sentence: Late, and wet"}],
    }
    with (shell.folder / "answers.csv").open(newline="", encoding="utf-8-sig") as file:
        assert len(list(csv.DictReader(file))) == 4
    assert "4 requests for claude-haiku-5-5 in 1 batch.\n" in done.err
    assert "Most batches end within an hour, all within 24 hours.\n" in done.err


def test_the_example_that_is_shipped(tmp_path: Path) -> None:
    done = run(
        "run", str(ROOT / "examples" / "tickets.csv"), *PROMPT, "--id-column", "id", "-o", "answers.csv", "--sandbox",
        cwd=tmp_path, ANTHROPIC_API_KEY="",
    )  # fmt: skip
    code, _, err = done
    assert code == 0, err
    assert "200: 200 succeeded" in err
    assert "The sandbox bills nothing, and its batches end within seconds.\n" in err
    assert "end with this command" in err


def test_the_example_is_in_every_installation_and_has_what_real_tables_have() -> None:
    name = "examples/tickets.csv"
    built = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"]
    assert built["wheel"]["force-include"][name] == f"batches_mcp/{name}"
    with (ROOT / name).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "customer", "subject", "body"]
    assert len({row["id"] for row in rows}) == len({row["body"] for row in rows}) == 200
    for found in (",", '"', "\n", "ü"):
        assert any(found in row["body"] for row in rows), found


EXAMPLE = (
    '  batches-mcp run tickets.csv --prompt "Summarise in one sentence: {{body}}" --model claude-haiku-5-5 '
    "--max-tokens 200 -o answers.csv"
)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            (),
            [
                (
                    "tickets.csv holds rows with the columns id, customer, body: --prompt, or --template T.json, says what "
                    "to ask of each; for example:"
                ),
                EXAMPLE,
            ],
        ),
        (("--prompt", "{{body}}"), ["--prompt: --model and --max-tokens are missing; for example:", EXAMPLE]),
        (("--prompt", "{{body}}", "--model", "m"), ["--prompt: --max-tokens is missing; for example:", EXAMPLE]),
        (
            ("--model", "m", "--id-column", "id"),
            ["--model and --id-column: only with --prompt; for example:", EXAMPLE],
        ),
        (
            (*PROMPT, "--template", "{}"),
            ["--prompt and --template both say what to ask of each row; use one of them"],
        ),
        (
            ("--template", "{}", "--max-tokens", "9"),
            ["--max-tokens: goes with --prompt; with --template, the template itself says it"],
        ),
        (("--template", "{model"), ["--template: is not JSON: "]),
        (("--template", "t.jsn"), ["--template: t.jsn is not there; did you mean t.json?"]),
    ],
)
def test_flags_of_the_template(arguments: tuple[str, ...], said: list[str], tmp_path: Path) -> None:
    (tmp_path / "tickets.csv").write_text(ROWS, "utf-8")
    (tmp_path / "t.json").write_text("{}")
    code, out, err = run("run", "tickets.csv", "-o", "answers.csv", *arguments, cwd=tmp_path)
    assert (code, out) == (2, "")
    lines = err.splitlines()
    assert len(lines) == len(said), err
    for line, start in zip(lines, said, strict=True):
        assert line.removeprefix("batches-mcp: ").startswith(start)


def test_a_file_of_whole_requests_takes_no_prompt(shell: Shell) -> None:
    shell.write("in.jsonl", ["hello"])
    refused = shell.run("run", "in.jsonl", *PROMPT, "-o", "out.jsonl")
    assert (refused.code, shell.creates) == (2, 0)
    assert refused.err.splitlines()[-1] == (
        "batches-mcp: FILE: in.jsonl holds whole requests, each with params of its own; leave --prompt, --template and "
        "what goes with them out"
    )


def test_a_template_on_the_command_line(shell: Shell) -> None:
    params = {"model": "claude-haiku-5-5", "max_tokens": 9, "messages": [{"role": "user", "content": "{{body}}"}]}
    done = shell.run("run", "tickets.csv", "--template", json.dumps(params), "-o", "-", "--quiet")
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == 4


def test_a_prompt_that_names_no_column(shell: Shell) -> None:
    prompt = ("--prompt", "Summarise: {body}", *PROMPT[2:])
    refused = shell.run("run", "tickets.csv", *prompt, "-o", "answers.csv")
    assert (refused.code, shell.creates) == (2, 0)
    assert "batches-mcp: --prompt: {body} is not filled in; did you mean {{body}}?\n" in refused.err
    refused = shell.run("run", "tickets.csv", "--prompt", "Summarise", *PROMPT[2:], "-o", "answers.csv")
    assert (refused.code, shell.creates) == (2, 0)
    assert "batches-mcp: --prompt: names no column" in refused.err


def test_ids_of_a_column(shell: Shell) -> None:
    done = shell.run("run", "tickets.csv", *PROMPT, "--id-column", "id", "-o", "out.jsonl")
    assert done.code == 0, done.err
    assert ids(shell.folder / "out.jsonl") == ["T-1", "T-2", "T-3", "T-4"]
    (shell.folder / "bad.csv").write_text("id,body\nT 1,x\nT-2,x\nT-2,x\n")
    refused = shell.run("run", "bad.csv", *PROMPT, "--id-column", "id", "-o", "bad.jsonl")
    assert (refused.code, shell.creates) == (1, 1)
    assert "line 2, custom_id: 'T 1' has ' '; allowed are letters, digits, - and _" in refused.err
    assert "line 4, custom_id: 'T-2' is the custom_id of line 3 as well" in refused.err


def test_a_trial_of_the_first_rows(shell: Shell) -> None:
    trial = shell.run("run", "tickets.csv", *PROMPT, "--limit", "2", "-o", "trial.jsonl", "--report", "report.json")
    assert trial.code == 0, trial.err
    assert len(ids(shell.folder / "trial.jsonl")) == 2
    assert "A trial of the first 2 of 4 rows: without --limit, the same command sends all.\n" in trial.err
    assert "trial       of the first rows of 4; without --limit, all are sent\n" in trial.err
    assert json.loads((shell.folder / "report.json").read_text())["trial_of"] == 4
    again = shell.run("run", "tickets.csv", *PROMPT, "--limit", "2", "-o", "trial.jsonl")
    assert (again.code, shell.creates) == (0, 1), again.err
    assert "of the first rows of 4" in again.err
    whole = shell.run("run", "tickets.csv", *PROMPT, "--limit", "9", "-o", "all.jsonl")
    assert whole.code == 0, whole.err
    assert "trial" not in whole.err
    assert len(ids(shell.folder / "all.jsonl")) == 4


def test_a_label(shell: Shell) -> None:
    assert shell.run("run", "tickets.csv", *PROMPT, "--label", "spring", "-o", "out.jsonl").code == 0
    assert [job["label"] for job in json.loads(shell.run("jobs", "--json").out)] == ["spring"]


def test_a_label_is_as_long_as_that_of_the_tool_at_most(shell: Shell) -> None:
    for label, says in (("x" * 201, "has 201 characters; at most 200 are kept"), ("", "is empty")):
        refused = shell.run("run", "tickets.csv", *PROMPT, "--label", label, "-o", "out.jsonl")
        assert (refused.code, shell.creates, refused.err) == (2, 0, f"batches-mcp: --label: {says}\n")


def test_a_dry_run_needs_no_key_and_sends_nothing(shell: Shell) -> None:
    without = Shell(shell.folder, shell.sandbox, "")
    dry = without.run("run", "tickets.csv", *PROMPT, "--dry-run")
    assert dry.code == 0, dry.err
    first = json.loads(dry.out)
    assert first["params"]["messages"][0]["content"] == "Summarise in one sentence: Late, and wet"
    assert "4 requests for claude-haiku-5-5 in 1 batch.\nWhat is sent may cost $0.0000" in dry.err
    assert dry.err.endswith("Most batches end within an hour, all within 24 hours.\nNothing was sent.\n")
    piped = without.run("run", "-", *PROMPT, "--dry-run", "--limit", "3", stdin=ROWS.encode())
    assert "A trial of the first 3 of 4 rows" in piped.err
    (shell.folder / "bad.jsonl").write_text('{"custom_id": "a b", "params": {}}\n')
    bad = without.run("run", "bad.jsonl", "--dry-run")
    assert (bad.code, bad.out) == (1, b"")
    assert bad.err.endswith("Nothing was sent. Correct the rows with errors, or leave them out with --skip-invalid.\n")
    assert not without.sandbox.requests or not shell.requests()


def test_an_unknown_price_always_asks(shell: Shell) -> None:
    unknown = [*PROMPT[:2], "--model", "claude-of-tomorrow", *PROMPT[4:]]
    refused = shell.run("run", "tickets.csv", *unknown, "-o", "out.jsonl", "--confirm-over", "1000000")
    assert (refused.code, shell.creates) == (2, 0)
    why = "an amount that cannot be estimated (the price of claude-of-tomorrow is not known)"
    assert f"What is sent may cost {why}.\n" in refused.err
    assert refused.err.endswith(
        f"it may cost {why}, which always asks, and nobody can be asked here, so nothing was sent; add --yes\n"
    )
    assert shell.run("run", "tickets.csv", *unknown, "-o", "out.jsonl", "--yes").code in (0, 1)
    assert shell.creates == 1


def test_what_people_name_as_file(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("tickets.csv", "more.jsonl", "notes.txt"):
        (tmp_path / "data" / name).write_text("x")
    (tmp_path / "empty.csv").touch()
    (tmp_path / "nothing").mkdir()

    def said(*arguments: str) -> str:
        code, out, err = run("run", *arguments, cwd=tmp_path)
        assert (code, out) == (2, "")
        return err

    data = Path("data")
    assert said("data", "-o", "a.csv") == (
        "batches-mcp: FILE: data is a folder; name a file of requests or rows, such as "
        f"{data / 'more.jsonl'}, {data / 'tickets.csv'}\n"
    )
    assert "and it holds none that ends in .csv, .tsv, .jsonl, .json\n" in said("nothing", "-o", "a.csv")
    assert said("data/ticket.csv", "-o", "a.csv") == (
        f"batches-mcp: FILE: cannot read data/ticket.csv: it is not there; did you mean {data / 'tickets.csv'}?\n"
    )
    assert said("data/zzz", "-o", "a.csv").endswith("it is not there; there are more.jsonl, tickets.csv\n")
    assert said("nowhere/a.csv", "-o", "a.csv").endswith("it is not there, and neither is the folder nowhere\n")
    assert said("empty.csv", *PROMPT, "-o", "a.csv") == "batches-mcp: FILE: empty.csv is empty\n"
    (tmp_path / "in.jsonl").write_text("{}")
    assert said("in.jsonl", "-o", "data") == (
        f"batches-mcp: -o: data is a folder; name a file in it, such as {data / 'in.results.jsonl'}\n"
    )
    assert "-o says where the results go, such as -o answers.csv" in said("in.jsonl")


def test_the_wait_says_what_to_expect(slow: Shell) -> None:
    command = ("run", "tickets.csv", *PROMPT, "-o", "out.jsonl")
    with slow.running(*command) as process:
        slow.until(5)  # two looks, the create, and two looks at what became of it
        process.kill()
        _, err = process.communicate(timeout=30)
    assert b"Waiting: no progress is visible until a batch ends, at the latest at " in err
    assert err.count(b"Ctrl-C is safe: the same command goes on; `batches-mcp cancel ID` cancels.") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_stopped_sandbox_is_not_said_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "tickets.csv").write_text(ROWS, "utf-8")
    process = subprocess.Popen(
        command("run", "tickets.csv", *PROMPT, "-o", "out.jsonl", "--sandbox"),
        cwd=tmp_path,
        env=environment(None),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        assert any(line.startswith("Waiting. The sandbox and its batches end") for line in process.stderr)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert err == "Stopped, and the sandbox with its batches as well. The same command starts it again.\n"


class Terminal:
    """A command on a pseudo-terminal, and what it has shown there."""

    def __init__(self, shell: Shell, kind: str, *arguments: str) -> None:
        import pty

        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            shell.command(*arguments),
            cwd=shell.folder,
            env={**shell.environment, "TERM": kind, "COLUMNS": "100"},
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=theirs,
        )
        os.close(theirs)
        self.seen = b""

    def until(self, words: bytes) -> None:
        """Read until it has shown these words, or has ended."""
        try:
            while words not in self.seen and (chunk := os.read(self._ours, 4096)):
                self.seen += chunk
        except OSError:
            pass  # how Linux tells the end of a pseudo-terminal

    def ended(self) -> tuple[int, str]:
        """Its exit code, and all it has shown."""
        self.until(b"\0")
        self.process.communicate(timeout=30)
        os.close(self._ours)
        return self.process.returncode, self.seen.decode()


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="pseudo-terminals")
@pytest.mark.parametrize(("kind", "bar"), [("xterm", True), ("dumb", False)])
def test_on_terminals(shell: Shell, kind: str, bar: bool) -> None:
    code, seen = Terminal(shell, kind, "run", "tickets.csv", *PROMPT, "-o", "out.jsonl").ended()
    assert code == 0
    assert ("━" in seen, "\x1b[" in seen) == (bar, bar)
    assert "4: 4 succeeded" in seen


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="pseudo-terminals")
def test_a_job_that_is_resumed_shows_the_time_since_its_first_batch(tmp_path: Path) -> None:
    (tmp_path / "tickets.csv").write_text(ROWS, "utf-8")
    with running_sandbox(clock=ManualClock(), process_seconds=80_000, retry_after_seconds=0) as sandbox:
        shell = Shell(tmp_path, sandbox, f"sk-ant-{uuid.uuid4().hex}")
        arguments = ("run", "tickets.csv", *PROMPT, "-o", "out.jsonl")
        with shell.running(*arguments) as process:
            shell.until(1, "created")
            shell.until(len(shell.requests()) + 1)
            process.kill()
            process.wait(30)
        sandbox.clock.advance(3 * 3600)
        resumed = Terminal(shell, "xterm", *arguments)
        resumed.until(b"3:00:0")
        sandbox.clock.advance(80_000)
        code, seen = resumed.ended()
    assert code == 0
    assert "3:00:0" in seen
    assert shell.creates == 1


def test_the_help_is_in_groups(tmp_path: Path) -> None:
    code, out, _ = run("run", "--help", cwd=tmp_path, COLUMNS="80")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    found = [line.removesuffix(":") for line in out.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert found == ["Input", "Output", "Money", "Resume and retry", "API"]
