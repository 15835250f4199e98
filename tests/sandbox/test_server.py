"""Running, stopping, and the state that stays."""

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from starlette.testclient import TestClient

from batches_mcp.sandbox import ManualClock, SandboxConfig, StateFileError, create_app, running_sandbox
from batches_mcp.sandbox.store import Store

Ask = Callable[..., dict[str, Any]]

PATH = "/v1/messages/batches"
HEADERS = {"x-api-key": "k", "anthropic-version": "2026-10-21"}


def test_a_free_port_and_no_thread_left() -> None:
    threads = set(threading.enumerate())
    with running_sandbox() as one, running_sandbox() as two:
        assert one.port != two.port
        assert one.url == f"http://127.0.0.1:{one.port}"
        assert httpx2.get(one.url + PATH, headers=HEADERS).status_code == 200
    assert not set(threading.enumerate()) - threads
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(one.url + PATH, headers=HEADERS)


def test_ipv6() -> None:
    try:
        with running_sandbox(host="::1") as sandbox:
            assert sandbox.url == f"http://[::1]:{sandbox.port}"
            assert httpx2.get(sandbox.url + PATH, headers=HEADERS).status_code == 200
    except OSError as error:
        pytest.skip(f"no IPv6 loopback here: {error}")


def test_port_in_use() -> None:
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as taken,
        pytest.raises(OSError, match="in use"),
        running_sandbox(port=taken.getsockname()[1]),
    ):
        pass


def test_stops_while_a_client_does_not_read(ask: Ask) -> None:
    with running_sandbox(process_seconds=0) as sandbox:
        with httpx2.Client(base_url=sandbox.url, headers=HEADERS) as client:
            requests = [ask(f"row-{number}", "é" * 300) for number in range(20_000)]
            batch_id = client.post(PATH, json={"requests": requests}, timeout=30).json()["id"]
        stalled = socket.create_connection(("127.0.0.1", sandbox.port))
        lines = [f"GET {PATH}/{batch_id}/results HTTP/1.1", "host: x", *(f"{k}: {v}" for k, v in HEADERS.items())]
        stalled.sendall("\r\n".join([*lines, "", ""]).encode())
        assert stalled.recv(15) == b"HTTP/1.1 200 OK"
    stalled.close()


def test_state_survives(tmp_path: Path, ask: Ask) -> None:
    state, clock = tmp_path / "state.sqlite", ManualClock()
    ids, results = [], []
    for _ in range(2):
        with (
            running_sandbox(state=state, clock=clock) as sandbox,
            anthropic.Anthropic(base_url=sandbox.url, api_key="k", max_retries=0) as client,
        ):
            requests: Any = [ask(f"row-{number}") for number in range(9)]
            ids.append(client.messages.batches.create(requests=requests).id)
            clock.advance(5)
            results.append([row.to_json() for row in client.messages.batches.results(ids[0])])
            assert [batch.id for batch in client.messages.batches.list()] == ids[::-1]
    assert results[0] == results[1]
    assert stat.S_IMODE(state.stat().st_mode) == 0o600


def test_temporary_state_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Ask) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with running_sandbox() as sandbox:
        httpx2.post(sandbox.url + PATH, headers=HEADERS, json={"requests": [ask()]})
        assert list(tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == []


def test_a_create_cut_off_by_a_crash_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.sqlite")
    store.open()
    number = store.reserve()
    store.add_requests(number, 0, [b"{}"] * 10)
    store.close()
    store.open()
    try:
        assert store._writer.execute("SELECT count(*) FROM requests").fetchone() == (0,)
        assert store.reserve() > number
    finally:
        store.close()


@pytest.mark.parametrize("content", [b"not a database, " * 100, None])
def test_a_file_of_another_kind_is_left_alone(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "other"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(StateFileError, match=str(path)), running_sandbox(state=path):
        pass
    assert content is None or path.read_bytes() == content


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    subprocess.run(
        [sys.executable, "-c", f"import sqlite3; sqlite3.connect({str(path)!r}).execute('CREATE TABLE t(x)')"]
    )
    before = path.read_bytes()
    with pytest.raises(StateFileError, match="not a state file"), running_sandbox(state=path):
        pass
    assert path.read_bytes() == before


def test_a_fault_of_the_sandbox_itself_is_a_500(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(Store, "page", broken)
    with TestClient(create_app(SandboxConfig()), raise_server_exceptions=False) as client:
        response = client.get(PATH, headers=HEADERS)
    assert response.status_code == 500
    assert response.json()["error"] == {"type": "api_error", "message": "Internal server error"}
    assert response.headers["request-id"] == response.json()["request_id"]


SERVE = """
import sys
from batches_mcp.sandbox import SandboxConfig, run_sandbox
sys.exit(128 + run_sandbox("127.0.0.1", 0, SandboxConfig()))
"""


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground_until_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SERVE],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stderr is not None
        url = process.stderr.readline().split()[-1]
        assert httpx2.get(url + PATH, headers=HEADERS).status_code == 200
        process.send_signal(number)
        output, errors = process.communicate(timeout=20)
    assert (process.returncode, output, errors) == (128 + number, "", "")
    assert list(tmp_path.iterdir()) == []


def test_the_sandbox_imports_nothing_else_of_ours() -> None:
    code = "import sys, batches_mcp.sandbox; print(*(name for name in sys.modules if name.startswith('batches_mcp.')))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in loaded if not name.startswith("batches_mcp.sandbox")] == []
    assert not {"httpx2", "mcp", "pydantic", "click"} & set(loaded)
