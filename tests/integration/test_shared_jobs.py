"""Jobs of `batches-mcp job submit` as clients of a server read them: the caller's own, and no others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import mcp.types as t
import psycopg
import pytest
from mcp import MCPError
from mcp.client.client import Client

from batches_mcp.sandbox import ManualClock, Sandbox, running_sandbox
from tests.support.job_cluster import Cluster
from tests.support.postgres import PASSWORD, url_of
from tests.support.servers import http_server
from tests.support.teams import Caller, bearer, door, service

pytestmark = pytest.mark.anyio

JOBS = "batches://jobs"
INVALID_PARAMS, INTERNAL_ERROR = -32602, -32603


@pytest.fixture(scope="module")
def quick_sandbox() -> Iterator[Sandbox]:
    """One whose batches end at once."""
    with running_sandbox(process_seconds=0, retry_after_seconds=0, clock=ManualClock()) as running:
        yield running


@pytest.fixture
def cluster(quick_sandbox: Sandbox, key: str, postgres: str, job_schema: str, tmp_path: Path) -> Cluster:
    return Cluster(tmp_path, quick_sandbox, key, url_of(postgres, job_schema))


def settings(cluster: Cluster, key: str | None = None) -> dict[str, Any]:
    """What a server on the same database and store is started with."""
    found = cluster.environment("server")
    found["ANTHROPIC_API_KEY"] = key or cluster.key
    return {**found, "key": None}


async def read(client: Client, uri: str = JOBS) -> dict[str, Any]:
    [contents] = (await client.read_resource(uri)).contents
    assert isinstance(contents, t.TextResourceContents)
    assert (contents.uri, contents.mime_type) == (uri, "application/json")
    found: dict[str, Any] = json.loads(contents.text)
    return found


async def refused(client: Client, uri: str) -> MCPError:
    with pytest.raises(MCPError) as caught:
        await client.read_resource(uri)
    return caught.value


async def test_jobs_are_read_as_the_shell_tells_them(cluster: Cluster) -> None:
    cluster.table("a", 12)
    done = cluster.submit("--label", "May")
    failing = cluster.submit("--model", "claude-nowhere-1", out="failing")
    with cluster.worker("one"):
        cluster.until(done, "done")
        cluster.until(failing, "done")
    waiting = cluster.submit("--limit", "3", out="waiting")
    with http_server(**settings(cluster)) as url:
        for era in ("auto", "legacy"):
            async with Client(url, mode=era) as client:
                assert JOBS in [each.uri for each in (await client.list_resources()).resources]
                patterns = [each.uri_template for each in (await client.list_resource_templates()).resource_templates]
                assert f"{JOBS}/{{job_id}}" in patterns
                assert len((await client.list_tools()).tools) == 6
                found = await read(client)
                assert [job["id"] for job in found["jobs"]] == [waiting, failing, done]
                assert found["has_more"] is False
                for job in found["jobs"]:
                    assert {name: job[name] for name in cluster.status(job["id"])} == cluster.status(job["id"])
                    one = await read(client, f"{JOBS}/{job['id']}")
                    assert {name: one[name] for name in job} == job
                named = found["jobs"][-1]
                assert (named["label"], named["team"], named["parts"]) == ("May", None, {"done": 3})
                assert named["created_at"] <= named["finished_at"]
                assert found["jobs"][0]["finished_at"] is None
                one = await read(client, f"{JOBS}/{done}")
                assert one["input"].endswith("/in/*.parquet")
                assert (one["error"], one["causes"], one["notes"]) == (None, [], [])
                assert [(each["part"], each["rows"], each["part_state"]) for each in one["message_batches"]] == [
                    (3, 2, "done"),
                    (2, 5, "done"),
                    (1, 5, "done"),
                ]
                offered = await client.complete(
                    t.ResourceTemplateReference(uri=f"{JOBS}/{{job_id}}"), {"name": "job_id", "value": done[:4]}
                )
                assert done in offered.completion.values
                assert all(value.startswith(done[:4]) for value in offered.completion.values)
                batch_id = one["message_batches"][0]["id"]
                assert (await read(client, f"batch://{batch_id}"))["id"] == batch_id
                [cause] = (await read(client, f"{JOBS}/{failing}"))["causes"]
                assert (cause["type"], cause["count"], cause["retryable"]) == ("not_found_error", 12, False)
                assert cause["custom_id"].startswith("r000000000-")


@pytest.mark.shared
async def test_a_server_without_jobs_lists_none_and_knows_no_id(cluster: Cluster) -> None:
    with http_server(**settings(cluster)) as url:
        for era in ("auto", "legacy"):
            async with Client(url, mode=era) as client:
                assert await read(client) == {"jobs": [], "has_more": False}
                for job_id in ("0123456789ab", "%00", "..%2Fx", "'", "x" * 300):
                    error = await refused(client, f"{JOBS}/{job_id}")
                    assert error.code == INVALID_PARAMS
                    assert error.message.startswith("not_found_error (HTTP 404): there is no job ")
                    assert error.data["batches-mcp/error"]["status"] == 404
                for uri in (f"{JOBS}/", f"{JOBS}/a/b", f"{JOBS}/%ff", f"{JOBS}?a=b", "batches://other"):
                    error = await refused(client, uri)
                    assert (error.code, error.message) == (INVALID_PARAMS, f"Unknown resource: {uri}")


@pytest.mark.shared
async def test_jobs_of_another_account_are_not_there(cluster: Cluster) -> None:
    cluster.table("a", 5)
    job_id = cluster.submit()
    with http_server(**settings(cluster, "sk-ant-test-of-another-account")) as url:
        async with Client(url) as client:
            assert (await read(client))["jobs"] == []
            assert "there is no job" in (await refused(client, f"{JOBS}/{job_id}")).message
    with http_server("--read-only", **settings(cluster)) as url:
        async with Client(url) as client:
            assert [each["id"] for each in (await read(client))["jobs"]] == [job_id]


@pytest.mark.shared
async def test_a_database_that_cannot_be_used_is_named(cluster: Cluster) -> None:
    with http_server(**settings(cluster)) as url:
        async with Client(url) as client:
            assert (await read(client))["jobs"] == []
            with psycopg.connect(cluster.database_url) as connection:
                connection.execute("ALTER TABLE jobs RENAME TO gone")
            for uri in (JOBS, f"{JOBS}/0123456789ab"):
                error = await refused(client, uri)
                assert error.code == INTERNAL_ERROR
                assert error.data["batches-mcp/error"]["type"] == "state_unusable"
                assert PASSWORD not in json.dumps([error.message, error.data])


@pytest.mark.shared
def test_a_team_sees_its_own_jobs_and_an_admin_all(cluster: Cluster) -> None:
    cluster.table("a", 5)
    with service(cluster.sandbox.url, cluster.folder, **settings(cluster)) as served:
        of_team = cluster.submit("--teams", "teams.yaml", "--team", "search")
        of_nobody = cluster.submit(out="of-nobody")

        def ids(key: str) -> list[str]:
            text = Caller(served, key).method("resources/read", uri=JOBS)["contents"][0]["text"]
            return [each["id"] for each in json.loads(text)["jobs"]]

        def one(key: str, job_id: str) -> dict[str, Any]:
            return Caller(served, key).method("resources/read", uri=f"{JOBS}/{job_id}")

        refusal = httpx2.post(door(served), json={}, headers=bearer("search-approver"))
        assert (refusal.status_code, "batches:read" in refusal.text) == (403, True)
        assert ids("search-key") == ids("search-two") == [of_team]
        assert ids("ads-key") == ids("ads-reader") == []
        assert ids("boss") == [of_nobody, of_team]
        assert json.loads(one("search-key", of_team)["contents"][0]["text"])["team"] == "search"
        assert json.loads(one("boss", of_nobody)["contents"][0]["text"])["id"] == of_nobody
        # What is somebody else's and what does not exist are answered alike.
        unknown = json.dumps(one("ads-key", "0123456789ab"))
        assert "there is no job" in unknown
        for key, job_id in (("ads-key", of_team), ("ads-key", of_nobody), ("search-key", of_nobody)):
            assert json.dumps(one(key, job_id)).replace(job_id, "0123456789ab") == unknown
    audit = [json.loads(line) for line in cluster.run("audit", code=0).out.splitlines()]
    told = [(each["principal"], each["tool"]) for each in audit if each["reason"] == "not_own_job"]
    assert sorted(told) == [("ads-key", "jobs")] * 3 + [("search-key", "jobs")]
