"""The command line as a person meets it: what it prints, where, and the exit code."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from batches_mcp.sandbox import Sandbox
from tests.support.servers import CAPABILITY, CREATE, LIST, RETRIEVE, SEED, command, environment, running


def run(*arguments: str, key: str | None = "test-key", cwd: Path | None = None, **env: str) -> tuple[int, str, str]:
    done = subprocess.run(
        command(*arguments),
        env=environment(key, **env),
        cwd=cwd,
        capture_output=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_check_prints_every_problem_at_once_with_its_place(tmp_path: Path) -> None:
    text = CAPABILITY.read_text("utf-8")
    text = text.replace(
        "call: message-batches-message-batches.retrievemessagebatch\n",
        "call: message-batches-message-batches.retrievemessagebatsh\n",
        1,
    )
    text = text.replace(
        "    - name: anthropic-list-message-batches\n",
        "    - name: anthropic-list-message-batches\n      titel: List\n",
    )
    text = text.replace("info:\n", "info:\n  label: Twice\n")
    broken = tmp_path / "broken.yaml"
    broken.write_text(text, "utf-8")
    code, out, err = run("check", "broken.yaml", cwd=tmp_path)
    lines = out.splitlines()
    assert (code, err) == (1, "")
    written = text.splitlines()
    call = next(number for number, line in enumerate(written, 1) if "retrievemessagebatsh" in line)
    assert [line.split(": ")[:2] for line in lines[:-1]] == [
        ["broken.yaml:6:3", "duplicate-key"],
        [f"broken.yaml:{call}:15", "call-target"],
        [f"broken.yaml:{written.index('      titel: List') + 1}:7", "unknown-key"],
    ]
    assert lines[1].endswith("did you mean `message-batches-message-batches.retrievemessagebatch`?")
    assert lines[-1] == "broken.yaml: 3 errors, 0 warnings"


def test_a_cap_on_costs_needs_the_ledger() -> None:
    code, out, err = run("serve", "--no-ledger", "--max-cost-usd", "1")
    assert (code, out) == (2, "")
    assert "--max-cost-usd needs the ledger" in err


def test_under_a_cap_a_post_that_nobody_reckons_is_left_out(sandbox: Sandbox, key: str) -> None:
    flags = ("--base-url", sandbox.url, "--max-cost-usd", "1")
    code, _, err = run("call", LIST, *flags, "--capability", str(SEED), key=key)
    assert code == 0
    assert f"--max-cost-usd: {CREATE} is left out, because nothing is known of what it spends" in err
    code, _, err = run("call", LIST, *flags, key=key)
    assert code == 0
    assert "left out" not in err


def test_check_json_is_an_array_of_diagnostics() -> None:
    code, out, _ = run("check", str(SEED), "--json")
    problems = json.loads(out)
    assert code == 0
    assert {problem["severity"] for problem in problems} == {"warning"}
    assert set(problems[0]) == {"file", "line", "col", "code", "severity", "message", "hint"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), 0),
        ((str(SEED),), 0),
        ((str(SEED), "--strict"), 1),
        (("--strict",), 0),
        (("no-such-file.yaml",), 2),
        ((str(CAPABILITY), str(SEED)), 0),
        ((str(CAPABILITY), "no-such-file.yaml"), 2),
        ((str(SEED.parent),), 0),
        ((str(SEED.parents[1] / "invalid" / "files"), str(SEED)), 1),
    ],
)
def test_the_exit_code_of_check(arguments: Sequence[str], code: int) -> None:
    assert run("check", *arguments)[0] == code


def test_check_of_several_ends_with_a_summary(tmp_path: Path) -> None:
    (tmp_path / "inner" / ".hidden").mkdir(parents=True)
    for name, text in {
        "good.yaml": CAPABILITY.read_text("utf-8"),
        "inner/bad.yml": "naftiko: 1",
        "inner/warned.yaml": SEED.read_text("utf-8"),
        "inner/.hidden/more.yaml": "naftiko: 1",
        "notes.txt": "no capability",
    }.items():
        (tmp_path / name).write_text(text, "utf-8")
    code, out, err = run("check", "good.yaml", ".", cwd=tmp_path)
    lines = out.splitlines()
    assert (code, err) == (1, "")
    assert {line.partition(":")[0] for line in lines[:-1]} == {"inner/bad.yml", "inner/warned.yaml"}
    assert lines[-1] == "3 files, 1 failed: 2 errors, 12 warnings"
    assert run("check", ".", "--strict", cwd=tmp_path)[1].splitlines()[-1].startswith("3 files, 2 failed: ")
    problems = json.loads(run("check", ".", "--json", cwd=tmp_path)[1])
    assert {problem["file"] for problem in problems} == {"inner/bad.yml", "inner/warned.yaml"}


def test_check_says_which_of_several_cannot_be_read(tmp_path: Path) -> None:
    code, out, err = run("check", str(SEED), "none.yaml", "--json", cwd=tmp_path)
    assert code == 2
    assert len(json.loads(out)) == 11
    assert err == "batches-mcp: cannot read the capability file none.yaml: No such file or directory\n"
    code, out, err = run("check", str(tmp_path))
    assert (code, out) == (2, "")
    assert "there is no .yaml or .yml file in this folder" in err


def test_a_broken_capability_file_starts_no_server(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_bytes(b"naftiko: 1.0.0-alpha2\n\tinfo: x\n")
    code, out, err = run("--capability", str(broken))
    assert (code, out) == (1, "")
    assert (
        err
        == f"{broken}:2:1: tab: a tab in the indentation; YAML indents with spaces\nbatches-mcp: the capability file does not load\n"
    )


def test_tools_shows_names_hints_and_arguments() -> None:
    code, out, _ = run("tools", key=None)
    assert code == 0
    assert "anthropic-delete-message-batch  (destructive, idempotent)" in out
    assert "- message_batch_id (string, required): The id of the batch" in out


def test_tools_json_is_what_mcp_lists() -> None:
    tools = json.loads(run("tools", "--json")[1])
    assert [tool["name"] for tool in tools][:2] == [LIST, CREATE]
    assert tools[0]["annotations"]["openWorldHint"] is True
    assert tools[0]["inputSchema"]["properties"]["limit"]["maximum"] == 1000


def test_call_prints_the_answer(sandbox: Sandbox, key: str) -> None:
    code, out, err = run("call", LIST, "limit=3", "--base-url", sandbox.url, key=key)
    assert (code, json.loads(out)) == (0, {"data": [], "has_more": False, "first_id": None, "last_id": None})
    assert err == f"batches-mcp: requests go to {sandbox.url}\n"
    assert sandbox.requests[-1].query == "limit=3"


def test_call_prints_an_error_on_standard_error(sandbox: Sandbox, key: str) -> None:
    code, out, err = run(
        "call", RETRIEVE, "--args", '{"message_batch_id": "msgbatch_none"}', "--base-url", sandbox.url, key=key
    )
    assert (code, out) == (1, "")
    assert "not_found_error (HTTP 404, request req_" in err


def test_call_with_the_embedded_sandbox_needs_and_sends_no_key() -> None:
    code, out, err = run("call", LIST, "--sandbox", key="sk-ant-real-key")
    assert (code, json.loads(out)["data"]) == (0, [])
    assert "requests go to the sandbox at http://127.0.0.1:" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["call", "anthropic-list-message-batch"], "there is no tool called anthropic-list-message-batch; did you mean `anthropic-list-message-batches`?"),
        (["call", LIST, "limit"], "limit: expected key=value"),
        (["call", LIST, "--args", "{"], "--args is not JSON"),
        (["call", LIST, "--args", "[]"], "--args: expected a JSON object"),
        (["call", LIST, "--args", "{}", "limit=1"], "not both"),
        (["--tools", "nonsense"], "--tools: there is no tool called nonsense"),
        (["--read-only", "--tools", CREATE], "leave no tool to serve"),
        (["--base-url", "http://example.com"], "--base-url: the URL would send the key unencrypted"),
        (["--base-url", "ftp://x"], "--base-url: the URL is not an http or https URL"),
        (["--sandbox", "--base-url", "http://127.0.0.1:1"], "--sandbox and --base-url both say where requests go"),
        (["--capability", "no-such-file.yaml"], "cannot read the capability file no-such-file.yaml: No such file or directory"),
        (["--no-such-flag"], "No such option"),
        (["no-such-command"], "there is no command no-such-command"),
    ],
)  # fmt: skip
def test_wrong_usage_is_said_in_words_with_exit_code_2(arguments: list[str], words: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err


def test_both_ways_of_giving_a_secret_at_once_are_refused(tmp_path: Path) -> None:
    code, _, err = run("call", LIST, ANTHROPIC_API_KEY_FILE=str(tmp_path / "key"))
    assert (code, err) == (
        2,
        "batches-mcp: ANTHROPIC_API_KEY and ANTHROPIC_API_KEY_FILE are both set; unset one of them\n",
    )


@pytest.mark.parametrize("content", [None, ""])
def test_a_secret_file_that_gives_nothing_is_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_text(content)
    code, _, err = run("call", LIST, key=None, ANTHROPIC_API_KEY_FILE=str(path))
    assert code == 2
    assert f"ANTHROPIC_API_KEY_FILE: {'cannot read ' if content is None else ''}{path}" in err


def test_anthropic_base_url_counts_for_anthropics_file_and_a_flag_wins(
    sandbox: Sandbox, key: str, tmp_path: Path
) -> None:
    assert run("call", LIST, key=key, ANTHROPIC_BASE_URL=sandbox.url)[0] == 0
    assert sandbox.requests[-1].path == "/v1/messages/batches"
    flags = ["--base-url", f"{sandbox.url}/v1"]
    assert run("call", LIST, *flags, key=key, ANTHROPIC_BASE_URL="http://127.0.0.1:9")[0] == 0
    other = tmp_path / "other.yaml"
    other.write_text(
        CAPABILITY.read_text("utf-8").replace("https://api.anthropic.com/v1", "http://127.0.0.1:9/v1"), "utf-8"
    )
    assert (
        "no connection to 127.0.0.1:9"
        in run("call", LIST, "--capability", str(other), key=key, ANTHROPIC_BASE_URL=sandbox.url)[2]
    )


def test_the_packaged_capability_is_found_from_any_folder(tmp_path: Path) -> None:
    assert run("check", cwd=tmp_path)[0] == 0


def test_the_demo_plays_the_whole_journey_in_plain_text_when_piped() -> None:
    code, out, _ = run("demo", key=None)
    assert code == 0
    for words in ("anthropic-retrieve-message-batch-results   read-only, idempotent", "in_progress: 54 processing",
                  "ended: 52 succeeded, 1 errored, 1 expired", "canceled", "message_batch_deleted", "Done."):  # fmt: skip
        assert words in out
    assert "\x1b" not in out


def test_the_sandbox_command_serves_until_a_signal(tmp_path: Path) -> None:
    state = tmp_path / "state.sqlite"
    with running(["sandbox", "--port", "0", "--process-seconds", "0", "--state", str(state)]) as process:
        url = process.say_until(r"(http://\S+)")[1]
        assert json.loads(run("call", LIST, "--base-url", url)[1])["data"] == []
        with running(["sandbox", "--port", url.rpartition(":")[2]]) as second:
            assert second.popen.wait(30) == 1
        process.popen.send_signal(signal.SIGINT)
        assert process.popen.wait(30) == 130
    assert "Address already in use; choose another --port" in second.lines[-1]
    assert state.exists()


def test_a_state_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("something else entirely, and long enough to be a database header, it seems")
    code, _, err = run("sandbox", "--port", "0", "--state", str(tmp_path / "state"))
    assert code == 1
    assert err.startswith("batches-mcp: the sandbox cannot keep its state: ")


def test_a_reader_that_goes_away_is_no_failure_to_explain() -> None:
    """As in `batches-mcp demo | head -1`."""
    with running(["demo"]) as process:
        assert process.popen.stdout is not None
        process.popen.stdout.readline()
        process.popen.stdout.close()
        process.popen.wait(30)
    assert not any("Traceback" in line or "internal error" in line for line in process.lines)


@pytest.mark.parametrize("name", ["serve", "call", "tools", "check", "demo", "sandbox"])
def test_every_command_has_help(name: str) -> None:
    code, out, _ = run(name, "--help")
    assert (code, out.startswith(f"Usage: batches-mcp {name}")) == (0, True)
    assert name in run("--help")[1]
