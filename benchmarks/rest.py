"""`rest`: the results of 100,000 requests handed on over REST, beside the upstream asked directly."""

from __future__ import annotations

import asyncio

import httpx2

from benchmarks import processes
from benchmarks.measure import Series, in_turns, ratios, timed
from benchmarks.memory import status_mb
from benchmarks.report import Report, Target
from benchmarks.stub import BATCH

_ROWS = 100_000
_PATH = f"/v1/messages/batches/{BATCH['id']}/results"
_MOST_GROWTH_MB = 16.0
_LEAST = 0.8


def run(*, quick: bool) -> Report:
    """Read the same stream, directly and through the server, in turns, with the same client."""
    rows = 10_000 if quick else _ROWS
    with processes.outlet(rows) as upstream, processes.rest_server(upstream) as served:
        direct, through = f"http://127.0.0.1:{upstream}{_PATH}", f"http://127.0.0.1:{served.port}{_PATH}"
        size = _async(direct)
        if _async(through) != size or _sync(through) != size:
            raise ValueError("what is handed on is not what came")
        before = status_mb(served.pid, "VmRSS")
        samples = in_turns(
            {
                "httpx2, async, direct": lambda: timed(lambda: _async(direct)),
                "httpx2, async, over REST": lambda: timed(lambda: _async(through)),
                "httpx2, sync, direct": lambda: timed(lambda: _sync(direct)),
                "httpx2, sync, over REST": lambda: timed(lambda: _sync(through)),
            },
            3 if quick else 9,
        )
        growth = status_mb(served.pid, "VmHWM") - before
    async_direct, async_through, sync_direct, sync_through = samples.values()
    in_async, in_sync = ratios(async_direct, async_through), ratios(sync_direct, sync_through)
    megabytes = size / 1e6
    table = [
        (name, Series.of(taken).text(3), f"{megabytes / Series.of(taken).median:,.0f}")
        for name, taken in samples.items()
    ]
    targets = [
        Target(f"at least {_LEAST:g}x of direct, async", f"{in_async.text(2)}x", in_async.median >= _LEAST),
        Target(f"memory grows by at most {_MOST_GROWTH_MB:g} MB", f"{growth:+.1f} MB", growth <= _MOST_GROWTH_MB),
    ]
    notes = [
        f"{rows:,} rows, {megabytes:.0f} MB, read to the end and dropped.",
        f"The sync client reads faster than two processes on two cores can hand on: {in_sync.text(2)}x of direct.",
    ]
    return Report(("way", "seconds", "MB/s"), table, targets, notes)


def _async(url: str) -> int:
    async def read() -> int:
        async with httpx2.AsyncClient() as client, client.stream("GET", url) as response:
            response.raise_for_status()
            return sum([len(chunk) async for chunk in response.aiter_raw()])

    return asyncio.run(read())


def _sync(url: str) -> int:
    with httpx2.Client() as client, client.stream("GET", url) as response:
        response.raise_for_status()
        return sum(len(chunk) for chunk in response.iter_raw())
