"""No secret reaches anything: results, errors, logs, and what the SDK makes of an exception."""

from __future__ import annotations

import base64
import logging
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from mcp.client.client import Client

from batches_mcp.core.logs import configure
from batches_mcp.core.redact import Redactor
from batches_mcp.exchange.upstream import Upstream
from tests.support.scripted import HANG, answer, failure, scripted_upstream
from tests.support.servers import (
    CREATE,
    LIST,
    REQUEST,
    RETRIEVE,
    Era,
    environment,
    error_of,
    running,
    server_for,
    text_of,
)

pytestmark = pytest.mark.anyio

SECRET = "a-secret-of-ours-1234"
ENCODED = base64.b64encode(SECRET.encode()).decode()


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_key_that_the_upstream_echoes_is_masked_in_results(era: Era) -> None:
    page = {"data": [{f"key {SECRET}": ["deep", {"also": f"<{SECRET}> {ENCODED} sk-ant-api03-somebody-elses"}]}]}
    with scripted_upstream(answer(200, page)) as upstream:
        async with Client(server_for(upstream.url, SECRET), mode=era) as client:
            result = await client.call_tool(LIST, {})
    assert result.structured_content == {"data": [{"key ***": ["deep", {"also": "<***> *** ***"}]}]}
    assert SECRET not in text_of(result)


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_key_that_the_upstream_echoes_is_masked_in_errors(era: Era) -> None:
    with scripted_upstream(failure(401, f"type_{SECRET}", f"The key {SECRET} is bad.")) as upstream:
        async with Client(server_for(upstream.url, SECRET), mode=era) as client:
            result = await client.call_tool(LIST, {})
    assert SECRET not in result.model_dump_json()
    assert error_of(result)["message"] == "The key *** is bad."


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_an_unexpected_exception_reaches_no_client_and_no_log_in_clear(
    era: Era, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError(f"connecting with {SECRET}")

    monkeypatch.setattr(Upstream, "send", broken)
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        configure("warning", Redactor.of([SECRET]), "text")
        async with Client(server_for("http://127.0.0.1:9", SECRET), mode=era) as client:
            result = await client.call_tool(LIST, {})
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    assert SECRET not in result.model_dump_json()
    assert "RuntimeError" not in result.model_dump_json()
    logged = capsys.readouterr().err
    reference = text_of(result).partition("(reference ")[2].partition(")")[0]
    assert reference
    assert f"(reference {reference})" in logged
    assert "RuntimeError: connecting with ***" in logged
    assert SECRET not in logged


async def test_without_a_key_the_server_lists_and_calls_name_the_variable() -> None:
    with scripted_upstream(answer(200, {})) as upstream:
        async with Client(server_for(upstream.url, None)) as client:
            assert len((await client.list_tools()).tools) == 6
            result = await client.call_tool(RETRIEVE, {"message_batch_id": "x"})
        assert upstream.received == []
    assert error_of(result)["type"] == "missing_variable"
    assert "the environment variable ANTHROPIC_API_KEY is not set (or is empty)" in text_of(result)


async def test_a_key_that_no_header_can_hold_is_blamed_on_its_variable() -> None:
    async with Client(server_for("http://127.0.0.1:9", "zwei\nzeilen")) as client:
        result = await client.call_tool(LIST, {})
    assert "the value of ANTHROPIC_API_KEY has characters that the header x-api-key cannot hold" in text_of(result)
    assert "zeilen" not in text_of(result)


def test_debug_logs_of_a_whole_session_hold_no_key(tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(f"{SECRET}\n")
    key_file.chmod(0o644)
    with scripted_upstream(failure(401, "authentication_error", f"{SECRET}?")) as upstream:
        flags = ["call", LIST, "--base-url", upstream.url, "--log-level", "debug"]
        with running(flags, None, ANTHROPIC_API_KEY_FILE=str(key_file)) as process:
            assert process.popen.stdout is not None
            output = process.popen.stdout.read().decode()
            assert process.popen.wait(30) == 1
        assert upstream.received[0].headers["x-api-key"] == SECRET
    said = "\n".join(process.lines)
    assert f"ANTHROPIC_API_KEY_FILE: others may read {key_file}; run: chmod 600" in said
    assert "DEBUG" in said
    assert SECRET not in said + output


async def test_a_canceled_call_stops_its_request() -> None:
    with scripted_upstream(HANG) as upstream:
        async with Client(server_for(upstream.url)) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, CREATE, {"requests": [REQUEST]})
            assert await anyio.to_thread.run_sync(upstream.arrived.wait, 20)
            tasks.cancel_scope.cancel()
        assert len(upstream.received) == 1


def test_the_environment_of_tests_holds_no_real_key() -> None:
    assert "ANTHROPIC_API_KEY" not in environment(None)
