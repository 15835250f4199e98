"""What a failed command says is for the person who gave it: nothing that only a model could do."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from batches_mcp.sandbox import Sandbox
from batches_mcp.store.folders import LEDGER
from tests.e2e.test_cli import run
from tests.support.jobs import request
from tests.support.scripted import answer, failure, scripted_upstream
from tests.support.servers import CREATE

# What a model is asked to do, and what only a tool's call has.
FOR_MODELS = re.compile(r"the user\b|\bcall again|same call|a retry may help|the server's environment", re.IGNORECASE)
KEY = "sk-ant-api03-of-this-test"


def failed(folder: Path, *arguments: str, **variables: str) -> str:
    """What a command that fails says."""
    (folder / "in.jsonl").write_text(json.dumps(request("a", "hello")) + "\n")
    code, out, err = run(*arguments, cwd=folder, **variables)
    assert (code, out) == (1, ""), err
    assert not FOR_MODELS.search(err), err
    return err


@pytest.mark.parametrize(
    ("status", "kind", "next_step"),
    [
        (400, "invalid_request_error", "Change the request as the message says."),
        (401, "authentication_error", "Correct it: the upstream does not accept the value of ANTHROPIC_API_KEY."),
        (402, "billing_error", "See to the account's billing."),
        (403, "permission_error", "Use a credential that has permission for this."),
        (413, "request_too_large", "Send less in one request: split it."),
    ],
)
def test_what_the_api_refuses(status: int, kind: str, next_step: str, tmp_path: Path) -> None:
    with scripted_upstream(failure(status, kind, "Not like this.")) as upstream:
        err = failed(
            tmp_path, "run", "in.jsonl", "-o", "out.jsonl", ANTHROPIC_API_KEY=KEY, BATCHES_MCP_BASE_URL=upstream.url
        )
    assert f"{kind} (HTTP {status}, request req_scripted): Not like this.\nNext: {next_step}\n" in err


@pytest.mark.parametrize(
    ("status", "next_step"),
    [
        (302, "Redirects are not followed. Check the base URL."),
        (404, "Check the base URL: that is not how the API answers, and so something else may be there."),
    ],
)
def test_what_is_not_the_api(status: int, next_step: str, tmp_path: Path) -> None:
    with scripted_upstream(answer(status, b"elsewhere", kind="text/plain")) as upstream:
        err = failed(
            tmp_path, "run", "in.jsonl", "-o", "out.jsonl", ANTHROPIC_API_KEY=KEY, BATCHES_MCP_BASE_URL=upstream.url
        )
    assert err.endswith(f"\nNext: {next_step}\n")


def test_a_missing_key(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(json.dumps(request("a", "hello")) + "\n")
    code, out, err = run("run", "in.jsonl", "-o", "out.jsonl", cwd=tmp_path, ANTHROPIC_API_KEY="")
    assert (code, out) == (2, ""), err
    assert err.endswith(
        "there is no API key. Run `batches-mcp key set`, or set ANTHROPIC_API_KEY, or ANTHROPIC_API_KEY_FILE to the path of a file "
        "that holds it.\n"
    )


def test_a_key_that_fits_no_header(tmp_path: Path) -> None:
    err = failed(tmp_path, "run", "in.jsonl", "-o", "out.jsonl", ANTHROPIC_API_KEY="sk-ant-gehe\u00efm")
    assert err.endswith("Next: Correct ANTHROPIC_API_KEY.\n")


def test_the_cap(tmp_path: Path) -> None:
    err = failed(tmp_path, "run", "in.jsonl", "-o", "out.jsonl", "--sandbox", "--max-cost-usd", "0.0000001")
    assert err.endswith(
        "Next: This was not sent. Fewer requests or a lower max_tokens cost less, or raise --max-cost-usd.\n"
    )


@pytest.mark.parametrize("command", [("jobs",), ("run", "in.jsonl", "-o", "out.jsonl")])
@pytest.mark.parametrize(
    ("broken", "next_step"),
    [
        ("damaged", "Move that file away; what it held is then unknown here"),
        ("later", "Use that version, or another --state-dir."),
        ("a folder", "Make room or give access there, or name another folder with --state-dir."),
    ],
)
def test_a_ledger_that_cannot_be_used(
    command: tuple[str, ...], broken: str, next_step: str, sandbox: Sandbox, key: str, tmp_path: Path
) -> None:
    state = ("--state-dir", str(tmp_path / "state"))
    variables = {"ANTHROPIC_API_KEY": key, "BATCHES_MCP_BASE_URL": sandbox.url}
    made = json.dumps({"requests": [request("a", "hello")]})
    code, _, err = run("call", CREATE, "--args", made, *state, cwd=tmp_path, **variables)
    assert code == 0, err
    [ledger] = (tmp_path / "state").glob(f"*/{LEDGER}")
    if broken == "later":
        with closing(sqlite3.connect(ledger)) as db:
            db.execute("PRAGMA user_version = 99")
    else:
        for path in ledger.parent.glob(f"{LEDGER}*"):
            path.unlink()
        if broken == "damaged":
            ledger.write_bytes(b"no database " * 1000)
        else:
            ledger.mkdir()
    assert f"\nNext: {next_step}" in failed(tmp_path, *command, *state, **variables)
