"""The cap on costs from a shell: as a flag and in the environment, and over a whole job with its retries."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from batches_mcp.sandbox import Sandbox
from tests.e2e.test_cli import run
from tests.support.jobs import Shell, request
from tests.support.servers import CREATE, LIST

DOCUMENT = {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}


@pytest.fixture
def shell(held: Sandbox, tmp_path: Path) -> Shell:
    return Shell(tmp_path, held, f"sk-ant-{uuid.uuid4().hex}")


def write(shell: Shell, *rows: dict[str, Any]) -> None:
    (shell.folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("amount", ["nan", "inf", "-inf", "1e400", "0", "-0.0", "-1", "much", "1,5", "$5"])
@pytest.mark.parametrize("given", ["flag", "environment"])
def test_a_cap_that_is_no_amount_is_a_usage_error(amount: str, given: str, tmp_path: Path) -> None:
    flags = [f"--max-cost-usd={amount}"] if given == "flag" else []
    twin = {"BATCHES_MCP_MAX_COST_USD": amount} if given == "environment" else {}
    (tmp_path / "in.jsonl").write_text(json.dumps(request("a", "hello")) + "\n")
    for command in (("serve",), ("run", "in.jsonl", "-o", "out.jsonl"), ("call", LIST)):
        code, out, err = run(*command, "--sandbox", *flags, cwd=tmp_path, **twin)
        assert (code, out) == (2, ""), err
        assert "--max-cost-usd" in err
        assert amount in err
        assert "expected US dollars, a finite number above 0" in err


def test_an_empty_cap_is_none(tmp_path: Path) -> None:
    code, _, err = run("call", LIST, "--sandbox", cwd=tmp_path, BATCHES_MCP_MAX_COST_USD="")
    assert code == 0, err


def test_a_job_whose_cost_cannot_be_estimated_is_refused_whole_under_a_cap(shell: Shell) -> None:
    document = request("last", "hello")
    document["params"]["messages"] = [{"role": "user", "content": [DOCUMENT]}]
    write(shell, *(request(f"r{number}", "hello") for number in range(6)), document)
    refused = shell.run("run", "in.jsonl", "-o", "out.jsonl", "--max-cost-usd", "5", "--yes")
    assert (refused.code, shell.creates) == (1, 0)
    assert "line 7 ('last') asks for a document by URL" in refused.err
    assert "--max-cost-usd only allows batches whose cost can be estimated" in refused.err
    assert "tell the user" not in refused.err.lower()


@pytest.mark.parametrize("odd", ["model", "document"])
def test_an_unknown_price_always_asks(odd: str, shell: Shell) -> None:
    row = request("a", "hello")
    if odd == "model":
        row["params"]["model"] = "claude-none-9"
    else:
        row["params"]["messages"] = [{"role": "user", "content": [DOCUMENT]}]
    write(shell, row)
    refused = shell.run("run", "in.jsonl", "-o", "out.jsonl", "--confirm-over", "1000000")
    assert (refused.code, shell.creates) == (2, 0)
    assert "it may cost an amount that cannot be estimated" in refused.err
    assert "add --yes" in refused.err


def test_retries_of_a_job_are_under_the_cap_as_well(shell: Shell) -> None:
    """Rows that expired cost nothing, but what stands in for them until that is known counts."""
    write(shell, *(request(f"r{number}", "hello") for number in range(5)))
    plan = shell.run("run", "in.jsonl", "-o", "out.jsonl", "--max-cost-usd", "0.0000001")
    high = float(plan.err.partition("the batch may cost up to ")[2].split(" USD")[0])
    with shell.running("run", "in.jsonl", "-o", "out.jsonl", "--max-cost-usd", str(high * 1.6)) as process:
        shell.until(1, "created")
        [first] = shell.batches()
        shell.sandbox.expire(first["id"])
        shell.until(2, "created")  # what expired was free, so that there is room for it again
        [_, second] = shell.batches()
        shell.sandbox.end(second["id"])
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err


def test_a_retry_that_would_go_over_the_cap_is_not_sent(shell: Shell) -> None:
    write(shell, *(request(f"r{number}", "hello") for number in range(5)))
    with shell.running("run", "in.jsonl", "-o", "out.jsonl", "--max-cost-usd", "0.5") as process:
        shell.until(1, "created")
        [first] = shell.batches()
        # Spent meanwhile by a server without a cap, in the same ledger.
        dear = request("dear", "hello")
        dear["params"] |= {"model": "claude-opus-5-5", "max_tokens": 100_000}
        spent = shell.run("call", CREATE, "--args", json.dumps({"requests": [dear]}))
        assert spent.code == 0, spent.err
        shell.sandbox.expire(first["id"])
        _, err = process.communicate(timeout=30)
    assert (process.returncode, shell.creates) == (1, 2)
    assert b"or raise --max-cost-usd" in err
