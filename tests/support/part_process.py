"""A process that plans a shard, prepares its second part and collects its results, and tells its peak of memory in MB.

Arguments: the Parquet file, with a column `body`; a folder for all it writes; how many rows to plan.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from batches_mcp.api.body import Frame
from batches_mcp.cluster import shards
from batches_mcp.cluster.collect import collect
from batches_mcp.cluster.local import ShardFiles
from batches_mcp.cluster.plan import plan
from batches_mcp.cluster.prepare import prepare
from batches_mcp.store.spooling import Writer
from batches_mcp.work.intake import Temporary

AROUND = Frame(b'{"requests":[', b"]}", "2023-06-01", "")
TEMPLATE = {"model": "claude-haiku-4-5", "max_tokens": 64, "messages": [{"role": "user", "content": "{{body}}"}]}
ANSWER = "an answer of some length " * 80


def answered(row: int) -> bytes:
    usage = {"input_tokens": 10, "output_tokens": 5, "service_tier": "batch"}
    content = [{"type": "text", "text": f"{row} {ANSWER}"}]
    message = {"model": "claude-haiku-4-5", "content": content, "stop_reason": "end_turn", "usage": usage}
    result = {"custom_id": f"r{row:09}", "result": {"type": "succeeded", "message": message}}
    return json.dumps(result).encode() + b"\n"


def main(path: str, folder: Path, limit: int) -> None:
    for name in ("shards", "spools"):
        (folder / name).mkdir()
    files, [shard] = ShardFiles(folder / "shards"), shards.find(path)
    _, part = plan(files, shard, TEMPLATE, AROUND, limit).parts
    drafts = Temporary()
    with drafts.draft() as draft:
        assert prepare(files, shard, part, TEMPLATE, AROUND, draft, drafts.write).rows == part.rows
    writer = Writer(folder / "spools", "b", part.rows)
    writer.begin()
    for row in reversed(range(part.first_row, part.first_row + part.rows)):
        writer.take(answered(row))
    writer.end()
    result = collect(files, shard, part, TEMPLATE, AROUND, [writer.save()], folder / "part.parquet")
    assert result.succeeded == part.rows
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
