"""What is told of a job as a whole: the forecast before it is sent, and the manifest after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from batches_mcp.cluster import shards
from batches_mcp.cluster.collect import BatchUse, PartResult
from batches_mcp.cluster.forecast import Forecast, forecast
from batches_mcp.cluster.manifest import Facts, WrittenPart, finish, is_complete
from batches_mcp.cluster.plan import PartPlan, ShardPlan
from batches_mcp.cluster.shards import Shard
from batches_mcp.store.causes import Cause

FACTS = Facts("job-1", "s3://in/*.parquet", {"model": "m"}, "2.0.1")


def part_plan(
    first_row: int, rows: int, low: float | None = 1.0, high: float | None = 2.5, **estimate: Any
) -> PartPlan:
    whole = {
        "requests": rows,
        "input_tokens": 10 * rows,
        "max_output_tokens": 20 * rows,
        "cost_usd": {"low": low, "high": high},
        "standard_cost_usd": {"low": low, "high": high},
        "price_table": "prices",
        "unknown_models": [],
        "unbounded": [],
    }
    return PartPlan(first_row, rows, rows, 100 * rows, "c", whole | estimate)


PLANS = [
    ShardPlan(0, "s3://in/a", rows=5, parts=(part_plan(0, 3), part_plan(3, 2))),
    ShardPlan(1, "s3://in/b", rows=4, left_out=1, parts=(part_plan(0, 4),)),
]
SHARDS = [Shard(0, "s3://in/a", 10, "v0"), Shard(1, "s3://in/b", 20, "v1")]


def use(batch_id: str, cost_usd: float | None = 0.1) -> BatchUse:
    return BatchUse(batch_id, 3, 30, 6, cost_usd)


def cause(varies: str, count: int, custom_id: str) -> Cause:
    return Cause("invalid_request_error", ["too long: ", varies, " tokens"], count, custom_id)


PARTS = [
    WrittenPart(2, 1, 0, PartResult(4, {"succeeded": 2, "errored": 1, "left_out": 1}, {}, (cause("7", 1, "r1"),), (use("b3"),), True)),
    WrittenPart(0, 0, 0, PartResult(3, {"succeeded": 1, "errored": 2}, {"truncated": 1}, (cause("…", 2, "r2"),), (use("b1"), use("b2")))),
    WrittenPart(1, 0, 3, PartResult(2, {"succeeded": 2}, {}, (), (use("b1"),))),
]  # fmt: skip


def test_the_forecast_of_an_input() -> None:
    assert forecast(PLANS, 4) == Forecast(9, 3, 90, 180, 3.0, 7.5, 3, 72)
    assert forecast([], 4) == Forecast(0, 0, 0, 0, 0.0, 0.0, 0, 0)


def test_a_price_that_is_not_known_is_no_bound() -> None:
    unknown = ShardPlan(2, "c", parts=(part_plan(0, 1, None, None, unknown_models=["x"]),))
    unbounded = ShardPlan(
        3, "d", parts=(part_plan(0, 1, 1.0, None, unbounded=[{"reason": "a container", "requests": 1}]),)
    )
    found = forecast([*PLANS, unknown, unbounded], 4)
    assert (found.low_usd, found.high_usd) == (4.0, None)
    assert (found.unknown_models, found.unbounded) == (("x",), ("a container",))
    assert forecast([unknown], 4).low_usd is None


@pytest.mark.parametrize("whole", [True, False])
def test_success_is_written_last_and_only_when_all_rows_are_there(whole: bool, tmp_path: Path) -> None:
    parts = PARTS if whole else PARTS[:2]
    assert is_complete(PLANS, parts) == whole
    out = (tmp_path / "out").as_uri()
    content = finish(out, FACTS, SHARDS, PLANS, parts)
    assert (shards.read(out, "_SUCCESS") is not None) == whole == content["complete"]
    written = shards.read(out, "_manifest.json")
    assert written is not None
    assert json.loads(written) == json.loads(msgspec.json.encode(content))


def test_the_manifest_tells_what_was_made_of_what(tmp_path: Path) -> None:
    found = finish(tmp_path.as_uri(), FACTS, SHARDS, PLANS, PARTS)
    assert {name: found[name] for name in ("job", "template", "duckdb", "row_order")} == {
        "job": "job-1",
        "template": {"model": "m"},
        "duckdb": "2.0.1",
        "row_order": "file",
    }
    assert [found[name] for name in ("rows", "succeeded", "failed", "batches")] == [9, 5, 4, 3]
    assert found["cost_usd"] == 0.3
    assert (found["input_tokens"], found["output_tokens"]) == (90, 18)
    assert found["outcomes"] == {"succeeded": 5, "errored": 3, "left_out": 1}
    first = {"object": "part-00000.parquet", "custom_id": "r2"}
    assert found["causes"] == [
        {"type": "invalid_request_error", "message": "too long: … tokens", "rows": 3, "first": first}
    ]
    assert found["shards"][1] == {
        "number": 1,
        "url": "s3://in/b",
        "version": "v1",
        "bytes": 20,
        "rows": 4,
        "left_out": 1,
    }
    assert [(each["object"], each["failures"], each["rows"], each["batches"]) for each in found["parts"]] == [
        ("part-00000.parquet", None, 3, ["b1", "b2"]),
        ("part-00001.parquet", None, 2, ["b1"]),
        ("part-00002.parquet", "_failures/part-00002.parquet", 4, ["b3"]),
    ]


def test_a_cost_that_cannot_be_told(tmp_path: Path) -> None:
    part = WrittenPart(0, 0, 0, PartResult(3, {"succeeded": 3}, batches=(use("b1"), use("b2", None))))
    assert finish(tmp_path.as_uri(), FACTS, SHARDS, PLANS, [part])["cost_usd"] is None
