"""`run`: a job of 1,000,000 rows from the shell against the sandbox, beside the same requests made by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from benchmarks.processes import ProcessFailed, python
from benchmarks.report import Report, Target

_ROWS = 1_000_000
_FEWER_ROWS = 200_000
_QUICK_ROWS, _QUICK_FEWER_ROWS = 200_000, 100_000
BATCH_ROWS = 100_000
_PROCESS_S = 5
_POLL_S = 1
KEY = "a key the sandbox takes"
_HEADERS = {"x-api-key": KEY, "anthropic-version": "2023-06-01", "content-type": "application/json"}
_MOST_GROWTH_MB = 64.0
_MOST_X = 2.0


@dataclass(frozen=True, slots=True)
class _Ran:
    """What a run took: wall time, processor time and memory at its most, and what the upstream was asked."""

    wall_s: float
    busy_s: float
    peak_mb: float
    calls: int
    batches: int


def run(*, quick: bool) -> Report:
    """By hand first, then the command with the same requests, and with fewer of them for the memory."""
    rows, fewer = (_QUICK_ROWS, _QUICK_FEWER_ROWS) if quick else (_ROWS, _FEWER_ROWS)
    with tempfile.TemporaryDirectory() as folder:
        path, small = Path(folder, "requests.jsonl"), Path(folder, "fewer.jsonl")
        written(path, rows)
        written(small, fewer)
        with sandbox() as url:
            by_hand_s = by_hand(url, path, Path(folder))
        with sandbox() as url:
            done = ran(url, path, Path(folder))
        with sandbox() as url:
            less = ran(url, small, Path(folder))
        megabytes = path.stat().st_size / 1e6
    ratio, growth_mb = done.wall_s / by_hand_s, done.peak_mb - less.peak_mb
    header = ("way", "rows", "seconds", "of them busy", "peak MB", "upstream calls")
    table = [
        ("by hand: creates, looks, downloads", f"{rows:,}", f"{by_hand_s:.1f}", "", "", ""),
        (
            "batches-mcp run",
            f"{rows:,}",
            f"{done.wall_s:.1f}",
            f"{done.busy_s:.1f}",
            f"{done.peak_mb:.0f}",
            f"{done.calls}",
        ),
        (
            "batches-mcp run",
            f"{fewer:,}",
            f"{less.wall_s:.1f}",
            f"{less.busy_s:.1f}",
            f"{less.peak_mb:.0f}",
            f"{less.calls}",
        ),
    ]
    # A create, one look after the end, one before the results, and the results; and shared looks while waiting.
    most_calls = 4 * done.batches + 2 * (1 + round(done.wall_s / _POLL_S))
    targets = [
        Target(f"at most {_MOST_X:g} times as long as by hand", f"{ratio:.2f}x", ratio <= _MOST_X),
        Target(
            f"memory for all rows within {_MOST_GROWTH_MB:g} MB of that for fewer",
            f"{growth_mb:+.0f} MB",
            growth_mb <= _MOST_GROWTH_MB,
        ),
        Target(
            f"at most {most_calls} upstream calls for {done.batches} batches", f"{done.calls}", done.calls <= most_calls
        ),
    ]
    note = (
        f"A file of {megabytes:.0f} MB; batches of {BATCH_ROWS:,} that take {_PROCESS_S} s. By hand nothing is "
        "checked, kept, ordered or counted: the file is sent in pieces, and the results are written as they come."
    )
    return Report(header, table, targets, [note])


def written(path: Path, count: int) -> None:
    """Write a file of so many requests."""
    with path.open("w") as file:
        for number in range(count):
            file.write(_request(number) + "\n")


def _request(number: int) -> str:
    message = {"role": "user", "content": f"Say {number}"}
    params = {"model": "claude-haiku-5-5", "max_tokens": 10, "messages": [message]}
    return json.dumps({"custom_id": f"row-{number}", "params": params}, separators=(",", ":"))


@contextmanager
def sandbox() -> Iterator[str]:
    """The URL of a sandbox in a process of its own."""
    arguments = ["-m", "batches_mcp", "sandbox", "--port", "0", "--process-seconds", f"{_PROCESS_S}"]
    with (
        tempfile.NamedTemporaryFile() as said,
        python([*arguments, "--retry-after", f"{_POLL_S}"], {}, Path(said.name)),
    ):
        deadline_s = time.perf_counter() + 30
        while not (lines := Path(said.name).read_text().split()):
            if time.perf_counter() > deadline_s:
                raise ProcessFailed("the sandbox does not start")
            time.sleep(0.02)
        yield lines[-1]


def by_hand(url: str, path: Path, folder: Path) -> float:
    """The least one could do, one request after the other."""
    started_s = time.perf_counter()
    with httpx2.Client(headers=_HEADERS, timeout=600) as client, path.open("rb") as file:
        batches = []
        while part := b",".join(line.rstrip() for _, line in zip(range(BATCH_ROWS), file, strict=False)):
            body = b'{"requests":[' + part + b"]}"
            answer = client.post(
                f"{url}/v1/messages/batches", content=body, headers={"content-type": "application/json"}
            )
            batches.append(answer.raise_for_status().json()["id"])
        for batch in batches:
            while client.get(f"{url}/v1/messages/batches/{batch}").json()["processing_status"] != "ended":
                time.sleep(_POLL_S)
            with (
                client.stream("GET", f"{url}/v1/messages/batches/{batch}/results") as stream,
                (folder / batch).open("wb") as out,
            ):
                for chunk in stream.iter_raw():
                    out.write(chunk)
            (folder / batch).unlink()
    return time.perf_counter() - started_s


def ran(url: str, path: Path, folder: Path) -> _Ran:
    """Run the command on a file of requests.

    Raises:
        ProcessFailed: it fails, or a row of its output is not in its place.
    """
    with tempfile.TemporaryDirectory(dir=folder) as state:
        out, report = Path(state, "out.jsonl"), Path(state, "report.json")
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "ANTHROPIC_API_KEY": KEY,
            "BATCHES_MCP_BASE_URL": url,
            "BATCHES_MCP_STATE_DIR": str(Path(state, "state")),
        }
        command = [
            sys.executable,
            "-m",
            "batches_mcp",
            "run",
            str(path),
            "-o",
            str(out),
            "--yes",
            "--report",
            str(report),
        ]
        started_s = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
        assert process.stderr is not None
        said = process.stderr.read().decode()
        process.stderr.close()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall_s = time.perf_counter() - started_s
        if process.returncode:
            raise ProcessFailed(f"run ended with {process.returncode}: {said[-2000:]}")
        with out.open("rb") as file:
            for number, line in enumerate(file):
                if not line.startswith(b'{"custom_id":"row-%d"' % number):
                    raise ProcessFailed(f"row {number} is not in its place: {line[:80]!r}")
        batches = len(json.loads(report.read_text())["batches"])
        calls = len(httpx2.get(f"{url}/_sandbox/requests").json()["requests"])
    return _Ran(wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, calls, batches)
