"""A part of a plan -> the body that is sent, which is the planned one or none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from batches_mcp.api.body import Frame
from batches_mcp.cluster.database import VERSION
from batches_mcp.cluster.local import ShardFiles
from batches_mcp.cluster.plan import PartPlan
from batches_mcp.cluster.requests import requests
from batches_mcp.cluster.shards import Shard
from batches_mcp.core.errors import ErrorReport, InvalidArguments
from batches_mcp.requests.source import Source
from batches_mcp.requests.template import Template
from batches_mcp.store.kept import Copy
from batches_mcp.work.intake import Body, take


def prepare(
    files: ShardFiles,
    shard: Shard,
    part: PartPlan,
    template: Mapping[str, Any],
    around: Frame,
    path: Path,
    write: Callable[[Path, Iterable[bytes], str], Copy],
) -> Body:
    """Write the body of a part to `path`, as `write` of `work.intake.Drafts` does.

    Raises:
        InvalidArguments: the shard changed since it was planned, or makes other requests than it did then.
        UnreadableFile: it cannot be read any more.
        CallError: its store cannot be used, or the body cannot be written.
    """
    made = Template(template)
    with files.opened(shard) as table:
        source = Source(
            shard.url,
            f"{shard.url} row {{}}".format,
            partial(requests, table, made, part.first_row, part.rows),
            lambda: True,
            made,
        )
        _, bodies = take(source, around, lambda number: None if number else path, write)
    body = bodies.get(0)
    if body is None or body.content != part.content:
        raise _changed(shard, part)
    return body


def _changed(shard: Shard, part: PartPlan) -> InvalidArguments:
    last = part.first_row + part.rows - 1
    message = (
        f"{shard.url}: rows {part.first_row:,} to {last:,} make other requests than they did when the job was planned; "
        f"the shard, the template or DuckDB (here {VERSION}) changed. They were not sent."
    )
    next_step = "Run the worker with what planned the job, or submit the job again."
    return InvalidArguments(ErrorReport("input_changed", message, next_step, at_shell=next_step))
