"""The data of a job from end to end: two shards in a bucket, batches of the sandbox, parts in a bucket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from batches_mcp.api.body import Frame
from batches_mcp.cluster import shards
from batches_mcp.cluster.collect import collect
from batches_mcp.cluster.database import VERSION
from batches_mcp.cluster.local import ShardFiles
from batches_mcp.cluster.manifest import Facts, WrittenPart, failures_key, finish, part_key
from batches_mcp.cluster.plan import plan, problems_of
from batches_mcp.cluster.prepare import prepare
from batches_mcp.core.limits import Limits
from batches_mcp.sandbox import Sandbox
from batches_mcp.store.spool import Spool
from batches_mcp.store.spooling import Writer
from batches_mcp.work.intake import Temporary
from tests.support import parquet
from tests.support.objects import object_server

AROUND = Frame(b'{"requests":[', b"]}", "2023-06-01", "", Limits(batch_requests=3))
TEMPLATE = {
    "model": "claude-haiku-4-5",
    "max_tokens": 20,
    "messages": [{"role": "user", "content": "From {{address.city}}: {{body}}"}],
}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with object_server() as url:
        httpx2.put(f"{url}/bucket").raise_for_status()
        for name, value in {"ENDPOINT_URL": url, "ALLOW_HTTP": "true", "REGION": "us-east-1"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-s3")
        yield "s3://bucket"


def answered(sandbox: Sandbox, key: str, body: bytes, folder: Path) -> Spool:
    """The results of a batch of the sandbox."""
    with httpx2.Client(base_url=sandbox.url, trust_env=False) as client:
        client.headers.update({"x-api-key": key, "anthropic-version": "2023-06-01"})
        batch = client.post("/v1/messages/batches", content=body, headers={"content-type": "application/json"}).json()
        sandbox.end(batch["id"])
        results = client.get(f"/v1/messages/batches/{batch['id']}/results").content
    writer = Writer(folder, batch["id"], results.count(b"\n"))
    writer.begin()
    writer.take(results)
    writer.end()
    return writer.save()


def test_parquet_to_answers(sandbox: Sandbox, key: str, bucket: str, tmp_path: Path) -> None:
    bodies = {
        "a": "CASE i WHEN 1 THEN NULL WHEN 2 THEN '[[sandbox:errored invalid_request_error]]' ELSE 'text ' || i END",
        "b": "CASE i WHEN 0 THEN '[[sandbox:expired]]' ELSE '[[sandbox:max_tokens]]' END",
    }
    for name, body in bodies.items():
        query = f"SELECT {{'city': 'Köln'}} AS address, {body} AS body, i * 10 AS answer FROM range(5) t(i)"  # noqa: S608
        shards.put(f"{bucket}/in", f"{name}.parquet", parquet.made(tmp_path / f"{name}.parquet", query))
    for name in ("shards", "spools"):
        (tmp_path / name).mkdir()
    files, found = ShardFiles(tmp_path / "shards"), shards.find(f"{bucket}/in/*.parquet")
    plans = [plan(files, shard, TEMPLATE, AROUND) for shard in found]
    assert [each.text() for each in problems_of(plans)] == [
        "s3://bucket/in/a.parquet row 1: has no value in column 'body', which the template names"
    ]
    written: list[WrittenPart] = []
    for shard, planned in zip(found, plans, strict=True):
        for part in planned.parts:
            drafts, number = Temporary(), len(written)
            with drafts.draft() as draft:
                prepare(files, shard, part, TEMPLATE, AROUND, draft, drafts.write)
                spool = answered(sandbox, key, draft.read_bytes(), tmp_path / "spools")
            out, failed = tmp_path / f"out-{number}", tmp_path / f"failed-{number}"
            result = collect(files, shard, part, TEMPLATE, AROUND, [spool], out, failed)
            shards.put(f"{bucket}/out", part_key(number), out)
            if result.failed:
                shards.put(f"{bucket}/out", failures_key(number), failed)
            written.append(WrittenPart(number, shard.number, part.first_row, result))
    assert len({path.name for path in files.folder.iterdir()}) == 2
    facts = Facts("job", f"{bucket}/in/*.parquet", TEMPLATE, VERSION)
    manifest = finish(f"{bucket}/out", facts, found, plans, written)

    assert [each.url for each in shards.find(f"{bucket}/out/**/*")] == [
        f"{bucket}/out/part-0000{n}.parquet" for n in range(4)
    ]
    rows = _rows(f"{bucket}/out/*.parquet", tmp_path / "copy")
    assert [(row["custom_id"].partition("-")[0], row["answer"]) for row in rows] == [
        (f"r00000000{i}", i * 10) for i in (*range(5), *range(5))
    ]
    assert [row["outcome"] for row in rows[:6]] == [
        "succeeded",
        "left_out",
        "errored",
        "succeeded",
        "succeeded",
        "expired",
    ]
    assert all(row["answer_2"] for row in rows if row["outcome"] == "succeeded")
    assert [row["stop_reason"] for row in rows[6:]] == ["max_tokens"] * 4
    failures = _rows(f"{bucket}/out/_failures/*.parquet", tmp_path / "failures")
    assert [(row["answer"], row["error_type"]) for row in failures] == [
        (10, "left_out"), (20, "invalid_request_error"), (0, "expired")
    ]  # fmt: skip
    assert json.loads(shards.read(f"{bucket}/out", "_manifest.json") or b"") == json.loads(json.dumps(manifest))
    assert shards.read(f"{bucket}/out", "_SUCCESS") == b""
    assert (manifest["complete"], manifest["rows"], manifest["succeeded"], manifest["batches"]) == (True, 10, 7, 4)
    assert manifest["needs_attention"] == {"truncated": 4}
    assert manifest["cost_usd"] > 0


def _rows(url: str, copy: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for shard in shards.find(url):
        found += parquet.read(shards.fetch(shard, copy.with_suffix(f".{shard.number}")))
    return found
