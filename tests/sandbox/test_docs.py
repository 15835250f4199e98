"""docs/sandbox.md says what the code does: its tables are the code's, and its examples run."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import httpx2
import pytest

from batches_mcp.sandbox import FAULTS, Answer, Inferred, ManualClock, Sandbox, SandboxConfig, running_sandbox
from batches_mcp.sandbox.config import SandboxOptions
from batches_mcp.sandbox.limits import LIMITS
from batches_mcp.sandbox.outcomes import ROW_RULES
from batches_mcp.sandbox.prompt import TRIGGERS

MANUAL = Path(__file__).parents[2] / "docs" / "sandbox.md"
UPDATE = "BATCHES_MCP_UPDATE_GOLDEN"


def _table(head: str, rows: Iterable[tuple[object, ...]]) -> str:
    lines = [tuple(head.split(" · ")), tuple("---" for _ in head.split(" · ")), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


TABLES = {
    "triggers": _table(
        "phrase · the request", ((f"`[[sandbox:{phrase}]]`", does) for phrase, does in TRIGGERS.items())
    ),
    "rows": _table("rule · evidence", ((rule.name, rule.evidence.value) for rule in ROW_RULES)),
    "faults": _table(
        "kind · what happens · options",
        ((f"`{kind}`", info.does, ", ".join(f"`{name}`" for name in info.options)) for kind, info in FAULTS.items()),
    ),
    "tiers": _table(
        "tier · requests a minute · requests in the queue",
        (
            (f"`{tier}`", f"{limits.requests_per_minute:,}", f"{limits.queued_requests:,}")
            for tier, limits in LIMITS.items()
        ),
    ),
    "answers": _table(
        "endpoint · to · status · answer · evidence · note",
        (
            (answer.endpoint, answer.to, answer.status, f"`{answer.label}`", answer.evidence.value, answer.note)
            for answer in Answer
        ),
    ),
    "switches": _table(
        "name · choices · about",
        ((f"`{s.name}`", ", ".join(f"`{choice}`" for choice in s.choices), s.about) for s in Inferred.switches()),
    ),
}


def test_tables() -> None:
    text = MANUAL.read_text("utf-8")
    written = text
    for name, table in TABLES.items():
        begin, end = f"<!-- {name} -->\n", "<!-- end -->"
        before, _, rest = written.partition(begin)
        assert rest, f"no place for the table of {name}"
        written = f"{before}{begin}{table}\n{end}{rest.partition(end)[2]}"
    if os.environ.get(UPDATE):
        MANUAL.write_text(written, "utf-8")
    else:
        assert text == written, f"run this test with {UPDATE}=1 to write the tables"


def _blocks(language: str) -> Iterator[str]:
    yield from re.findall(rf"```{language}\n(.*?)```", MANUAL.read_text("utf-8"), re.DOTALL)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox(clock=ManualClock()) as sandbox:
        yield sandbox


def test_every_curl_example(sandbox: Sandbox) -> None:
    headers = {"x-api-key": "any key", "anthropic-version": "2026-10-21"}
    body = {"requests": [{"custom_id": "a", "params": {}}]}
    path = f"{sandbox.url}/v1/messages/batches"
    lines = [line for block in _blocks("bash") for line in block.splitlines()]
    assert len(lines) == 17
    # The batches still have to be in progress where the examples end them.
    sandbox.clock.advance(3_600)
    ids = {name: httpx2.post(path, headers=headers, json=body).json()["id"] for name in ("BATCH_ID", "OTHER_ID")}
    with httpx2.Client() as http:
        for line in lines:
            if "clock/" in line:
                continue
            _curl(http, sandbox, line, ids)
        for line in lines:
            if "clock/" in line:
                _curl(http, sandbox, line, ids)


def _curl(http: httpx2.Client, sandbox: Sandbox, line: str, ids: dict[str, str]) -> None:
    for name, value in ids.items():
        line = line.replace(f"${name}", value)
    program, *words = shlex.split(line)
    method, data, url = "GET", None, ""
    while words:
        match words.pop(0):
            case "-X":
                method = words.pop(0)
            case "-d":
                data = words.pop(0)
            case word:
                assert not word.startswith("-")
                url = word
    assert program == "curl"
    # What curl itself says about a body without being told otherwise.
    headers = {} if data is None else {"content-type": "application/x-www-form-urlencoded"}
    response = http.request(method, url.replace("http://127.0.0.1:8080", sandbox.url), content=data, headers=headers)
    assert response.status_code == 200, response.text
    assert "error" not in response.json()


def test_the_sdk_example(sandbox: Sandbox) -> None:
    example = next(block for block in _blocks("python") if "pytest" not in block)
    names: dict[str, object] = {}
    exec(example.replace("http://127.0.0.1:8080", sandbox.url), names)  # noqa: S102 - the manual's own
    names["client"].close()  # type: ignore[attr-defined]  # an SDK client
    assert sandbox.requests[-1].answer == "created"


def test_the_pytest_example(tmp_path: Path) -> None:
    (tmp_path / "test_greetings.py").write_text(next(block for block in _blocks("python") if "pytest" in block))
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", str(tmp_path)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout
    assert "3 passed" in ran.stdout


def test_it_names_every_option() -> None:
    text = MANUAL.read_text("utf-8")
    assert {field for field in SandboxConfig.__dataclass_fields__ if field != "choices"} == set(
        SandboxOptions.__annotations__
    )
    for option in SandboxOptions.__annotations__:
        assert f"`{option}`" in text
