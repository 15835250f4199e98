"""A process that plans a shard, prepares its second part and collects its results, and tells how long each took.

Arguments: the Parquet file, with a column `body`; a folder for all it writes; how many rows to plan. What it prints is
`{"plan_s", "prepare_s", "collect_s", "rows", "peak_mb"}`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from batches_mcp.api.body import Frame
from batches_mcp.cluster import shards
from batches_mcp.cluster.collect import collect
from batches_mcp.cluster.local import ShardFiles
from batches_mcp.cluster.plan import PartPlan, plan
from batches_mcp.cluster.prepare import prepare
from batches_mcp.store.spool import Spool
from batches_mcp.store.spooling import Writer
from batches_mcp.work.intake import Temporary
from benchmarks.memory import status_mb

TEMPLATE = {"model": "claude-haiku-4-5", "max_tokens": 64, "messages": [{"role": "user", "content": "{{body}}"}]}
_AROUND = Frame(b'{"requests":[', b"]}", "2023-06-01", "")
_ANSWER = "an answer of some length " * 80


def answered(row: int) -> bytes:
    """The line of a row's result; its answer has 2 kB."""
    usage = {"input_tokens": 10, "output_tokens": 5, "service_tier": "batch"}
    content = [{"type": "text", "text": f"{row} {_ANSWER}"}]
    message = {"model": "claude-haiku-4-5", "content": content, "stop_reason": "end_turn", "usage": usage}
    result = {"custom_id": f"r{row:09}", "result": {"type": "succeeded", "message": message}}
    return json.dumps(result).encode() + b"\n"


def _results(folder: Path, part: PartPlan) -> Spool:
    """The results of a part, the last row first."""
    writer = Writer(folder, "b", part.rows)
    writer.begin()
    for row in reversed(range(part.first_row, part.first_row + part.rows)):
        writer.take(answered(row))
    writer.end()
    return writer.save()


def main(path: str, folder: Path, rows: int) -> None:
    for name in ("shards", "spools"):
        (folder / name).mkdir()
    files, [shard] = ShardFiles(folder / "shards"), shards.find(path)
    times_s = [time.perf_counter()]
    _, part, *_ = plan(files, shard, TEMPLATE, _AROUND, rows).parts
    times_s.append(time.perf_counter())
    drafts = Temporary()
    with drafts.draft() as draft:
        assert prepare(files, shard, part, TEMPLATE, _AROUND, draft, drafts.write).rows == part.rows
    times_s.append(time.perf_counter())
    spool = _results(folder / "spools", part)
    begun_s = time.perf_counter()
    result = collect(files, shard, part, TEMPLATE, _AROUND, [spool], folder / "part.parquet")
    assert result.succeeded == part.rows
    found = {
        "plan_s": times_s[1] - times_s[0],
        "prepare_s": times_s[2] - times_s[1],
        "collect_s": time.perf_counter() - begun_s,
        "rows": part.rows,
        "peak_mb": status_mb(os.getpid(), "VmHWM"),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
