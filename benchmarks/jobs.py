"""`jobs`: 1,000,000 rows in ten tables through two workers, beside `run` on one file and the upstream's own time."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import duckdb

from batches_mcp.core.settings import DATABASE_URL
from benchmarks.memory import status_mb
from benchmarks.processes import ProcessFailed, python
from benchmarks.report import Report, Target
from benchmarks.run import BATCH_ROWS, KEY, by_hand, ran, sandbox, written
from tests.support.postgres import fresh_url, postgres_server
from tests.support.states import OBJECT_STORE, STATE_DIR

_TABLES, _QUICK_TABLES = 10, 2
_WORKERS = 2
_MOST_MB = 300.0
_MOST_X = 2.0
_WAIT_S = 1_800.0


@dataclass(frozen=True, slots=True)
class _Done:
    """Seconds until the job was planned, and from then until its results were there; the most memory of a worker."""

    planned_s: float
    done_s: float
    peak_mb: float
    batches: int


def run(*, quick: bool) -> Report:
    """By hand first, then `run`, then the job; each with a sandbox of its own."""
    tables = _QUICK_TABLES if quick else _TABLES
    rows = tables * BATCH_ROWS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        requests = folder / "requests.jsonl"
        written(requests, rows)
        with sandbox() as url:
            by_hand_s = by_hand(url, requests, folder)
        with sandbox() as url:
            run_s = ran(url, requests, folder).wall_s
        requests.unlink()
        with sandbox() as url, postgres_server(f"benchmark-{os.getpid()}") as host:
            job = _job(url, host, folder, tables)
    busy_s = resource.getrusage(resource.RUSAGE_CHILDREN)
    ratio = run_s / job.done_s
    table = [
        ("by hand: creates, looks, downloads", f"{by_hand_s:.1f}", f"{rows / by_hand_s:,.0f}"),
        ("batches-mcp run, one file", f"{run_s:.1f}", f"{rows / run_s:,.0f}"),
        ("batches-mcp job submit, which plans", f"{job.planned_s:.1f}", f"{rows / job.planned_s:,.0f}"),
        (f"{_WORKERS} workers, to the last table", f"{job.done_s:.1f}", f"{rows / job.done_s:,.0f}"),
    ]
    targets = [
        Target(f"memory of a worker at most {_MOST_MB:g} MB", f"{job.peak_mb:.0f} MB", job.peak_mb <= _MOST_MB),
        Target(f"workers at most {_MOST_X:g} times as long as run", f"{1 / ratio:.2f}x", 1 / ratio <= _MOST_X),
        Target("one batch for each part", f"{job.batches} for {tables}", job.batches == tables),
    ]
    note = (
        f"{rows:,} rows in {tables} tables. Workers, sandbox, PostgreSQL and the store (a folder) share the cores; "
        f"all of them together used {busy_s.ru_utime + busy_s.ru_stime:.0f} s of the processors."
    )
    return Report(("way", "seconds", "rows/s"), table, targets, [note])


def _job(url: str, host: str, folder: Path, tables: int) -> _Done:
    _write_tables(folder, tables)
    template = {
        "model": "claude-haiku-5-5",
        "max_tokens": 10,
        "messages": [{"role": "user", "content": "Say {{number}}"}],
    }
    common = {
        "ANTHROPIC_API_KEY": KEY,
        "BATCHES_MCP_BASE_URL": url,
        DATABASE_URL: fresh_url(host),
        OBJECT_STORE: f"file://{folder}/store",
        STATE_DIR: f"{folder}/shell",
    }
    _shell(common, "migrate")
    out = folder / "answers"
    submit = ["job", "submit", f"{folder}/rows-*.parquet", "--template", json.dumps(template), "--out", str(out)]
    started_s = time.perf_counter()
    job = _shell(common, *submit, "--queue-requests", f"{tables * BATCH_ROWS}").strip()
    planned_s = time.perf_counter() - started_s
    started_s = time.perf_counter()
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                python(("-m", "batches_mcp", "worker"), {**common, STATE_DIR: f"{folder}/worker-{number}"})
            )
            for number in range(_WORKERS)
        ]
        while not (out / "_SUCCESS").exists():
            if time.perf_counter() - started_s > _WAIT_S or any(each.process.poll() is not None for each in workers):
                raise ProcessFailed(f"the job does not end: {_shell(common, 'job', 'status', job, '--json')}")
            time.sleep(0.1)
        done_s = time.perf_counter() - started_s
        peak_mb = max(status_mb(each.process.pid, "VmHWM") for each in workers)
        for each in workers:
            each.process.terminate()
    status = json.loads(_shell(common, "job", "status", job, "--json"))
    if (status["rows"], status["succeeded"]) != (tables * BATCH_ROWS, tables * BATCH_ROWS):
        raise ProcessFailed(f"rows are missing: {status}")
    return _Done(planned_s, done_s, peak_mb, status["batches"])


def _write_tables(folder: Path, tables: int) -> None:
    for number in range(tables):
        first = number * BATCH_ROWS
        rows = f"SELECT i AS number FROM range({first}, {first + BATCH_ROWS}) t(i)"
        duckdb.sql(f"COPY ({rows}) TO '{folder}/rows-{number}.parquet'")


def _shell(variables: Mapping[str, str], *arguments: str) -> str:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    command = [sys.executable, "-m", "batches_mcp", *arguments]
    done = subprocess.run(command, env={**kept, **variables}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ProcessFailed(f"{' '.join(arguments[:2])} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout
