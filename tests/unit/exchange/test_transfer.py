"""Downloads beside each other: they wait for the network together, and work through what came one after another."""

from __future__ import annotations

import threading
import time

import anyio
import anyio.to_thread
import pytest

from batches_mcp.core.limits import Limits
from batches_mcp.exchange.request import Request
from batches_mcp.exchange.upstream import Upstream
from tests.support.held import chunk, chunked, held_upstream
from tests.support.scripted import answer, scripted_upstream

pytestmark = pytest.mark.anyio

DOWNLOADS = 8
BODY = b'{"custom_id":"a"}\n' * 100_000


async def test_what_downloads_bring_is_worked_through_one_at_a_time() -> None:
    """Threads that compute side by side would each keep the event loop waiting in turn."""
    working, beside_others, received_bytes = threading.Lock(), threading.Event(), 0

    def take(part: bytes) -> bool:
        nonlocal received_bytes
        if not working.acquire(blocking=False):
            beside_others.set()
            return False
        time.sleep(0)  # whoever can run now does
        received_bytes += len(part)
        working.release()
        return True

    with scripted_upstream(*[answer(200, BODY, kind="application/x-jsonl")] * DOWNLOADS) as server:
        async with Upstream() as upstream, anyio.create_task_group() as tasks:
            for _ in range(DOWNLOADS):
                tasks.start_soon(upstream.download, Request("GET", f"{server.url}/results", (), None), take)
    assert not beside_others.is_set()
    assert received_bytes == DOWNLOADS * len(BODY)


async def test_a_download_that_waits_for_its_upstream_keeps_no_other_waiting() -> None:
    taken: list[bytes] = []

    def take(part: bytes) -> bool:
        taken.append(part)
        return True

    with held_upstream() as held, scripted_upstream(answer(200, b"2\n", kind="application/x-jsonl")) as other:
        async with Upstream() as upstream, anyio.create_task_group() as tasks:
            tasks.start_soon(upstream.download, Request("GET", f"{held.url}/results", (), None), take)
            connection = await anyio.to_thread.run_sync(held.accept)
            connection.sendall(chunked("application/x-jsonl") + chunk(b"1\n"))
            await upstream.download(Request("GET", f"{other.url}/results", (), None), take)
            connection.sendall(chunk(b"3\n") + b"0\r\n\r\n")
    assert sorted(taken) == [b"1\n", b"2\n", b"3\n"]


async def test_no_more_downloads_are_read_at_a_time_than_the_limit() -> None:
    done: list[str] = []

    async def download(upstream: Upstream, url: str) -> None:
        await upstream.download(Request("GET", f"{url}/results", (), None), lambda _: True)
        done.append(url)

    with held_upstream() as held, scripted_upstream(answer(200, b"2\n", kind="application/x-jsonl")) as other:
        async with Upstream(Limits(downloads=1)) as upstream, anyio.create_task_group() as tasks:
            tasks.start_soon(download, upstream, held.url)
            connection = await anyio.to_thread.run_sync(held.accept)
            tasks.start_soon(download, upstream, other.url)
            await anyio.wait_all_tasks_blocked()
            connection.sendall(chunked("application/x-jsonl") + b"0\r\n\r\n")
    assert done == [held.url, other.url]
