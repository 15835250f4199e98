"""Where people stumble in their first hour with `batches-mcp run`, and what they are told there."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from batches_mcp.sandbox import Sandbox
from tests.e2e.test_cli import run
from tests.support.jobs import Shell

PROMPT = ("--prompt", "Sum up: {{body}}", "--model", "claude-haiku-5-5", "--max-tokens", "200")


@pytest.fixture
def shell(quick: Sandbox, tmp_path: Path) -> Shell:
    (tmp_path / "tickets.csv").write_text("id,body\nT-1,Late\nT-2,Wet\nT-3,Blue\n", "utf-8")
    return Shell(tmp_path, quick, f"sk-ant-{uuid.uuid4().hex}", rows_per_batch=100)


def test_what_the_sandbox_answered_makes_room(shell: Shell) -> None:
    """Its answers are made up: nobody needs them once the command is run again, or in earnest."""
    variables = {"BATCHES_MCP_STATE_DIR": "", "XDG_STATE_HOME": str(shell.folder / "state"), "HOME": str(shell.folder)}
    tried = ("run", "tickets.csv", *PROMPT, "-o", "a.csv", "--sandbox")
    for _ in range(2):
        code, _, err = run(*tried, cwd=shell.folder, ANTHROPIC_API_KEY="", **variables)
        assert code == 0, err
    real = {"ANTHROPIC_API_KEY": shell.key, "BATCHES_MCP_BASE_URL": shell.sandbox.url, **variables}
    code, _, err = run(*tried[:-1], "--limit", "1", cwd=shell.folder, **real)
    assert code == 0, err
    assert (shell.folder / "a.csv").read_bytes().count(b"\n") == 2
    # What has been paid for does not.
    paid = (shell.folder / "a.csv").read_bytes()
    code, _, err = run(*tried, cwd=shell.folder, ANTHROPIC_API_KEY="", **variables)
    assert (code, (shell.folder / "a.csv").read_bytes()) == (2, paid), err


def test_a_change_to_what_the_sandbox_answered_is_kept(shell: Shell) -> None:
    variables = {"XDG_STATE_HOME": str(shell.folder / "state"), "HOME": str(shell.folder), "ANTHROPIC_API_KEY": ""}
    tried = ("run", "tickets.csv", *PROMPT, "-o", "a.csv", "--sandbox")
    assert run(*tried, cwd=shell.folder, BATCHES_MCP_STATE_DIR="", **variables)[0] == 0
    with (shell.folder / "a.csv").open("a") as file:
        file.write("mine")
    code, _, err = run(*tried, cwd=shell.folder, BATCHES_MCP_STATE_DIR="", **variables)
    assert (code, "a.csv was changed after batches-mcp wrote it" in err) == (2, True)


def test_a_sandbox_that_was_given_up_promises_no_resume(shell: Shell) -> None:
    tried = ("run", "tickets.csv", *PROMPT, "-o", "a.csv", "--sandbox", "--give-up", "0.1", "--state-dir", "state")
    code, _, err = run(*tried, cwd=shell.folder, ANTHROPIC_API_KEY="")
    assert code == 1
    assert "Gave up after 0.1 s: OUT has 0 rows, and 3 of the job are missing; the sandbox ends with them. " in err
    assert err.endswith("The same command starts it again.\n")
    assert "resume" not in err


def test_openai_lines_are_no_rows_either(shell: Shell) -> None:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    (shell.folder / "in.jsonl").write_text(json.dumps(line))
    refused = shell.run("run", "in.jsonl", *PROMPT, "-o", "out.csv")
    assert (refused.code, shell.creates) == (2, 0)
    assert "FILE: in.jsonl is in the format of OpenAI's batches" in refused.err


def test_empty_cells_that_the_prompt_asks_about_are_named(shell: Shell) -> None:
    (shell.folder / "some.csv").write_text('id,body\nT-1,Late\nT-2,\nT-3," "\nT-4,Blue\n', "utf-8")
    dry = shell.run("run", "some.csv", *PROMPT, "--dry-run")
    assert dry.code == 0
    assert "warning: line 3, body; line 4, body: the cell is empty\n" in dry.err
    # Of a trial, those of its rows.
    trial = shell.run("run", "some.csv", *PROMPT, "--limit", "2", "-o", "out.csv")
    assert "warning: line 3, body: the cell is empty" in trial.err


def test_a_wrong_model_is_blamed_on_its_flag(shell: Shell) -> None:
    dry = shell.run("run", "tickets.csv", *PROMPT[:2], "--model", "claude-haku-5-5", *PROMPT[4:], "--dry-run")
    assert "warning: --model: 'claude-haku-5-5' is not known here; did you mean `claude-haiku-5-5`?" in dry.err
    empty = shell.run("run", "tickets.csv", *PROMPT, "--system", "", "--id-column", "id", "--dry-run")
    assert "template" not in empty.err


@pytest.mark.parametrize("command", ["run", "results"])
def test_without_a_key_every_command_says_the_same(command: str, shell: Shell) -> None:
    arguments = ("run", "tickets.csv", *PROMPT) if command == "run" else ("results", "msgbatch_1")
    refused = Shell(shell.folder, shell.sandbox, "").run(*arguments, "-o", "out.csv")
    assert refused.code == 2
    assert refused.err.splitlines()[-1].startswith(
        "batches-mcp: there is no API key. Run `batches-mcp key set`, or set ANTHROPIC_API_KEY"
    )


def test_an_empty_ledger_is_no_matter_of_keys(shell: Shell) -> None:
    done = Shell(shell.folder, shell.sandbox, "").run("jobs", "--state-dir", "state")
    assert (done.code, done.err.splitlines()[1:]) == (
        0,
        ["batches-mcp: no batch was submitted from here yet: the ledger is empty"],
    )
