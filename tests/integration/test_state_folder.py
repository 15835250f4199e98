"""What is kept in the state folder: by whom it is found, how long, who can see it, and what several processes do."""

from __future__ import annotations

import os
import re
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import pytest
from mcp.client.client import Client

from batches_mcp.core.limits import Limits
from batches_mcp.exchange.upstream import Clock
from batches_mcp.sandbox import ManualClock, Sandbox
from batches_mcp.store.spool import index_path
from batches_mcp.store.spools import Spools
from batches_mcp.tools import picking
from tests.support.creates import INSTANT, create, requests
from tests.support.results import ID, batch, get, jsonl, relaying, row, serving
from tests.support.scripted import scripted_upstream
from tests.support.servers import DELETE, LIST, RESULTS, error_of, http_server, running, server_for, text_of

pytestmark = pytest.mark.anyio

_DAY_S = 86_400.0
STREAM = row(0) + row(1) + row(2)


def files(state: Path, folder: str) -> set[str]:
    return {path.name for path in state.glob(f"*/{folder}/*")}


async def test_two_processes_share_a_folder_named_from_where_they_are(
    sandbox: Sandbox, key: str, tmp_path: Path
) -> None:
    flags = ("--base-url", sandbox.url, "--state-dir", "kept/state")
    with http_server(*flags, key=key, cwd=tmp_path) as first:
        async with Client(first) as client:
            made, _ = await create(client, {"requests": requests(2)})
            assert made is not None
        # The second looks, as it starts, whether the first is still alive.
        with http_server(*flags, key=key, cwd=tmp_path) as second:
            async with Client(second) as client:
                assert not (await client.call_tool(LIST, {})).is_error
                again, error = await create(client, {"requests": requests(2)})
                assert again is None
                assert made in error["message"]
    assert (tmp_path / "kept" / "state").is_dir()


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
@pytest.mark.parametrize(("mode", "warned"), [(0o1777, 1), (0o755, 0)])
async def test_a_folder_of_somebody_elses_keeps_its_mode(
    mode: int, warned: int, sandbox: Sandbox, key: str, tmp_path: Path
) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(mode)
    flags = ("--transport", "http", "--port", "0", "--base-url", sandbox.url, "--state-dir", str(folder))
    with running(["serve", *flags], key) as process:
        url = process.say_until(r"serving MCP at (http://\S+)")[1]
        async with Client(url) as client:
            made, _ = await create(client, {"requests": requests(2)})
            assert made is not None
        lines = list(process.lines)
    assert folder.stat().st_mode & 0o7777 == mode
    assert sum("others may write to the state folder" in line for line in lines) == warned
    for path in folder.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def dated(answer: bytes, time_s: float) -> bytes:
    return answer.replace(b"Thu, 01 Jan 2026 02:00:00 GMT", formatdate(time_s, usegmt=True).encode())


async def test_what_is_old_goes_while_the_server_runs_once_both_clocks_say_so(state: Path) -> None:
    now_s = time.time()
    later_s = now_s + 32 * _DAY_S

    async def download(number: int, wall_s: float, upstream_s: float, **more: Any) -> None:
        upstream.steps[:] = [dated(batch(3), upstream_s), jsonl(STREAM)]
        clock = Clock(sleep=INSTANT.sleep, wall_s=lambda: wall_s)
        async with Client(server_for(upstream.url, clock=clock)) as client:
            await get(client, message_batch_id=f"{ID}{number}", **more)

    with scripted_upstream(batch(3)) as upstream:
        await download(0, now_s, now_s, as_file="jsonl")
        await download(1, now_s, now_s, as_file="csv")
        kept = [files(state, "spool"), files(state, "results")]
        await download(2, later_s, now_s)
        await download(3, now_s, later_s)
        assert [found & before for found, before in zip([files(state, "spool"), files(state, "results")], kept,
                                                        strict=True)] == kept  # fmt: skip
        await download(4, later_s, later_s)
        assert len(files(state, "spool")) == 2 * 2  # the last two, which the upstream dates as of then
        assert files(state, "results") == set()


async def test_a_file_of_an_old_copy_stays_its_own_thirty_days(state: Path) -> None:
    now_s = time.time()
    later_s = now_s + 20 * _DAY_S
    with scripted_upstream(dated(batch(3), now_s), jsonl(STREAM), dated(batch(3), later_s)) as upstream:
        clock = Clock(sleep=INSTANT.sleep, wall_s=lambda: later_s)
        async with Client(server_for(upstream.url, clock=clock)) as client:
            await get(client)
            [data] = state.glob("*/spool/*.jsonl")
            file = (await get(client, as_file="jsonl"))["file"]
            assert not data.samefile(file["path"])


async def test_what_was_read_just_now_is_not_removed_for_its_age(tmp_path: Path) -> None:
    spools = Spools(tmp_path)
    writer = spools.writer(ID, 3)
    writer.begin()
    writer.take(STREAM)
    writer.end()
    writer.save(time.time())
    ahead_s = time.time() + 40 * _DAY_S
    index = index_path(tmp_path, ID)
    os.utime(index, (ahead_s, ahead_s))
    spools.remove_expired(ahead_s + 1)
    assert spools.load(ID) is not None
    os.utime(index, (ahead_s, ahead_s))
    spools.remove_expired(ahead_s + 1_000)
    assert list(tmp_path.iterdir()) == []


async def test_a_file_is_served_to_its_account_only(sandbox: Sandbox, key: str, tmp_path: Path) -> None:
    flags = ("--base-url", sandbox.url, "--state-dir", str(tmp_path))
    with http_server(*flags, key=key) as url:
        async with Client(url) as client:
            made, _ = await create(client, {"requests": requests(2)})
            _ended(sandbox)
            file = (await get(client, message_batch_id=made, as_file="jsonl"))["file"]
        assert httpx2.get(file["url"]).status_code == 200
    path = httpx2.URL(file["url"]).path
    for other in (f"{key}-other", None):
        with http_server(*flags, key=other) as url:
            assert httpx2.get(url.replace("/mcp", path)).status_code == 404
    with http_server(*flags, key=key) as url:
        assert len(httpx2.get(url.replace("/mcp", path)).content) == file["bytes"]


class Meeting(BaseHTTPRequestHandler):
    """Answers two questions for the same results at the same moment, the first time cut."""

    barrier = threading.Barrier(2)
    asked = 0

    def do_GET(self) -> None:
        if self.path.endswith("/results"):
            self.barrier.wait(30)
            self._send(STREAM, "application/x-jsonl")
        else:
            self._send(batch(3).partition(b"\r\n\r\n")[2], "application/json")

    def _send(self, content: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


async def test_two_processes_that_download_the_same_batch_leave_each_other_alone(tmp_path: Path) -> None:
    flags = ("--state-dir", str(tmp_path))
    pages: list[Any] = []
    with (
        serving(Meeting) as upstream,
        http_server("--base-url", upstream, *flags) as first,
        http_server("--base-url", upstream, *flags) as second,
    ):
        async with Client(first) as one, Client(second) as other:
            for number in range(20):

                async def ask(client: Client, number: int, **more: Any) -> None:
                    pages.append(await client.call_tool(RESULTS, {"message_batch_id": f"b{number}"} | more))

                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(ask, one, number)
                    tasks.start_soon(lambda: ask(other, number, as_file="csv"))  # noqa: B023 - it ends in here
            for page in pages:
                assert not page.is_error, text_of(page)
                assert page.structured_content["totals_complete"] is True
            for number in range(20):
                for client in (one, other):
                    assert len((await get(client, message_batch_id=f"b{number}"))["rows"]) == 3


async def test_a_copy_that_vanishes_while_it_is_read_is_made_again(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when another process deletes the batch's copy, and it is asked for all the same."""
    read = picking.from_spool
    door = "batches_mcp.tools.results.from_spool"

    def vanishing(*arguments: Any) -> Any:
        monkeypatch.setattr(door, read)
        for path in state.glob("*/spool/*"):
            path.unlink()
        return read(*arguments)

    monkeypatch.setattr(door, vanishing)
    with scripted_upstream(*[batch(3), jsonl(STREAM)] * 2) as upstream:
        async with Client(server_for(upstream.url, clock=INSTANT)) as client:
            assert len((await get(client))["rows"]) == 3


@pytest.mark.parametrize(
    ("whole", "damaged"),
    [(rb'"batch_id":"...', b'"batch_id":"\xff\xff\xff'), (rb'"data":"......', rb'"data":"\\u0000')],
)
async def test_a_damaged_index_is_in_nobodys_way(state: Path, whole: bytes, damaged: bytes) -> None:
    with scripted_upstream(*[batch(3), jsonl(STREAM)] * 3) as upstream:
        async with Client(server_for(upstream.url, clock=INSTANT)) as client:
            await get(client, message_batch_id=ID)
            [index] = state.glob("*/spool/*.index")
            content, times = re.subn(whole, damaged, index.read_bytes(), count=1)
            assert times == 1
            index.write_bytes(content)
            assert len((await get(client, message_batch_id=f"{ID}2"))["rows"]) == 3
            assert len((await get(client, message_batch_id=ID))["rows"]) == 3


async def test_deleting_a_batch_leaves_files_that_were_asked_for(sandbox: Sandbox, key: str, state: Path) -> None:
    async with Client(server_for(sandbox.url, key)) as client:
        made, _ = await create(client, {"requests": requests(2)})
        _ended(sandbox)
        file = (await get(client, message_batch_id=made, as_file="jsonl"))["file"]
        assert files(state, "spool")
        assert files(state, "kept")
        assert not (await client.call_tool(DELETE, {"message_batch_id": made})).is_error
        assert files(state, "spool") == set()
        assert files(state, "kept") == set()
        assert Path(file["path"]).stat().st_size == file["bytes"]


async def test_results_that_arrive_after_their_batch_was_deleted_are_not_kept(
    sandbox: Sandbox, key: str, state: Path
) -> None:
    arrived, let_go = threading.Event(), threading.Event()

    def held(_: int, lines: list[bytes]) -> list[bytes]:
        arrived.set()
        let_go.wait(30)
        return lines

    with relaying(sandbox.url, held) as url:
        async with Client(server_for(url, key, limits=Limits(call_s=5.0))) as client:
            made, _ = await create(client, {"requests": requests(2)})
            _ended(sandbox)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.call_tool, RESULTS, {"message_batch_id": made})
                await anyio.to_thread.run_sync(arrived.wait, 30)
                assert not (await client.call_tool(DELETE, {"message_batch_id": made})).is_error
                let_go.set()
            error = error_of(await client.call_tool(RESULTS, {"message_batch_id": made}))
            assert error["status"] == 404
    assert files(state, "spool") == set()


def _ended(sandbox: Sandbox) -> None:
    assert isinstance(sandbox.clock, ManualClock)
    sandbox.clock.advance(60)
