"""`create`: a batch of 100,000 requests from a 196 MB file, checked and uploaded, beside the least one could do."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import islice, repeat
from pathlib import Path

import anthropic
import httpx2
import msgspec

from benchmarks import processes
from benchmarks.measure import Series, in_turns, ratios, timed
from benchmarks.memory import status_mb
from benchmarks.processes import SUBJECT
from benchmarks.report import Report, Target
from benchmarks.wire import CREATE, MODERN, StdioWire, request, result_of

_REQUESTS = 100_000
_READ_BYTES = 1 << 18
_PATH = "/v1/messages/batches"
_MOST_GROWTH_MB = 32.0
_AGAIN = {"allow_duplicate": True}
_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class _Request(msgspec.Struct):
    custom_id: str
    params: dict[str, msgspec.Raw]


def run(*, quick: bool) -> Report:
    """Time each way of sending the same file, in turns."""
    with tempfile.TemporaryDirectory() as folder, processes.sink() as port:
        path, wrapped, few = (Path(folder, name) for name in ("requests.jsonl", "requests.json", "few.json"))
        write_requests(path, 10_000 if quick else _REQUESTS)
        _wrap(path, wrapped, _REQUESTS)
        _wrap(path, few, 100)
        url = f"http://127.0.0.1:{port}{_PATH}"
        state, rest_state = Path(folder, "state"), Path(folder, "rest-state")
        arguments = (*SUBJECT.stdio, "--root", folder, "--state-dir", str(state))
        environment = processes.upstream_environment(port)
        with (
            processes.python(arguments, environment) as running,
            processes.python((*arguments, "--no-ledger"), environment) as forgetful,
            processes.rest_server(port, "--state-dir", str(rest_state)) as served,
        ):
            wire, forgetful_wire = StdioWire(running.process), StdioWire(forgetful.process)
            for each in (wire, forgetful_wire):
                create_from(each, path, dry_run=True)
            rest_url = f"http://127.0.0.1:{served.port}{_PATH}"
            _upload(rest_url, few)
            before, rest_before = (status_mb(pid, "VmRSS") for pid in (running.process.pid, served.pid))
            samples = in_turns(
                {
                    "httpx2, async, no check": lambda: timed(lambda: asyncio.run(_async_upload(url, path))),
                    "msgspec check (ids, params), then httpx2, sync": lambda: timed(lambda: _checked_upload(url, path)),
                    "official SDK, from a parsed list": lambda: timed(lambda: _sdk_create(port, path)),
                    "batches-mcp --no-ledger, through the tool": lambda: timed(
                        lambda: create_from(forgetful_wire, path)
                    ),
                    "batches-mcp, through the tool": lambda: timed_create(
                        lambda: create_from(wire, path, **_AGAIN), state
                    ),
                    "batches-mcp, through the tool, a JSON array": lambda: timed_create(
                        lambda: create_from(wire, wrapped, **_AGAIN), state
                    ),
                    "batches-mcp, over REST": lambda: timed_create(lambda: _upload(rest_url, wrapped), rest_state),
                },
                3 if quick else 7,
            )
            growth = status_mb(running.process.pid, "VmHWM") - before
            rest_growth = status_mb(served.pid, "VmHWM") - rest_before
        megabytes = path.stat().st_size / 1e6
    unchecked, checked, sdk, ours, remembered, from_array, over_rest = samples.values()
    to_unchecked, to_checked, to_sdk = ratios(unchecked, ours), ratios(checked, ours), ratios(sdk, remembered)
    to_ours = ratios(ours, remembered)
    to_lines, to_tool, to_direct = (
        ratios(remembered, from_array),
        ratios(remembered, over_rest),
        ratios(unchecked, over_rest),
    )
    rows = [
        (name, Series.of(taken).text(3), f"{megabytes / Series.of(taken).median:,.0f}")
        for name, taken in samples.items()
    ]
    targets = [
        Target("without a ledger at least 0.30x of no check", f"{to_unchecked.text(2)}x", to_unchecked.median >= 0.30),
        Target(
            "without a ledger at least 0.75x of check, then send", f"{to_checked.text(2)}x", to_checked.median >= 0.75
        ),
        Target(
            "with a ledger and a copy of the requests at least 0.75x of without",
            f"{to_ours.text(2)}x",
            to_ours.median >= 0.75,
        ),
        Target("at least 10x of the SDK", f"{to_sdk.text(1)}x", to_sdk.median >= 10),
        Target("from an array at least 0.5x of from lines", f"{to_lines.text(2)}x", to_lines.median >= 0.5),
        Target("over REST at least 0.5x of the tool", f"{to_tool.text(2)}x", to_tool.median >= 0.5),
        Target(f"memory grows by at most {_MOST_GROWTH_MB:g} MB", f"{growth:+.1f} MB", growth <= _MOST_GROWTH_MB),
        Target(
            f"over REST as well by at most {_MOST_GROWTH_MB:g} MB",
            f"{rest_growth:+.1f} MB",
            rest_growth <= _MOST_GROWTH_MB,
        ),
    ]
    notes = [
        f"A file of {megabytes:.0f} MB; the upstream reads and answers.",
        f"Over REST the body is received to its end, and then sent: {to_direct.text(2)}x of no check.",
    ]
    return Report(("way", "seconds", "MB/s"), rows, targets, notes)


def write_requests(path: Path, count: int, contents: Iterator[str] | None = None) -> None:
    """A file of requests of 1.97 kB, whose messages are the same, or `contents`, each to be of 1,530 characters."""
    contents = contents or repeat("lorem ipsum dolor " * 85)
    with path.open("w") as file:
        for number, content in zip(range(count), contents, strict=False):
            message = {"role": "user", "content": content}
            params = {"model": "claude-haiku-5-5", "max_tokens": 100, "system": "x" * 300, "messages": [message]}
            file.write(json.dumps({"custom_id": f"row-{number:06}", "params": params}, separators=(",", ":")) + "\n")


def _wrap(lines: Path, path: Path, most: int) -> None:
    """The same requests, up to `most`, as a body."""
    with lines.open("rb") as source, path.open("wb") as file:
        for number, line in enumerate(islice(source, most)):
            file.write((b"," if number else b'{"requests":[') + line.rstrip())
        file.write(b"]}")


def create_from(wire: StdioWire, path: Path, **more: bool) -> None:
    """Create a batch of a file through the tool."""
    arguments = {"requests_file": path.name, **more}
    wire.send(request(MODERN, 1, "tools/call", name=CREATE, arguments=arguments))
    result_of(wire.receive())


def timed_create(create: Callable[[], None], state: Path) -> float:
    """The time of a create that is written down and kept; the copy is compressed before the next sample begins."""
    seconds = timed(create)
    while any(state.glob("*/kept/*.json")):
        time.sleep(0.05)
    return seconds


async def _async_upload(url: str, path: Path) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in _pieces(path):
            yield piece

    headers = {"content-length": str(path.stat().st_size)}  # noqa: ASYNC240 - nothing else runs on this loop
    async with httpx2.AsyncClient() as client:
        (await client.post(url, content=pieces(), headers=headers)).raise_for_status()


def _checked_upload(url: str, path: Path) -> None:
    decode = msgspec.json.Decoder(_Request).decode
    ids = set()
    with path.open("rb") as file:
        for line in file:
            custom_id = decode(line).custom_id
            if not _CUSTOM_ID.fullmatch(custom_id) or custom_id in ids:
                raise ValueError(custom_id)
            ids.add(custom_id)
    _upload(url, path)


def _upload(url: str, path: Path) -> None:
    headers = {"content-length": str(path.stat().st_size), "batches-mcp-allow-duplicate": "true"}
    with httpx2.Client(timeout=60) as client:
        client.post(url, content=_pieces(path), headers=headers).raise_for_status()


def _sdk_create(port: int, path: Path) -> None:
    with path.open("rb") as file:
        requests = [json.loads(line) for line in file]
    with anthropic.Anthropic(api_key="a key", base_url=f"http://127.0.0.1:{port}", max_retries=0) as client:
        client.messages.batches.create(requests=requests)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            yield piece
