"""Collecting: every row of a part once, in order, with the latest of its results or why it has none."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batches_mcp.api.body import Frame
from batches_mcp.cluster import shards
from batches_mcp.cluster.collect import PartResult, collect
from batches_mcp.cluster.local import ShardFiles
from batches_mcp.cluster.plan import plan
from batches_mcp.core.errors import InvalidArguments
from batches_mcp.core.limits import Limits
from batches_mcp.store.spool import Spool
from batches_mcp.store.spooling import Writer
from tests.support import parquet

AROUND = Frame(b'{"requests":[', b"]}", "2023-06-01", "")
MODEL = "claude-haiku-4-5"
TEMPLATE = {"model": MODEL, "max_tokens": 20, "messages": [{"role": "user", "content": "{{body}}"}]}
RESULTS = [
    "custom_id",
    "outcome",
    "answer",
    "error_type",
    "error_message",
    "stop_reason",
    "input_tokens",
    "output_tokens",
]


def answered(row: int, text: str, stop_reason: str = "end_turn") -> dict[str, Any]:
    usage = {"input_tokens": 10, "output_tokens": 2, "service_tier": "batch"}
    message = {"model": MODEL, "content": [{"type": "text", "text": text}], "stop_reason": stop_reason, "usage": usage}
    return {"custom_id": f"r{row:09}", "result": {"type": "succeeded", "message": message}}


def errored(row: int, kind: str, message: str) -> dict[str, Any]:
    error = {"type": "error", "error": {"type": kind, "message": message}}
    return {"custom_id": f"r{row:09}", "result": {"type": "errored", "error": error}}


def spooled(folder: Path, batch_id: str, results: Sequence[Mapping[str, Any]]) -> Spool:
    folder.mkdir(exist_ok=True)
    writer = Writer(folder, batch_id, len(results))
    writer.begin()
    for each in results:
        writer.take(json.dumps(each, ensure_ascii=False).encode() + b"\n")
    writer.end()
    return writer.save()


class Job:
    """A file of a shard, and what was planned for it."""

    def __init__(self, folder: Path, path: Path, around: Frame = AROUND, limit: int | None = None) -> None:
        self.folder, self.around = folder, around
        (folder / "shards").mkdir()
        self.files = ShardFiles(folder / "shards")
        [self.shard] = shards.find(str(path))
        self.plan = plan(self.files, self.shard, TEMPLATE, around, limit)

    def collected(
        self, part: int, batches: Sequence[Sequence[Mapping[str, Any]]]
    ) -> tuple[PartResult, list[dict[str, Any]]]:
        spools = [spooled(self.folder / "spools", f"b{part}-{at}", each) for at, each in enumerate(batches)]
        out, failures = self.folder / f"part-{part}.parquet", self.folder / f"failed-{part}.parquet"
        planned = self.plan.parts[part]
        result = collect(
            self.files, self.shard, planned, TEMPLATE, self.around, spools, out, failures, "the batch was canceled"
        )
        assert failures.exists() == bool(result.failed) == result.failures
        assert sorted(path.suffix for path in self.folder.iterdir() if path.is_file()) == [
            ".parquet" for path in self.folder.glob("*.parquet")
        ]
        return result, parquet.read(out)


texts = st.text(max_size=40) | st.sampled_from(['"', "\\", "\n\r\u2028", "=1+1", "{}", "\0", "é" * 3000])


@settings(max_examples=25)
@given(
    values=st.lists(st.none() | st.just(" ") | st.just("x"), min_size=1, max_size=25),
    results=st.lists(st.lists(st.tuples(st.integers(0, 30), texts)), max_size=3),
    most_requests=st.integers(1, 9),
)
@example(values=[None, "x", "x"], results=[[(2, "later"), (1, "earlier")], [(1, "again")]], most_requests=9)
def test_every_row_has_the_latest_of_its_results(
    values: list[str | None], results: list[list[tuple[int, str]]], most_requests: int
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        around = replace(AROUND, limits=Limits(batch_requests=most_requests))
        job = Job(folder, parquet.made_of(folder / "in.parquet", "body", values), around)
        latest: dict[int, str] = {}
        for each in results:
            # Of a batch the first line of a row counts, as in every spool.
            latest |= dict(reversed(each))
        batches = [[answered(row, text) for row, text in each] for each in results]
        rows: list[dict[str, Any]] = []
        for number, part in enumerate(job.plan.parts):
            result, found = job.collected(number, batches)
            assert result.rows == part.rows == len(found)
            assert sum(result.outcomes.values()) == part.rows
            assert result.failed == sum(row["outcome"] != "succeeded" for row in found)
            rows += found
        assert [row["body"] for row in rows] == values
        assert [row["custom_id"] for row in rows] == [f"r{number:09}" for number in range(len(values))]
        for number, row in enumerate(rows):
            if number in latest:
                assert (row["outcome"], row["answer"], row["input_tokens"]) == ("succeeded", latest[number], 10)
            else:
                outcome = "missing" if values[number] == "x" else "left_out"
                assert (row["outcome"], row["answer"], row["input_tokens"]) == (outcome, None, None)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    query = (
        "SELECT i AS id, CASE WHEN i <> 3 THEN 'text ' || i END AS body, DATE '2024-01-01' + i::INT AS day, "
        "{'city': 'Köln', 'tags': [i, NULL]} AS address, 'mine' AS \"Answer\", i * 1.5::DECIMAL(9, 2) AS price FROM range(6) t(i)"
    )
    return Job(tmp_path, parquet.made(tmp_path / "in.parquet", query))


def test_the_columns_of_the_input_keep_their_types_and_names(job: Job, tmp_path: Path) -> None:
    job.collected(0, [[answered(row, "=1+1") for row in range(6) if row != 3]])
    found = parquet.types(tmp_path / "part-0.parquet")
    own = parquet.types(tmp_path / "in.parquet")
    assert list(found) == [*own, *("answer_2" if name == "answer" else name for name in RESULTS)]
    assert {name: found[name] for name in own} == own
    assert [found[name] for name in ("custom_id", "answer_2", "input_tokens")] == ["VARCHAR", "VARCHAR", "BIGINT"]
    assert parquet.read(tmp_path / "part-0.parquet", ", ".join(f'"{name}"' for name in own)) == parquet.read(
        tmp_path / "in.parquet"
    )
    # No spreadsheet reads Parquet: texts are as they came.
    assert parquet.read(tmp_path / "part-0.parquet", "answer_2")[0] == {"answer_2": "=1+1"}


def test_failures_are_counted_by_cause_and_written_for_another_try(job: Job, tmp_path: Path) -> None:
    first = [
        errored(5, "invalid_request_error", "prompt is too long: 210,000 tokens"),
        errored(0, "api_error", "overloaded"),
        answered(1, "cut", "max_tokens"),
        errored(2, "invalid_request_error", "prompt is too long: 220,000 tokens"),
    ]
    result, _ = job.collected(0, [first, [answered(0, "at last")]])
    assert result.outcomes == {"succeeded": 2, "errored": 2, "left_out": 1, "missing": 1}
    assert (result.succeeded, result.failed, result.needs_attention) == (2, 4, {"truncated": 1})
    assert [(each.type, each.message, each.count, each.custom_id) for each in result.causes] == [
        ("invalid_request_error", "prompt is too long: … tokens", 2, "r000000002"),
        ("left_out", "row 3: has no value in column 'body', which the template names", 1, "r000000003"),
        ("missing", "the batch was canceled", 1, "r000000004"),
    ]
    assert [(each.batch_id, each.rows, each.input_tokens) for each in result.batches] == [
        ("b0-0", 4, 10),
        ("b0-1", 1, 10),
    ]
    assert result.batches[0].cost_usd == pytest.approx((10 * 1 + 2 * 5) / 1e6 / 2)
    assert msgspec.json.decode(msgspec.json.encode(result), type=PartResult) == result
    failed = tmp_path / "failed-0.parquet"
    assert parquet.read(failed, "id, error_type, error_message") == [
        {"id": 2, "error_type": "invalid_request_error", "error_message": "prompt is too long: 220,000 tokens"},
        {
            "id": 3,
            "error_type": "left_out",
            "error_message": "row 3: has no value in column 'body', which the template names",
        },
        {"id": 4, "error_type": "missing", "error_message": "the batch was canceled"},
        {"id": 5, "error_type": "invalid_request_error", "error_message": "prompt is too long: 210,000 tokens"},
    ]
    own = parquet.types(tmp_path / "in.parquet")
    assert parquet.types(failed) == own | {"error_type": "VARCHAR", "error_message": "VARCHAR"}


def test_failures_can_be_the_input_of_another_job(job: Job, tmp_path: Path) -> None:
    job.collected(0, [[errored(0, "api_error", "first")]])
    (tmp_path / "again").mkdir()
    again = Job(tmp_path / "again", tmp_path / "failed-0.parquet")
    result, _ = again.collected(0, [[errored(row, "api_error", "second") for row in range(6)]])
    assert result.failed == 6
    again_failed = tmp_path / "again" / "failed-0.parquet"
    assert parquet.types(again_failed) == parquet.types(tmp_path / "failed-0.parquet")
    assert {row["error_message"] for row in parquet.read(again_failed, "error_message")} == {"second"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("in.jsonl", '{"body": "a", "n": 1, "when": "2024-01-01"}\n\n[\n{"body": "b", "n": 2, "at": {"x": null}}\n'),
        ("in.csv", 'body,n,when\na,1,2024-01-01\nb\n"b",2,\n'),
    ],
)
def test_rows_of_lines_are_joined_by_their_order(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    job = Job(tmp_path, tmp_path / name)
    (tmp_path / name).rename(tmp_path / f"{name}.parquet")
    with pytest.raises(InvalidArguments, match="is gone"):
        job.collected(0, [])
    (tmp_path / f"{name}.parquet").rename(tmp_path / name)
    spools = [spooled(tmp_path / "spools", "b", [answered(2, "of b"), answered(0, "of a")])]
    out = tmp_path / "out.parquet"
    result = collect(job.files, job.shard, job.plan.parts[0], TEMPLATE, AROUND, spools, out)
    found = [(row["body"], str(row["n"]), row["when"], row["outcome"], row["answer"]) for row in parquet.read(out)]
    assert result.rows == 3
    assert found[0] == ("a", "1", "2024-01-01", "succeeded", "of a")
    assert found[2][:2] == ("b", "2")
    assert found[2][3:] == ("succeeded", "of b")
    assert found[1][3] != "succeeded"


def test_keys_of_lines_become_columns_with_types(tmp_path: Path) -> None:
    lines = [
        {
            "body": "a",
            "n": 1,
            "N": 2,
            "big": 2**63,
            "x": 1,
            "s": {"k": None, "when": "2024-01-01"},
            "": 1,
            "mixed": "a",
        },
        {"body": "b", "n": -1, "x": 1.5, "list": [1, {"y": 2}], "s": {"K": [1]}, "mixed": {"z": 1}, "quote \"'": "q"},
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, lines)))
    job = Job(tmp_path, tmp_path / "in.jsonl")
    out = tmp_path / "out.parquet"
    collect(job.files, job.shard, job.plan.parts[0], TEMPLATE, AROUND, [], out)
    own = {name: kind for name, kind in parquet.types(out).items() if name not in RESULTS}
    assert own == {
        "body": "VARCHAR",
        "n": "DECIMAL(38,0)",
        "big": "UBIGINT",
        "x": "DOUBLE",
        "s": "JSON",
        "mixed": "JSON",
        "list": "JSON[]",
        "quote \"'": "VARCHAR",
    }
    assert [(row["n"], row["big"], row["x"], row["mixed"]) for row in parquet.read(out)] == [
        (1, 2**63, 1.0, '"a"'),
        (-1, None, 1.5, '{"z":1}'),
    ]


def test_whole_numbers_of_lines_are_what_readers_expect(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"body": "a 1234567890123456789", "n": 1, "m": 5}\n{"body": "b", "n": -1}\n')
    job = Job(tmp_path, tmp_path / "in.jsonl")
    out = tmp_path / "out.parquet"
    collect(job.files, job.shard, job.plan.parts[0], TEMPLATE, AROUND, [], out)
    assert [parquet.types(out)[name] for name in ("n", "m")] == ["BIGINT", "BIGINT"]
    assert parquet.read(out, "n, m") == [{"n": 1, "m": 5}, {"n": -1, "m": None}]


def test_a_folder_that_is_not_there(job: Job, tmp_path: Path) -> None:
    out = tmp_path / "gone" / "part.parquet"
    with pytest.raises(OSError, match="No such file"):
        collect(job.files, job.shard, job.plan.parts[0], TEMPLATE, AROUND, [], out)
    (tmp_path / "part.parquet").mkdir()
    with pytest.raises(OSError, match=r"part\.parquet"):
        collect(job.files, job.shard, job.plan.parts[0], TEMPLATE, AROUND, [], tmp_path / "part.parquet")


def test_a_file_with_large_pages_takes_more_memory(tmp_path: Path) -> None:
    """DuckDB itself writes pages of up to 100 MB, each of which takes 128 MiB at once: a worker reads it once."""
    query = """
        SELECT i AS id, repeat('lorem ipsum ', 60) || i AS body, {a: i::FLOAT, t: TIMESTAMP_NS '2024-01-02 03:04:05'} AS s
        FROM range(122_880) t(i)
    """
    path = parquet.made(tmp_path / "in.parquet", query, group_rows=122_880)
    job = Job(tmp_path, path, limit=10)
    _, rows = job.collected(0, [[answered(9, "nine")]])
    assert [row["id"] for row in rows] == list(range(10))
    assert rows[9]["answer"] == "nine"
    [own] = tmp_path.rglob("shards/*.parquet")
    assert parquet.types(own) == parquet.types(path)
    assert parquet.read(own, "count(*) AS n, bit_xor(hash(id, body, s)) AS h") == parquet.read(
        path, "count(*) AS n, bit_xor(hash(id, body, s)) AS h"
    )
    assert parquet.largest_group_bytes(own) < 20_000_000 < parquet.largest_group_bytes(path)


def test_a_file_with_small_pages_stays_where_it_is(tmp_path: Path) -> None:
    query = "SELECT i AS id, repeat('lorem ipsum ', 60) || i AS body FROM range(122_880) t(i)"
    job = Job(tmp_path, parquet.made(tmp_path / "in.parquet", query, group_rows=20_480), limit=10)
    job.collected(0, [[answered(9, "nine")]])
    assert list(tmp_path.rglob("shards/*.parquet")) == []


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
@pytest.mark.parametrize("group_rows", [20_480, 160_000])
def test_memory_does_not_grow_with_a_part_nor_with_the_groups_of_a_table(tmp_path: Path, group_rows: int) -> None:
    """100,000 of a million rows with answers of 2 kB make a part of more than 300 MB, and groups have 12 or 98 MB."""
    query = "SELECT i AS id, repeat('lorem ipsum ', 50) || i AS body FROM range(1_000_000) t(i)"
    path = parquet.made(tmp_path / "in.parquet", query, group_rows)
    command = [sys.executable, "-m", "benchmarks.part", str(path), str(tmp_path), "200000"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["peak_mb"] < 300
    assert sorted(each.name for each in tmp_path.iterdir()) == ["in.parquet", "part.parquet", "shards", "spools"]
    assert parquet.read(tmp_path / "part.parquet", "count(*) AS n, min(id) AS first, max(id) AS last") == [
        {"n": 100_000, "first": 100_000, "last": 199_999}
    ]
