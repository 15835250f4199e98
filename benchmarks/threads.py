"""`threads`: uploads and downloads as the server makes them, in worker threads, beside the same on the event loop.

Both send the same pieces of a file, or write the same rows and index them. The event loop's client hands over 1 MiB at
a time, so that files are read and rows are counted in a worker thread there as well.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread
import httpx2

from batches_mcp.exchange.request import Request, Upload
from batches_mcp.exchange.upstream import Upstream
from batches_mcp.store.spooling import Writer
from benchmarks import processes
from benchmarks.measure import Series, percentile, ratios
from benchmarks.report import Report, Target
from benchmarks.stub import BATCH

_ROWS = 100_000
_MEGABYTE = 1_000_000
_READ_BYTES = 1 << 18
_HANDED_OVER_BYTES = 1 << 20
_DOWNLOADS = 16
_PAUSE_S = 0.01
_LEAST = 0.9

Take = Callable[[bytes], bool]
Send = Callable[[str, Path], Awaitable[None]]
Download = Callable[[str, Take], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Way:
    """A way of transferring."""

    name: str
    upload: Send
    download: Download


@dataclass(frozen=True, slots=True)
class _Taken:
    """Seconds of a transfer: on the clock, and of the processors."""

    wall_s: float
    cpu_s: float


def run(*, quick: bool) -> Report:
    """Time the same transfers both ways, in turns; then retrieves beside downloads."""
    return anyio.run(_run, quick)


async def _run(quick: bool) -> Report:
    rows, rounds, calls = (10_000, 3, 50) if quick else (_ROWS, 9, 300)
    sizes = (4, 20) if quick else (42, 200)
    table: list[tuple[str, ...]] = []
    targets: list[Target] = []
    with (
        tempfile.TemporaryDirectory() as name,
        processes.outlet(rows) as outlet,
        processes.sink() as sink,
        processes.stub() as stub,
    ):
        folder = Path(name)
        path = f"/v1/messages/batches/{BATCH['id']}"
        async with Upstream() as upstream, httpx2.AsyncClient(timeout=600) as client:
            ways = (_in_threads(upstream), _on_the_loop(client))

            async def download(way: _Way) -> None:
                await _spool(way, f"http://127.0.0.1:{outlet}{path}/results", folder, rows)

            transfers: dict[str, Callable[[_Way], Awaitable[None]]] = {f"results, {rows:,} rows": download}
            for size in sizes:
                file = folder / f"{size}.json"
                file.write_bytes(os.urandom(_MEGABYTE) * size)
                url = f"http://127.0.0.1:{sink}/v1/messages/batches"
                transfers[f"create, {size} MB"] = _uploading(url, file)
            for what, transfer in transfers.items():
                threads, loop = await _in_turns(ways, transfer, rounds)
                wall = ratios([each.wall_s for each in threads], [each.wall_s for each in loop])
                cpu = ratios([each.cpu_s for each in threads], [each.cpu_s for each in loop])
                for way, taken in zip(ways, (threads, loop), strict=True):
                    wall_s, cpu_s = (
                        Series.of(each).text(3)
                        for each in ([one.wall_s for one in taken], [one.cpu_s for one in taken])
                    )
                    table.append((what, way.name, wall_s, cpu_s))
                found = f"{wall.text(2)}x, of processor time {cpu.text(2)}x"
                targets.append(Target(f"{what}: event loop under {_LEAST:g}x of threads", found, wall.median < _LEAST))
            retrieve = Request("GET", f"http://127.0.0.1:{stub}{path}", (), None)
            alone_ms = await _retrieves(upstream, retrieve, calls)
            beside = [await _beside_downloads(upstream, retrieve, calls, way, download) for way in ways]
        threads_ms, loop_ms = beside
    found = f"{threads_ms:.1f} ms with threads, {loop_ms:.1f} ms without"
    notes = [
        f"Medians of {rounds} rounds with their range; x is the event loop's speed as a part of the threads'.",
        f"The p95 of a retrieve is {alone_ms:.1f} ms alone, and beside {_DOWNLOADS} downloads {found}.",
    ]
    targets.append(Target(f"p95 of retrieve beside {_DOWNLOADS} downloads no worse", found, threads_ms <= loop_ms))
    return Report(("what", "where", "seconds", "processor seconds"), table, targets, notes)


def _in_threads(upstream: Upstream) -> _Way:
    async def upload(url: str, file: Path) -> None:
        body = Upload(file.stat().st_size, lambda: _pieces(file, _READ_BYTES))  # noqa: ASYNC240 - one call of the system
        _expect((await upstream.send(Request("POST", url, (), body), repeatable=False)).succeeded)

    async def download(url: str, take: Take) -> None:
        _expect((await upstream.download(Request("GET", url, (), None), take)).complete)

    return _Way("worker threads", upload, download)


def _on_the_loop(client: httpx2.AsyncClient) -> _Way:
    async def upload(url: str, file: Path) -> None:
        pieces = _pieces(file, _HANDED_OVER_BYTES)

        async def body() -> AsyncIterator[bytes]:
            while piece := await anyio.to_thread.run_sync(next, pieces, b""):
                yield piece

        headers = {"content-length": str(file.stat().st_size)}  # noqa: ASYNC240 - one call of the system
        (await client.post(url, content=body(), headers=headers)).raise_for_status()

    async def download(url: str, take: Take) -> None:
        async with client.stream("GET", url) as response:
            response.raise_for_status()
            chunks, size_bytes = list[bytes](), 0
            async for chunk in response.aiter_raw():
                chunks.append(chunk)
                size_bytes += len(chunk)
                if size_bytes >= _HANDED_OVER_BYTES:
                    _expect(await anyio.to_thread.run_sync(take, b"".join(chunks)))
                    chunks, size_bytes = [], 0
            _expect(await anyio.to_thread.run_sync(take, b"".join(chunks)))

    return _Way("event loop", upload, download)


def _pieces(file: Path, size_bytes: int) -> Iterator[bytes]:
    with file.open("rb") as source:
        while piece := source.read(size_bytes):
            yield piece


def _expect(holds: bool) -> None:
    if not holds:
        raise ValueError("a transfer was not complete")


def _uploading(url: str, file: Path) -> Callable[[_Way], Awaitable[None]]:
    return lambda way: way.upload(url, file)


async def _spool(way: _Way, url: str, folder: Path, rows: int) -> None:
    """Download into a spool, which is thrown away."""
    writer = Writer(folder, "msgbatch_1", rows)
    try:
        writer.begin()
        await way.download(url, writer.take)
        writer.end()
        _expect(writer.whole)
    finally:
        writer.discard()


async def _in_turns(
    ways: tuple[_Way, ...], transfer: Callable[[_Way], Awaitable[None]], rounds: int
) -> list[list[_Taken]]:
    taken: list[list[_Taken]] = [[] for _ in ways]
    for _ in range(rounds):
        for way, samples in zip(ways, taken, strict=True):
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            await transfer(way)
            samples.append(_Taken(time.perf_counter() - wall_s, time.process_time() - cpu_s))
    return taken


async def _beside_downloads(
    upstream: Upstream, retrieve: Request, calls: int, way: _Way, download: Callable[[_Way], Awaitable[None]]
) -> float:
    async def again() -> None:
        while True:
            await download(way)

    async with anyio.create_task_group() as tasks:
        for _ in range(_DOWNLOADS):
            tasks.start_soon(again)
        await anyio.sleep(0.5)
        p95_ms = await _retrieves(upstream, retrieve, calls)
        tasks.cancel_scope.cancel()
    return p95_ms


async def _retrieves(upstream: Upstream, retrieve: Request, calls: int) -> float:
    """The p95 in milliseconds of retrieves one after another."""
    taken_ms = []
    for _ in range(calls):
        started_s = time.perf_counter()
        _expect((await upstream.send(retrieve, repeatable=True)).succeeded)
        taken_ms.append(1000 * (time.perf_counter() - started_s))
        await anyio.sleep(_PAUSE_S)
    return percentile(taken_ms, 0.95)
