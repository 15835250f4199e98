"""Whether a server says by itself that it can take calls, and that it no longer can."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import httpx2
import pytest

from tests.e2e.test_shutdown import UNDER_WAY, serving
from tests.support.creates import requests
from tests.support.servers import CREATE, STATE_DIR, http_server, running
from tests.support.slow_creates import slow_creates

TOKEN = "a-token-of-32-characters-or-so-00"
NOWHERE = ("--base-url", "http://127.0.0.1:9")


def test_a_server_is_ready_and_needs_no_credential_to_say_so() -> None:
    with http_server(*NOWHERE, "--rest", "--rest-port", "0", BATCHES_MCP_TOKEN=TOKEN) as url:
        answer = httpx2.get(url.replace("/mcp", "/readyz"))
    assert (answer.status_code, answer.json()["status"], answer.json()["checks"]) == (200, "ready", {"state": "ok"})
    assert answer.headers["cache-control"] == "no-store"
    assert not list(Path(os.environ[STATE_DIR]).glob("ready*"))


def test_a_state_folder_that_cannot_be_used_is_named_without_its_path(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(0o700)
    flags = ["--transport", "http", "--port", "0", "--state-dir", str(folder / "state"), *NOWHERE]
    with running(["serve", *flags]) as process:
        url = process.say_until(r"serving MCP at (http://\S+)/mcp")[1]
        assert httpx2.get(f"{url}/readyz").status_code == 200
        folder.rename(tmp_path / "away")
        folder.write_text("no folder")
        for _ in range(2):
            answer = httpx2.get(f"{url}/readyz")
            assert answer.status_code == 503
            assert answer.json() == {
                "status": "not ready",
                "not_ready": {"state": "it cannot be used; the server's log has the details"},
                "checks": {"state": "it cannot be used; the server's log has the details"},
            }
        process.say_until(f"not ready: state: .*{folder}")
        assert httpx2.get(f"{url}/healthz").status_code == 200
        folder.unlink()
        (tmp_path / "away").rename(folder)
        assert httpx2.get(f"{url}/readyz").status_code == 200
    assert len([line for line in process.lines if "not ready" in line]) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send")
@pytest.mark.parametrize("transport", ["http-2025", "http-2026"])
def test_a_server_that_drains_is_not_ready_while_its_create_ends(transport: str) -> None:
    with slow_creates() as upstream, serving(transport, upstream.url, "--drain", "3000") as server:
        url = server.mcp.removesuffix("/mcp")
        answer = server.call(CREATE, {"requests": requests(1)})
        upstream.wait_for(1)
        assert httpx2.get(f"{url}/readyz").status_code == 200
        server.process.popen.send_signal(signal.SIGTERM)
        server.process.say_until(UNDER_WAY)
        ready = httpx2.get(f"{url}/readyz")
        assert (ready.status_code, ready.json()["not_ready"]) == (503, {"server": "it is shutting down"})
        assert httpx2.get(f"{url}/healthz").status_code == 200
        late = httpx2.post(f"{url}/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
        assert (late.status_code, late.headers["connection"]) == (503, "close")
        assert "did nothing about the request" in late.text
        upstream.answered.set()
        assert "msgbatch_1" in answer.result(20)
        assert server.ended() == 143
