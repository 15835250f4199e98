"""Connections to the upstream: which are used again, how much is read from them, and what is left when a client goes."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from mcp.client.client import Client

from batches_mcp.core.settings import BatchSettings
from tests.support.creates import requests
from tests.support.rest import BATCHES, raw, rest_server
from tests.support.scripted import answer, scripted_upstream
from tests.support.servers import (
    CANCEL,
    CAPABILITY,
    CREATE,
    LIST,
    RESULTS,
    RETRIEVE,
    STATE_DIR,
    error_of,
    server_for,
)

pytestmark = pytest.mark.anyio

ID = {"message_batch_id": "msgbatch_1"}
# Far more than the 64,000 bytes that are kept of an error, and what sockets hold on the way.
_MOST_BYTES = 64_000_000


@dataclass(slots=True)
class Endless:
    """An upstream whose error never ends; `hung_up` is set when the client has left before `_MOST_BYTES`."""

    url: str
    hung_up: threading.Event = field(default_factory=threading.Event)


@contextmanager
def endless_error(first: bytes | None = None) -> Iterator[Endless]:
    """Run one, which answers the first request with `first`, if that is given."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        upstream = Endless(f"http://127.0.0.1:{listener.getsockname()[1]}")

        def serve() -> None:
            with ExitStack() as connections:
                if first is not None:
                    opening = connections.enter_context(listener.accept()[0])
                    opening.recv(65_536)
                    opening.sendall(first)
                connection = connections.enter_context(listener.accept()[0])
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 400 No\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n")
                piece = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
                try:
                    for _ in range(_MOST_BYTES // 65_536):
                        connection.sendall(piece)
                    connection.sendall(b"0\r\n\r\n")
                except OSError:
                    upstream.hung_up.set()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield upstream
        thread.join(20)


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [(RETRIEVE, ID), (CANCEL, ID), (CREATE, {"requests": requests(1)})],
    ids=["kept", "own", "upload"],
)
async def test_an_error_that_does_not_end_is_cut(tool: str, arguments: dict[str, object]) -> None:
    with endless_error() as upstream:
        # With a ledger, the list is asked for before a create.
        async with Client(server_for(upstream.url, batch=BatchSettings(ledger=False))) as client:
            assert error_of(await client.call_tool(tool, arguments))["status"] == 400
        assert upstream.hung_up.wait(20)


@pytest.mark.parametrize("target", [f"{BATCHES}/msgbatch_1", f"{BATCHES}/msgbatch_1/results"])
def test_an_error_that_does_not_end_is_cut_over_rest(target: str) -> None:
    with endless_error() as upstream, rest_server(upstream.url) as served:
        reply = raw(served, "GET", target)
        assert (reply.status, len(reply.body) < 1_000_000) == (400, True)
        assert upstream.hung_up.wait(20)


async def test_a_results_download_that_is_an_endless_error_is_cut() -> None:
    ended = {"id": "msgbatch_1", "processing_status": "ended", "results_url": "x", "request_counts": {"succeeded": 1}}
    with endless_error(answer(200, ended)) as upstream:
        async with Client(server_for(upstream.url)) as client:
            assert error_of(await client.call_tool(RESULTS, ID))["status"] == 400
        assert upstream.hung_up.wait(20)


async def test_only_requests_that_may_be_repeated_share_a_connection(tmp_path: Path) -> None:
    file = tmp_path / "capability.yaml"
    file.write_text(CAPABILITY.read_text("utf-8").replace("idempotent: true", "idempotent: false"), "utf-8")
    with scripted_upstream(answer(200, {"id": "msgbatch_1"})) as upstream:
        async with Client(server_for(upstream.url, file=file)) as client:
            for tool, arguments in ((LIST, {}), (RETRIEVE, ID), (CANCEL, ID), (CANCEL, ID), (LIST, {}), (CANCEL, ID)):
                assert not (await client.call_tool(tool, arguments)).is_error
            await client.call_tool(CREATE, {"requests": requests(1, "a")})
            await client.call_tool(CREATE, {"requests": requests(1, "b")})
        by_method = {
            method: [each.connection for each in upstream.received if each.method == method]
            for method in ("GET", "POST")
        }
    assert len(set(by_method["GET"])) == 1
    assert len(by_method["POST"]) == len(set(by_method["POST"])) == 5
    assert not set(by_method["GET"]) & set(by_method["POST"])


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux tells which files a process has open")
def test_a_client_that_leaves_in_the_middle_of_an_upload_leaves_nothing_behind() -> None:
    assert sys.platform == "linux"
    with rest_server("http://127.0.0.1:9", "--log-level", "info") as served:
        folder = Path(os.environ[STATE_DIR]) / "incoming"
        fds = Path(f"/proc/{served.process.popen.pid}/fd")

        def held() -> list[str]:
            links = []
            for each in fds.iterdir():
                with suppress(FileNotFoundError):
                    links.append(str(each.readlink()))
            return [link for link in links if link.startswith(str(folder))]

        with socket.create_connection(served.address, timeout=20) as client:
            head = f"POST {BATCHES} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            client.sendall(f"{head}expect: 100-continue\r\ncontent-length: 200000000\r\n\r\n".encode())
            assert client.recv(65_536).startswith(b"HTTP/1.1 100")
            assert len(held()) == 1  # the file is there before the first byte is asked for
            client.sendall(b" " * 3_000_000)
        served.process.say_until("the client left before its request was complete")
        assert held() == []
        assert [*folder.iterdir()] == []
