"""`cluster`: the data of a job, planned, prepared and collected by one worker, beside DuckDB alone on the same rows."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.measure import Series, in_turns
from benchmarks.part import answered
from benchmarks.processes import ProcessFailed
from benchmarks.report import Report, Target

_ROWS, _PART_ROWS = 1_000_000, 100_000
_JOB_ROWS = 100_000_000
_MOST_MB = 300.0
_TIMEOUT_S = 600.0
_WRITTEN = "(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 10240)"


def run(*, quick: bool) -> Report:
    """Time the steps of a worker and of SQL that does as much of them as SQL can, in turns."""
    rows = 200_000 if quick else _ROWS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        query = f"SELECT i AS id, repeat('lorem ipsum ', 50) || i AS body, 'x' || i % 7 AS lang FROM range({rows}) t(i)"
        duckdb.execute(f"COPY ({query}) TO '{folder}/in.parquet' (FORMAT parquet, ROW_GROUP_SIZE 20480)")
        with (folder / "results.jsonl").open("wb") as file:
            file.writelines(map(answered, reversed(range(_PART_ROWS, 2 * _PART_ROWS))))
        taken = in_turns({"DuckDB": lambda: _duckdb(folder), "ours": lambda: _ours(folder, rows)}, 2 if quick else 5)
    theirs, ours = taken.values()
    table = [
        ("DuckDB, rows to requests", *_row([each["prepare_s"] for each in theirs], _PART_ROWS)),
        ("prepare, which checks and counts them", *_row([each["prepare_s"] for each in ours], _PART_ROWS)),
        ("plan, all rows and columns", *_row([each["plan_s"] for each in ours], rows)),
        ("DuckDB, results joined with rows", *_row([each["collect_s"] for each in theirs], _PART_ROWS)),
        ("collect, which counts causes and tokens", *_row([each["collect_s"] for each in ours], _PART_ROWS)),
    ]
    seconds_a_row = sum(
        Series.of([each[step] for each in ours]).median / count
        for step, count in (("plan_s", rows), ("prepare_s", _PART_ROWS), ("collect_s", _PART_ROWS))
    )
    hours = seconds_a_row * _JOB_ROWS / 3600
    peak = max(each["peak_mb"] for each in ours)
    targets = [
        Target(f"memory of a worker at most {_MOST_MB:g} MB", f"{peak:.0f} MB", peak <= _MOST_MB),
        Target("100 million rows: at most 8 hours of one core", f"{hours:.1f} h", hours <= 8),
    ]
    notes = [
        f"A shard of {rows:,} rows of 600 bytes in groups of 20,480, parts of {_PART_ROWS:,}, answers of 2 kB.",
        "DuckDB has one thread as well; it checks nothing, and its join has the memory that it asks for.",
    ]
    return Report(("step", "rows", "seconds", "rows/s"), table, targets, notes)


def _row(taken_s: list[float], rows: int) -> Iterator[str]:
    series = Series.of(taken_s)
    yield f"{rows:,}"
    yield series.text(2)
    yield f"{rows / series.median:,.0f}"


def _ours(folder: Path, rows: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=folder) as own:
        command = [sys.executable, "-m", "benchmarks.part", str(folder / "in.parquet"), own, str(rows)]
        found = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
    if found.returncode:
        raise ProcessFailed(found.stderr[-2_000:])
    measured: dict[str, Any] = json.loads(found.stdout)
    return measured


def _duckdb(folder: Path) -> dict[str, float]:
    """Requests of a part, and its results beside its rows, in SQL."""
    rows = f"file_row_number >= {_PART_ROWS} AND file_row_number < {2 * _PART_ROWS}"
    custom_id = "'r' || lpad(file_row_number::VARCHAR, 9, '0') AS custom_id"
    part = f"(SELECT *, {custom_id} FROM read_parquet('{folder}/in.parquet') WHERE {rows})"
    params = "{model: 'claude-haiku-4-5', max_tokens: 64, messages: [{role: 'user', content: body}]}"
    columns = "{custom_id: 'VARCHAR', result: 'JSON'}"
    results = f"read_json('{folder}/results.jsonl', format = 'newline_delimited', columns = {columns})"
    answer = "r.result->>'$.type' AS outcome, r.result->>'$.message.content[0].text' AS answer"
    with duckdb.connect(config={"threads": 1}) as database:
        times_s = [time.perf_counter()]
        database.execute(
            f"COPY (SELECT custom_id, {params} AS params FROM {part}) TO '{folder}/sql.jsonl' (FORMAT json)"
        )
        times_s.append(time.perf_counter())
        database.execute(
            f"COPY (SELECT p.*, {answer} FROM {part} p LEFT JOIN {results} r USING (custom_id) ORDER BY custom_id) "
            f"TO '{folder}/sql.parquet' {_WRITTEN}"
        )
        times_s.append(time.perf_counter())
    return {"prepare_s": times_s[1] - times_s[0], "collect_s": times_s[2] - times_s[1]}
