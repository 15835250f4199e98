"""`results`: the results of 100,000 requests, to a file and in pages, beside the least one could do."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import anthropic
import httpx2

from benchmarks import processes
from benchmarks.measure import Series, in_turns, percentile, ratios, timed
from benchmarks.memory import status_mb
from benchmarks.processes import SUBJECT
from benchmarks.report import Report, Target
from benchmarks.stub import BATCH
from benchmarks.wire import MODERN, RETRIEVE, StdioWire, request, result_of

RESULTS = "anthropic-retrieve-message-batch-results"

_ROWS = 100_000
_SDK_ROWS = 5_000
_READERS = 16
_MOST_GROWTH_MB = 16.0
_BY_ID = {"message_batch_id": BATCH["id"]}


def run(*, quick: bool) -> Report:
    """Time each way of getting the same results, in turns."""
    rows = 10_000 if quick else _ROWS
    with tempfile.TemporaryDirectory() as name, processes.outlet(rows) as port:
        folder = Path(name)
        url = f"http://127.0.0.1:{port}/v1/messages/batches/{BATCH['id']}"
        environment = processes.upstream_environment(port) | {"BATCHES_MCP_STATE_DIR": str(folder / "state")}
        with processes.python(SUBJECT.stdio, environment) as running:
            wire = StdioWire(running.process)
            pages = _first_pages(wire, url, 20 if quick else 100)
            before = status_mb(running.process.pid, "VmRSS")
            files = in_turns(
                {
                    "httpx2, async, to a file": lambda: timed(lambda: asyncio.run(_raw(url, folder / "raw.jsonl"))),
                    "batches-mcp, as_file jsonl": lambda: _as_file(wire, folder),
                    "official SDK, to a file": lambda: _sdk(port, rows, folder / "sdk.jsonl"),
                },
                2 if quick else 7,
            )
            growth = status_mb(running.process.pid, "VmHWM") - before
            later = later_pages(wire, rows)
            alone, among, others = _retrieve_among_readers(wire, 200 if quick else 600)
        megabytes = (folder / "raw.jsonl").stat().st_size / 1e6
    raw, ours, sdk = files.values()
    to_raw, to_sdk = ratios(raw, ours), ratios(sdk, ours)
    by_hand, through = pages
    over = Series.of([mine - theirs for mine, theirs in zip(through, by_hand, strict=True)])
    slower = among / alone
    table = [
        (name, Series.of(taken).text(3), f"{megabytes / Series.of(taken).median:,.0f}") for name, taken in files.items()
    ]
    targets = [
        Target("as_file: at least 0.85x of httpx2", f"{to_raw.text(2)}x", to_raw.median >= 0.85),
        Target("as_file: at least 20x the official SDK", f"{to_sdk.text(1)}x", to_sdk.median >= 20),
        Target(f"memory grows by at most {_MOST_GROWTH_MB:g} MB", f"{growth:+.1f} MB", growth <= _MOST_GROWTH_MB),
        Target("first page: at most 10 ms over the same by hand", f"{over.text(1)} ms", over.median <= 10),
        Target("a page once copied: under 20 ms", f"{Series.of(later).text(1)} ms", max(later) < 20),
        Target(
            f"p95 of retrieve at most doubles beside {_READERS} readers",
            f"{alone:.1f} -> {among:.1f} ms, {slower:.1f}x",
            slower <= 2,
        ),
    ]
    by_hand_ms, through_ms = Series.of(by_hand), Series.of(through)
    size = f"{rows:,} rows, {megabytes:.0f} MB, each file with an fsync, each as_file a new download"
    notes = [
        f"{size}; the SDK's time is that for {_SDK_ROWS:,} rows, scaled.",
        f"First page: 20 rows, nothing kept; by hand {by_hand_ms.text(1)} ms, ours {through_ms.text(1)} ms.",
        f"Beside {_READERS} callers that retrieve as well, the p95 of a retrieve is {others:.1f} ms.",
    ]
    return Report(("way", "seconds", "MB/s"), table, targets, notes)


def call_results(wire: StdioWire, **arguments: Any) -> dict[str, Any]:
    """The content of an answer of the tool, for the one batch that there is."""
    wire.send(request(MODERN, 1, "tools/call", name=RESULTS, arguments=_BY_ID | arguments))
    content: dict[str, Any] = result_of(wire.receive())["structuredContent"]
    return content


def _first_pages(wire: StdioWire, url: str, rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds of a first page, by hand and through the tool; the first of each warms up."""
    with httpx2.Client() as client:

        def by_hand() -> float:
            return 1000 * timed(lambda: _twenty_rows(client, url))

        taken = in_turns({"by hand": by_hand, "ours": lambda: 1000 * timed(lambda: call_results(wire))}, rounds + 1)
    by_hand_ms, ours_ms = taken.values()
    return by_hand_ms[1:], ours_ms[1:]


def _twenty_rows(client: httpx2.Client, url: str) -> None:
    client.get(url).raise_for_status()
    with client.stream("GET", f"{url}/results") as response:
        lines = 0
        for chunk in response.iter_raw():
            lines += chunk.count(b"\n")
            if lines >= 20:
                break


async def _raw(url: str, path: Path) -> None:
    async with httpx2.AsyncClient() as client, client.stream("GET", f"{url}/results") as response:
        with path.open("wb") as file:
            async for chunk in response.aiter_raw():
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())


def _as_file(wire: StdioWire, folder: Path) -> float:
    """Seconds of a download through the tool, checked against the raw one."""
    for kept in (folder / "state").rglob("*.*"):
        kept.unlink()
    started_s = time.perf_counter()
    file = call_results(wire, as_file="jsonl")["file"]
    taken_s = time.perf_counter() - started_s
    if Path(file["path"]).read_bytes() != (folder / "raw.jsonl").read_bytes():
        raise ValueError("the file is not what the upstream sent")
    return taken_s


def _sdk(port: int, rows: int, path: Path) -> float:
    """Seconds that the SDK takes for all rows, from those it takes for some."""
    some = min(rows, _SDK_ROWS)
    with (
        anthropic.Anthropic(base_url=f"http://127.0.0.1:{port}", api_key="not-a-key") as client,
        path.open("w") as file,
    ):
        started_s = time.perf_counter()
        for number, row in enumerate(client.messages.batches.results(str(BATCH["id"])), 1):
            file.write(row.to_json(indent=None) + "\n")
            if number == some:
                break
        file.flush()
        os.fsync(file.fileno())
        return (time.perf_counter() - started_s) * rows / some


def later_pages(wire: StdioWire, rows: int) -> list[float]:
    """Milliseconds of pages of what is kept: rows from all over it, then one page after another."""

    def one_row(number: int) -> float:
        return 1000 * timed(lambda: call_results(wire, custom_ids=[f"row-{number:06}"]))

    taken_ms = [one_row(number) for number in range(0, rows, rows // 50)]
    more: dict[str, Any] = {}
    for _ in range(50):
        started_s = time.perf_counter()
        more = {"cursor": call_results(wire, **more)["next_cursor"]}
        taken_ms.append(1000 * (time.perf_counter() - started_s))
    return taken_ms


def _retrieve_among_readers(wire: StdioWire, calls: int) -> tuple[float, float, float]:
    """The p95 in milliseconds of retrieves one after another: alone, while readers page, while others retrieve."""
    page: dict[str, Any] = {"name": RESULTS, "arguments": _BY_ID}
    retrieve: dict[str, Any] = {"name": RETRIEVE, "arguments": _BY_ID}
    return _p95(wire, None, calls), _p95(wire, page, calls), _p95(wire, retrieve, calls)


def _p95(wire: StdioWire, others: dict[str, Any] | None, calls: int) -> float:
    """Of `calls` retrieves, while the same call of others is always in flight sixteen times over."""
    taken_ms: list[float] = []
    for number in range(1, _READERS + 1 if others else 1):
        wire.send(request(MODERN, number, "tools/call", **(others or {})))
    for _ in range(calls):
        started_s = time.perf_counter()
        wire.send(request(MODERN, 0, "tools/call", name=RETRIEVE, arguments=_BY_ID))
        while (answer := wire.receive())["id"] != 0:
            cursor = result_of(answer)["structuredContent"].get("next_cursor")
            arguments = _BY_ID | ({"cursor": cursor} if cursor else {})
            wire.send(request(MODERN, answer["id"], "tools/call", name=(others or {})["name"], arguments=arguments))
        result_of(answer)
        taken_ms.append(1000 * (time.perf_counter() - started_s))
    for _ in range(_READERS if others else 0):
        result_of(wire.receive())
    return percentile(taken_ms, 0.95)
