"""What a job leaves beside its parts: `_manifest.json`, and `_SUCCESS` once every row is in a part that is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from batches_mcp.cluster import shards
from batches_mcp.cluster.collect import BatchUse, PartResult
from batches_mcp.cluster.plan import ShardPlan
from batches_mcp.cluster.shards import Shard
from batches_mcp.store.causes import kind_of, together

MANIFEST, SUCCESS = "_manifest.json", "_SUCCESS"
_VERSION = 1
_MOST_CAUSES = 50


class Facts(msgspec.Struct, frozen=True):
    """A job as it was submitted: what decides, beside its shards, about what is sent; `limit` is that of a trial."""

    id: str
    input: str
    template: dict[str, Any]
    duckdb: str
    limit: int | None = None
    # The order in which rows are numbered, cut into parts and written.
    row_order: str = "file"


class WrittenPart(msgspec.Struct, frozen=True):
    """A part whose object is there: its number in the job, the number of its shard, and what became of its rows."""

    number: int
    shard: int
    first_row: int
    result: PartResult


def part_key(number: int) -> str:
    """The object of a part, by its number in the job from 0."""
    return f"part-{number:05}.parquet"


def failures_key(number: int) -> str:
    """The object of the rows of a part that failed; readers of the folder skip what begins with `_`."""
    return f"_failures/{part_key(number)}"


def is_complete(plans: Sequence[ShardPlan], parts: Iterable[WrittenPart]) -> bool:
    """Whether every planned row is in a part that is there."""
    there = {(part.shard, part.first_row, part.result.rows) for part in parts}
    return all((plan.number, part.first_row, part.rows) in there for plan in plans for part in plan.parts)


def finish(
    url: str, facts: Facts, found: Sequence[Shard], plans: Sequence[ShardPlan], parts: Sequence[WrittenPart]
) -> dict[str, Any]:
    """Write the manifest of a job, and `_SUCCESS` last if the job is complete; the manifest is returned.

    Raises:
        UsageError: the URL cannot be used.
        StateUnusable: its store cannot be used.
    """
    content = manifest(facts, found, plans, parts)
    out = shards.folder(url)
    out.put(MANIFEST, msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")
    if content["complete"]:
        out.put(SUCCESS, b"")
    return content


def manifest(
    facts: Facts, found: Sequence[Shard], plans: Sequence[ShardPlan], parts: Sequence[WrittenPart]
) -> dict[str, Any]:
    """What `_manifest.json` holds, for the parts that are there."""
    planned = {plan.number: plan for plan in plans}
    ordered = sorted(parts, key=lambda part: part.number)
    results = [part.result for part in ordered]
    rows = sum(result.rows for result in results)
    succeeded = sum(result.succeeded for result in results)
    return {
        "version": _VERSION,
        "job": facts.id,
        "complete": is_complete(plans, parts),
        "input": facts.input,
        "limit": facts.limit,
        "template": facts.template,
        "duckdb": facts.duckdb,
        "row_order": facts.row_order,
        "rows": rows,
        "succeeded": succeeded,
        "failed": rows - succeeded,
        "outcomes": _added(result.outcomes for result in results),
        "needs_attention": _added(result.needs_attention for result in results),
        "causes": _causes(ordered),
        **_used(results),
        "shards": [_shard(each, planned[each.number]) for each in found if each.number in planned],
        "parts": [_part(part) for part in ordered],
    }


def _shard(shard: Shard, plan: ShardPlan) -> dict[str, Any]:
    return {
        "number": shard.number,
        "url": shard.url,
        "version": shard.version,
        "bytes": shard.size_bytes,
        "rows": plan.rows,
        "left_out": plan.left_out,
    }


def _part(part: WrittenPart) -> dict[str, Any]:
    result = part.result
    return {
        "object": part_key(part.number),
        "failures": failures_key(part.number) if result.failures else None,
        "shard": part.shard,
        "first_row": part.first_row,
        "rows": result.rows,
        "succeeded": result.succeeded,
        "failed": result.failed,
        "outcomes": result.outcomes,
        "batches": [each.batch_id for each in result.batches],
        "cost_usd": _cost_usd(result.batches),
    }


def _causes(parts: Sequence[WrittenPart]) -> list[dict[str, Any]]:
    """Why rows failed, by cause; the first row that did is named by its part and its custom_id there."""
    named = [(part_key(part.number), cause) for part in parts for cause in part.result.causes]
    first: dict[tuple[str, tuple[str, ...]], dict[str, str]] = {}
    for key, cause in named:
        first.setdefault(kind_of(cause), {"object": key, "custom_id": cause.custom_id})
    return [
        {"type": cause.type, "message": cause.message, "rows": cause.count, "first": first[kind_of(cause)]}
        for cause in together(cause for _, cause in named)[:_MOST_CAUSES]
    ]


def _used(results: Sequence[PartResult]) -> dict[str, Any]:
    """What all batches used; one that several parts share is counted once."""
    batches = list({each.batch_id: each for result in results for each in result.batches}.values())
    return {
        "batches": len(batches),
        "input_tokens": sum(each.input_tokens for each in batches),
        "output_tokens": sum(each.output_tokens for each in batches),
        "cost_usd": _cost_usd(batches),
    }


def _cost_usd(batches: Iterable[BatchUse]) -> float | None:
    total = Decimal(0)
    for each in batches:
        if each.cost_usd is None:
            return None
        total += Decimal(str(each.cost_usd))
    return float(total)


def _added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total.most_common())
