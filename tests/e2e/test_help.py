"""Finding one's way at a shell: suggestions, help, examples, completion, and what the demo says to type next."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from batches_mcp.cli import cli
from batches_mcp.cli.examples import EXAMPLES
from tests.e2e.test_cli import run
from tests.support.servers import CREATE, LIST, RESULTS, RETRIEVE, command, environment


def commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(cli)
    for name in cli.list_commands(context):
        found = cli.get_command(context, name)
        assert found is not None
        yield name, found
        yield from ((f"{name} {part}", each) for part, each in getattr(found, "commands", {}).items())


NAMES = [name for name, _ in commands()]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("rnu",), "there is no command rnu; did you mean `run`?"),
        (("joobs",), "there is no command joobs; did you mean `jobs`?"),
        (("no-such-command",), "there is no command no-such-command; `batches-mcp --help` lists them"),
        (("help", "rnu"), "there is no command rnu; did you mean `run`?"),
        (("jobs", "--wach"), "Did you mean '--watch'?"),
        (("key", "shwo"), "Did you mean 'show'?"),
    ],
)
def test_what_was_meant_is_suggested(arguments: tuple[str, ...], words: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert words in err


def test_help_is_a_command_too() -> None:
    assert run("help") == run("--help")
    assert run("help", "jobs") == run("jobs", "--help")
    assert run("help", "key", "set") == run("key", "set", "--help")


HEAVY = {"anyio", "httpx2", "mcp", "pydantic", "rich", "sqlite3", "ssl", "starlette", "uvicorn", "yaml"}


def imported(*arguments: str, **variables: str) -> set[str]:
    """What is imported until a command line is answered, but for the parts of packages."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "batches_mcp", *arguments],
        env=environment(None, COLUMNS="80", **variables),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout
    lines = (line for line in done.stderr.splitlines() if line.startswith("import time:"))
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


def test_help_waits_for_nothing_heavy() -> None:
    assert not imported("--help") & HEAVY
    # Secrets among the settings are pydantic's.
    for command_name in ("serve", "run", "jobs"):
        assert imported(command_name, "--help") & HEAVY <= {"pydantic"}, command_name


@pytest.mark.parametrize("words", ["batches-mcp ", "batches-mcp run --", "batches-mcp jobs --", "batches-mcp --"])
def test_completion_waits_for_nothing_heavy(words: str) -> None:
    found = imported(_BATCHES_MCP_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(len(words.split(" ")) - 1))
    assert found & HEAVY <= {"pydantic"}


@pytest.mark.parametrize("columns", [80, 140])
@pytest.mark.parametrize("name", ["", *NAMES])
def test_help_has_two_examples_and_fits_the_terminal(name: str, columns: int) -> None:
    width = columns - 2
    found = dict(commands()).get(name, cli)
    context = click.Context(found, info_name=f"batches-mcp {name}", max_content_width=160, terminal_width=width)
    lines = found.get_help(context).splitlines()
    assert [line for line in lines if len(line) > width] == []
    if name:
        examples = lines[lines.index("  Examples:") + 1 :]
        assert examples == [f"    {line}" for example in EXAMPLES[name] for line in example.splitlines()]
        assert len(EXAMPLES[name]) == 2


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_can_be_typed(name: str) -> None:
    for example in EXAMPLES[name]:
        words = shlex.split(re.split(r" (?:\||>|<|&&) ", example.replace("\\\n", ""))[0])
        words = words[words.index("batches-mcp") + 1 :]
        assert " ".join(words).startswith(name)
        dict(commands())[name].make_context(name, words[len(name.split()) :])


def test_help_names_only_flags_that_mean_something() -> None:
    for name in ("run", "jobs", "results", "cancel", "models", "tools", "check"):
        help_text = run(name, "--help")[1]
        for flag in ("--root", "--wait-cap", "--allow-duplicates", "--no-ledger", "--exclude"):
            assert flag not in help_text, name
        assert ("--max-cost-usd" in help_text) is (name == "run"), name


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("batches-mcp ca", {"cancel", "call"}),
        ("batches-mcp --rea", {"--read-only"}),
        ("batches-mcp jobs --wa", {"--watch"}),
        (f"batches-mcp call {RETRIEVE[:-2]}", {RETRIEVE, RESULTS}),
        (f"batches-mcp explain {CREATE[:-4]}", {CREATE}),
        (f"batches-mcp --tools {LIST[:-4]}", {LIST}),
        (f"batches-mcp serve --exclude {LIST},{CREATE[:-4]}", {f"{LIST},{CREATE}"}),
    ],
)
def test_a_shell_completes(line: str, found: set[str]) -> None:
    code, out, err = run(
        _BATCHES_MCP_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=str(len(line.split(" ")) - 1)
    )
    assert (code, err) == (0, "")
    assert {each.partition(",")[2] for each in out.splitlines()} == found


def test_a_shell_completes_all_commands() -> None:
    _, out, _ = run(_BATCHES_MCP_COMPLETE="bash_complete", COMP_WORDS="batches-mcp ", COMP_CWORD="1")
    assert {each.partition(",")[2] for each in out.splitlines()} == {name for name in NAMES if " " not in name}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_that_a_shell_reads(shell: str) -> None:
    code, out, _ = run(_BATCHES_MCP_COMPLETE=f"{shell}_source")
    assert (code, "_BATCHES_MCP_COMPLETE" in out) == (0, True)


@pytest.mark.skipif(sys.platform == "win32", reason="the commands are those of a POSIX shell")
def test_the_demo_ends_with_commands_that_work(tmp_path: Path) -> None:
    folder = Path(sys.prefix).parent
    bare = {**environment(None), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        command("demo"), env=bare, cwd=folder, capture_output=True, text=True, check=True, timeout=100
    )
    next_ = done.stdout.partition("What to type next\n")[2]
    lines = [line.strip() for line in next_.splitlines() if line.strip() and not line.strip().startswith("#")]
    activate, job, install, claude = lines
    assert activate == f". {Path(sys.prefix).name}/bin/activate"
    assert install == "batches-mcp install"
    assert re.fullmatch(r"claude mcp add batches -- (/\S+) (?:-m batches_mcp )?serve", claude)
    out = tmp_path / "results.jsonl"
    script = f"{activate} && {job.replace('-o results.jsonl', f'-o {out}')} --quiet && batches-mcp install --help"
    typed = subprocess.run(
        ["sh", "-c", script], env=bare, cwd=folder, capture_output=True, text=True, check=False, timeout=100
    )
    assert len(out.read_text().splitlines()) == 54, typed.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="the commands are those of a POSIX shell")
def test_the_demo_says_nothing_of_activation_where_it_is_not_needed() -> None:
    path = f"{Path(sys.prefix, 'bin')}{os.pathsep}/usr/bin"
    done = subprocess.run(
        command("demo"),
        env={**environment(None), "PATH": path},
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    assert "activate" not in done.stdout


def test_an_error_of_a_call_speaks_to_a_person() -> None:
    code, out, err = run("call", LIST, key=None)
    assert (code, out) == (1, "")
    assert err.splitlines()[-1] == ("Next: run `batches-mcp key set`, or set ANTHROPIC_API_KEY; --sandbox needs no key")
    code, _, more = run("call", LIST, "limit=x", "--sandbox")
    assert code == 1
    assert "\n- limit: expected integer, found string" in more
    assert "Next:" not in more
    for text in (err, more):
        assert not re.search(r"tell the user|call again", text, re.IGNORECASE)


@pytest.mark.parametrize("amount", ["0", "nan", "much"])
def test_install_takes_only_a_cap_that_serve_takes(amount: str) -> None:
    code, out, err = run("install", "cursor", "--dry-run", "--max-cost-usd", amount)
    assert (code, out) == (2, "")
    assert "is not an amount" in err
