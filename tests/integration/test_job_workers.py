"""Jobs that several workers carry out: one batch a part, whatever happens to the workers, the database or the store."""

from __future__ import annotations

import json
import re
import signal
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from batches_mcp.access.keys import hash_of
from batches_mcp.cluster import api, shards
from batches_mcp.sandbox import ManualClock, Sandbox, running_sandbox
from tests.support.cable import cable_to
from tests.support.job_cluster import TEMPLATE, Cluster
from tests.support.job_process import STEPS
from tests.support.objects import object_server
from tests.support.parquet import made
from tests.support.postgres import url_of
from tests.support.teams import Caller, service

KEYS = ["id", "state", "rows", "succeeded", "failed", "parts", "batches", "estimate_usd", "cost_usd"]


@pytest.fixture(scope="module")
def quick_sandbox() -> Iterator[Sandbox]:
    """One whose batches end at once, and whose clock stands still."""
    with running_sandbox(process_seconds=0, retry_after_seconds=0, clock=ManualClock()) as running:
        yield running


@pytest.fixture
def slow_sandbox() -> Iterator[Sandbox]:
    """One whose batches end when the test says so."""
    with running_sandbox(process_seconds=3_600, retry_after_seconds=0) as running:
        yield running


@pytest.fixture
def cluster(quick_sandbox: Sandbox, key: str, postgres: str, job_schema: str, tmp_path: Path) -> Cluster:
    return Cluster(tmp_path, quick_sandbox, key, url_of(postgres, job_schema))


@pytest.fixture
def slow(slow_sandbox: Sandbox, key: str, postgres: str, job_schema: str, tmp_path: Path) -> Cluster:
    return Cluster(tmp_path, slow_sandbox, key, url_of(postgres, job_schema))


def leases_run_out(cluster: Cluster) -> None:
    """As they do 30 s after a worker was killed."""
    with psycopg.connect(cluster.database_url) as connection:
        connection.execute("UPDATE owners SET until = clock_timestamp()")
        connection.execute("UPDATE procrastinate_workers SET last_heartbeat = clock_timestamp() - interval '1 minute'")


def done(cluster: Cluster, job_id: str) -> dict[str, Any]:
    """Wait until a job is done; doubt about a create that was cut off ends when 15 minutes are over."""
    seen = 0

    def over(found: dict[str, Any]) -> bool:
        nonlocal seen
        doubts = cluster.logs().count("may still be made")
        if doubts > seen:
            seen = doubts
            cluster.sandbox.clock.advance(901)
        return bool(found["state"] == "done")

    return cluster.until_it(job_id, over)


def whole(cluster: Cluster, rows: int, out: str = "out") -> None:
    """See that each row of the input has its answer beside it, in order."""
    answers = cluster.answers(out)
    assert [row["id"] for row in answers] == [*range(rows // 2)] * 2
    assert all(row["answer"].endswith(f"Say {row['body']}") for row in answers), answers
    assert (cluster.folder / out / "_SUCCESS").exists()


def test_two_workers_do_a_job_of_which_one_is_killed(cluster: Cluster) -> None:
    cluster.table("a", 12, "'a ' || i")
    cluster.table("b", 12, "'b ' || i")
    job_id = cluster.submit()
    assert re.fullmatch("[0-9a-f]{12}", job_id)
    with cluster.worker("one", die="made") as one:
        assert one.wait(60) == -signal.SIGKILL
    leases_run_out(cluster)
    with cluster.worker("two"):
        found = done(cluster, job_id)
    assert (found["rows"], found["succeeded"], found["failed"], found["batches"]) == (24, 24, 0, 6)
    assert found["parts"] == {"done": 6}
    assert cluster.creates == len(cluster.batches()) == 6
    whole(cluster, 24)
    # The same job again is that job, and costs nothing.
    assert cluster.submit() == job_id
    shown = cluster.run("job", "status", job_id, "--json", code=0)
    assert json.loads(shown.out) == found
    assert list(found) == KEYS
    assert job_id in cluster.run("job", "status", code=0).out.decode()


def test_what_is_wrong_with_a_job_is_told_before_anything_is_sent(cluster: Cluster) -> None:
    cluster.table("a", 6, "CASE WHEN i = 3 THEN NULL ELSE 'a ' || i END")
    made(cluster.folder / "in" / "b.parquet", "SELECT 1 AS id")
    (cluster.folder / "template.json").write_text(json.dumps({"max_tokens": 5, "messages": []}))
    job = ("job", "submit", "in/*.parquet", "--out", "out", "--template")
    body = '{"model":"claude-haiku-5-5","max_tokens":5,"messages":[{"role":"user","content":"{{body}}"}]}'
    done = cluster.run(*job, body)
    assert done.code == 1
    assert done.out == b""
    assert "a.parquet row 3" in done.err
    assert "body" in done.err
    assert "b.parquet" in done.err
    assert "Nothing was sent: not every table can be used" in done.err
    (cluster.folder / "in" / "b.parquet").unlink()
    done = cluster.run(*job, body)
    assert "Nothing was sent: 1 rows have errors" in done.err
    done = cluster.run(*job, body, "--skip-invalid", "--max-cost-usd", "0.00001")
    assert done.code == 1
    assert "cost_cap: the job may cost up to" in done.err
    assert cluster.creates == 0
    listed = json.loads(cluster.run("job", "status", "--json").out)
    assert sorted(each["state"] for each in listed) == ["planning", "refused", "refused"]


@pytest.mark.shared
@pytest.mark.parametrize("step", STEPS)
def test_a_worker_that_is_killed_at_any_step_leaves_nothing_paid_twice(cluster: Cluster, step: str) -> None:
    cluster.table("a", 6, "'a ' || i")
    cluster.table("b", 6, "'b ' || i")
    job_id = cluster.submit()
    with cluster.worker("one", die=step) as one:
        assert one.wait(60) == -signal.SIGKILL
    leases_run_out(cluster)
    with cluster.worker("two"):
        found = done(cluster, job_id)
    assert (found["succeeded"], found["batches"]) == (12, 4)
    assert cluster.creates == 4
    whole(cluster, 12)


@pytest.mark.shared
def test_tables_in_a_bucket_become_tables_in_a_bucket(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    with object_server() as url:
        httpx2.put(f"{url}/bucket").raise_for_status()
        aws = {"AWS_ENDPOINT_URL": url, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1"}
        aws |= {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret-of-s3"}
        for name, value in aws.items():
            monkeypatch.setenv(name, value)
        for name in ("a", "b"):
            shards.put("s3://bucket/in", f"{name}.parquet", cluster.table(name, 12, f"'{name} ' || i"))
        remote = replace(cluster, store="s3://bucket/state", more=aws)
        job_id = remote.submit(url="s3://bucket/in/*.parquet", out="s3://bucket/out/")
        with remote.worker("one", die="answered") as one:
            assert one.wait(60) == -signal.SIGKILL
        leases_run_out(remote)
        with remote.worker("two"), remote.worker("three"):
            assert done(remote, job_id)["succeeded"] == 24
        assert remote.creates == 6
        found = shards.find("s3://bucket/out/*.parquet")
        assert [each.url for each in found] == [f"s3://bucket/out/part-0000{number}.parquet" for number in range(6)]
        for each in found:
            (cluster.folder / "out").mkdir(exist_ok=True)
            shards.fetch(each, cluster.folder / "out" / each.url.rpartition("/")[2])
        (cluster.folder / "out" / "_SUCCESS").write_bytes(shards.read("s3://bucket/out", "_SUCCESS") or b"")
        whole(cluster, 24)


@pytest.mark.shared
def test_tasks_that_run_twice_at_the_same_time_send_once(cluster: Cluster) -> None:
    cluster.table("a", 30, "'a ' || i")
    cluster.table("b", 30, "'b ' || i")
    job_id = cluster.submit()
    with (
        cluster.worker("one"),
        cluster.worker("two"),
        cluster.worker("three"),
        psycopg.connect(cluster.database_url, autocommit=True) as connection,
    ):

        def taken_from_the_living(found: dict[str, object]) -> bool:
            connection.execute("UPDATE procrastinate_workers SET last_heartbeat = '2000-01-01'")
            return bool(found["state"] == "done")

        found = cluster.until_it(job_id, taken_from_the_living)
    assert (found["succeeded"], found["batches"]) == (60, 12)
    assert cluster.creates == 12
    assert "is taken over" in cluster.logs()
    whole(cluster, 60)


@pytest.mark.shared
def test_a_database_that_is_lost_for_a_while_is_waited_for(
    quick_sandbox: Sandbox, key: str, postgres: str, job_schema: str, tmp_path: Path
) -> None:
    direct = Cluster(tmp_path, quick_sandbox, key, url_of(postgres, job_schema))
    with cable_to(postgres) as cable:
        remote = Cluster(tmp_path, quick_sandbox, key, url_of("127.0.0.1", job_schema, cable.port))
        remote.table("a", 30, "'a ' || i")
        remote.table("b", 30, "'b ' || i")
        job_id = direct.submit()
        with remote.worker("one"):
            direct.until_it(job_id, lambda found: found["batches"] >= 2)
            cable.cut()
            direct.until_logged("cannot be used")
            cable.mend()
            found = direct.until(job_id, "done")
    assert (found["succeeded"], found["batches"]) == (60, 12)
    assert direct.creates == 12
    whole(direct, 60)


@pytest.mark.shared
def test_a_store_that_is_gone_for_a_while_is_waited_for(cluster: Cluster) -> None:
    cluster.table("a", 12, "'a ' || i")
    cluster.table("b", 12, "'b ' || i")
    job_id = cluster.submit()
    store, away = cluster.folder / "store", cluster.folder / "away"
    with cluster.worker("one"):
        cluster.until_it(job_id, lambda found: found["batches"] >= 1)
        store.rename(away)
        store.write_text("no folder")
        cluster.until_logged("the object store file:")
        store.unlink()
        away.rename(store)
        found = cluster.until(job_id, "done")
    assert (found["succeeded"], found["batches"]) == (24, 6)
    assert cluster.creates == 6
    whole(cluster, 24)


@pytest.mark.shared
def test_a_create_that_is_not_answered_is_found_and_not_sent_again(slow: Cluster) -> None:
    slow.table("a", 5, "'a ' || i")
    slow.table("b", 5, "'b ' || i")
    slow.sandbox.faults.add("reset_after", on="create", count=2, key=slow.key)
    job_id = slow.submit()
    with slow.worker("one"), slow.worker("two"):
        slow.until_logged("It may have made a batch")
        assert slow.status(job_id)["batches"] == 0
        for batch in slow.batches():
            slow.sandbox.end(batch["id"])
        found = slow.until(job_id, "done")
    assert (found["succeeded"], found["batches"]) == (10, 2)
    assert len(slow.batches()) == 2
    whole(slow, 10)


@pytest.mark.shared
def test_a_create_that_is_in_doubt_is_followed_when_its_job_is_canceled(slow: Cluster) -> None:
    slow.table("a", 10)
    slow.sandbox.faults.add("reset_after", on="create", key=slow.key)
    job_id = slow.submit("--queue-requests", "5")
    with slow.worker("one"):
        slow.until_logged("It may have made a batch")
        slow.run("job", "cancel", job_id, code=0)
        [batch] = slow.batches()
        slow.sandbox.end(batch["id"])
        found = slow.until(job_id, "canceled")
    assert found["parts"] == {"canceled": 1, "done": 1}
    assert (found["succeeded"], found["batches"], len(slow.batches())) == (5, 1, 1)


@pytest.mark.shared
def test_a_job_that_is_canceled_sends_nothing_more_and_writes_what_there_is(slow: Cluster) -> None:
    slow.table("a", 30)
    job_id = slow.submit("--queue-requests", "10")
    with slow.worker("one"):
        slow.until_it(job_id, lambda found: found["parts"].get("submitted") == 2)
        slow.run("job", "cancel", job_id, code=0)
        found = slow.until(job_id, "canceled")
        assert found["parts"] == {"done": 2, "canceled": 4}
        assert (found["succeeded"], found["failed"]) == (0, 10)
        assert slow.creates == 2
        assert all(batch["cancel_initiated_at"] for batch in slow.batches())
        assert not (slow.folder / "out" / "_SUCCESS").exists()
        assert {row["outcome"] for row in slow.answers()} == {"canceled"}
        # What was not sent can be sent after all.
        slow.run("job", "resume", job_id, code=0)
        slow.until_it(job_id, lambda found: found["parts"].get("submitted") == 2)
        slow.run("job", "cancel", job_id, code=0)
        slow.until(job_id, "canceled")
    assert slow.creates == 4


@pytest.mark.shared
def test_a_job_that_is_paused_goes_on_with_what_was_sent(slow: Cluster) -> None:
    slow.table("a", 30)
    job_id = slow.submit("--queue-requests", "10")
    with slow.worker("one"):
        slow.until_it(job_id, lambda found: found["parts"].get("submitted") == 2)
        slow.run("job", "pause", job_id, code=0)
        for batch in slow.batches():
            slow.sandbox.end(batch["id"])
        found = slow.until_it(job_id, lambda found: found["parts"].get("done") == 2)
        assert (found["state"], found["succeeded"]) == ("paused", 10)
        assert slow.creates == 2
        assert "is paused already" in slow.run("job", "pause", job_id, code=0).err
        # To submit it again is to resume it.
        assert slow.submit("--queue-requests", "10") == job_id
        slow.until_it(job_id, lambda found: found["parts"].get("submitted") == 2)
    assert slow.creates == 4


@pytest.mark.shared
def test_a_table_that_changed_after_it_was_planned_is_named_and_not_sent(slow: Cluster) -> None:
    slow.table("a", 5, "'a ' || i")
    changed = slow.table("b", 5, "'b ' || i")
    job_id = slow.submit()
    slow.table("b", 5, "'other ' || i")
    with slow.worker("one"):
        slow.until_it(job_id, lambda found: found["parts"].get("submitted") == 1)
        [batch] = slow.batches()
        slow.sandbox.end(batch["id"])
        found = slow.until(job_id, "failed")
    assert found["parts"] == {"done": 1, "failed": 1}
    assert slow.creates == 1
    shown = slow.run("job", "status", job_id, code=1).out.decode()
    assert f"input_changed: {changed} changed since the job was submitted" in shown
    # What is there now is another job.
    assert slow.submit(out="other") != job_id


@pytest.mark.shared
def test_tables_with_the_same_rows_share_a_batch(cluster: Cluster) -> None:
    cluster.table("a", 5)
    cluster.table("b", 5)
    job_id = cluster.submit()
    with cluster.worker("one"), cluster.worker("two"):
        found = cluster.until(job_id, "done")
    assert (found["succeeded"], found["batches"], cluster.creates) == (10, 1, 1)
    whole(cluster, 10)


@pytest.mark.shared
def test_rows_of_a_batch_that_expired_are_sent_again(slow: Cluster) -> None:
    slow.table("a", 5, "'a ' || i")
    slow.table("b", 5, "'b ' || i")
    job_id = slow.submit()
    with slow.worker("one"):
        slow.until_it(job_id, lambda found: found["parts"].get("submitted") == 2)
        expired, other = slow.batches()
        slow.sandbox.expire(expired["id"])
        slow.sandbox.end(other["id"])
        slow.until_it(job_id, lambda found: found["batches"] == 3)
        [again] = [batch for batch in slow.batches() if batch["processing_status"] == "in_progress"]
        slow.sandbox.end(again["id"])
        found = slow.until(job_id, "done")
    assert (found["succeeded"], found["failed"], found["batches"]) == (10, 0, 3)
    whole(slow, 10)


@pytest.mark.shared
def test_rows_that_fail_are_sent_again_twice_and_then_written_with_their_errors(cluster: Cluster) -> None:
    cluster.table("a", 5, "CASE WHEN i < 2 THEN '[[sandbox:errored overloaded_error]]' ELSE 'a ' || i END")
    job_id = cluster.submit("--failures")
    with cluster.worker("one"), cluster.worker("two"):
        found = cluster.until(job_id, "done")
    assert (found["succeeded"], found["failed"], found["batches"]) == (3, 2, 3)
    assert cluster.creates == 3
    assert [row["error_type"] for row in cluster.answers()] == ["overloaded_error"] * 2 + [None] * 3
    assert cluster.run("job", "status", job_id).code == 1


@pytest.mark.shared
def test_no_more_requests_are_in_progress_than_the_queue_takes(cluster: Cluster) -> None:
    with running_sandbox(process_seconds=0.5, retry_after_seconds=0) as sandbox:
        busy = Cluster(cluster.folder, sandbox, cluster.key, cluster.database_url)
        busy.table("a", 60)
        job_id = busy.submit("--queue-requests", "15")
        with busy.worker("one"), busy.worker("two"):
            busy.until(job_id, "done")
        batches = busy.batches()
    assert len(batches) == 12
    for batch in batches:
        at = batch["created_at"]
        assert sum(5 for each in batches if each["created_at"] <= at < each["ended_at"]) <= 15


@pytest.mark.shared
def test_a_worker_that_is_told_to_stop_ends_what_it_has_under_way(cluster: Cluster) -> None:
    cluster.table("a", 60)
    cluster.sandbox.faults.add("delay", on="create", seconds=1, count=12, key=cluster.key)
    job_id = cluster.submit()
    with cluster.worker("one") as one:
        cluster.until_it(job_id, lambda found: found["parts"].get("prepared", 0) > 0)
        one.send_signal(signal.SIGTERM)
        assert one.wait(60) == 143
    assert cluster.status(job_id)["batches"] == cluster.creates < 12
    with psycopg.connect(cluster.database_url) as connection:
        doing = connection.execute("SELECT count(*) FROM procrastinate_jobs WHERE status = 'doing'").fetchone()
    assert doing == (0,)
    # Nothing is left to be taken over: another worker goes on at once.
    with cluster.worker("two"):
        found = cluster.until(job_id, "done")
    assert found["succeeded"] == 60
    assert cluster.creates == 12


@pytest.mark.shared
def test_a_job_that_is_submitted_twice_at_once_is_one(cluster: Cluster) -> None:
    for name in "abc":
        cluster.table(name, 10, f"'{name} ' || i")
    with ThreadPoolExecutor() as threads:
        ids = set(threads.map(lambda _: cluster.submit(), range(3)))
    [job_id] = ids
    with cluster.worker("one"), cluster.worker("two"):
        found = cluster.until(job_id, "done")
    assert (found["succeeded"], found["batches"], cluster.creates) == (30, 6, 6)


@pytest.mark.shared
def test_a_submission_that_is_killed_is_made_again(cluster: Cluster) -> None:
    cluster.table("a", 10, "'a ' || i")
    cluster.table("b", 10, "'b ' || i")
    for step in ("one planned", "begun"):
        assert cluster.submit(die=step, code=-signal.SIGKILL) == ""
    with cluster.worker("one"):
        found = cluster.until(cluster.submit(), "done")
    assert (found["succeeded"], found["batches"]) == (20, 4)


@pytest.mark.shared
def test_a_worker_is_watched_as_a_server_is(cluster: Cluster) -> None:
    cluster.table("a", 5)
    job_id = cluster.submit()
    with cluster.worker("one", "--metrics-address", "127.0.0.1:0", "--log-format", "json"):
        cluster.until(job_id, "done")
        said = [json.loads(line)["message"] for line in cluster.logs().splitlines()]
        url = next(match[0] for line in said if (match := re.search(r"http://\S+/metrics", line)))
        found = httpx2.get(url, trust_env=False).text
    assert 'batches_mcp_requests_submitted_total{team=""} 5.0' in found
    assert "batches_mcp_queue_requests 0.0" in found


@pytest.mark.shared
def test_a_trial_is_a_job_of_its_own(cluster: Cluster) -> None:
    cluster.table("a", 12)
    cluster.table("b", 12)
    trial, second = cluster.submit("--limit", "14", out="trial"), cluster.submit()
    assert trial != second
    # The place of one is no place for the other.
    assert cluster.submit("--limit", "14", code=2) == ""
    with cluster.worker("one"):
        assert cluster.until(trial, "done")["succeeded"] == 14
        assert cluster.until(second, "done")["succeeded"] == 24
    assert [row["id"] for row in cluster.answers("trial")] == [*range(12), 0, 1]


@pytest.mark.shared
def test_a_team_pays_for_its_job_by_its_own_key_and_under_its_caps(cluster: Cluster) -> None:
    own = f"sk-ant-test-{uuid.uuid4().hex}"
    (cluster.folder / "search.key").write_text(own)
    (cluster.folder / "search.key").chmod(0o600)
    teams = cluster.folder / "teams.yaml"
    named = "teams:\n  search: {api_key_file: search.key, cap_usd: {day: %s}}\n"
    cluster.table("a", 5)
    teams.write_text(named % "0.00000001")
    refused = cluster.submit("--teams", "teams.yaml", "--team", "search", code=1)
    assert refused == ""
    teams.write_text(named % "10")
    job_id = cluster.submit("--teams", "teams.yaml", "--team", "search")
    # A worker that does not know the team leaves its jobs alone.
    with cluster.worker("one"), cluster.worker("two", "--teams", "teams.yaml"):
        assert cluster.until(job_id, "done")["succeeded"] == 5
    assert cluster.creates == 0
    assert len(Cluster(cluster.folder, cluster.sandbox, own, cluster.database_url).batches()) == 1
    with psycopg.connect(cluster.database_url) as connection:
        found = connection.execute("SELECT team, client, principal <> '' FROM account_creates").fetchall()
    assert found == [("search", "batches-mcp job", True)]


def lead_of(cluster: Cluster) -> Cluster:
    """Somebody else at a shell."""
    return replace(cluster, more={**cluster.more, "LOGNAME": "lead"})


def with_limit(cluster: Cluster, over_batches: float) -> tuple[str, ...]:
    """The flags for a team that spends up to the price of so many batches of five rows without an approval."""
    trial = cluster.submit("--limit", "5", out="trial")
    batch_usd = cluster.status(trial)["estimate_usd"]
    cluster.run("job", "cancel", trial, code=0)
    boss = f"{{name: boss, sha256: '{hash_of('any key')}', team: search, scopes: [batches:read, batches:approve]}}"
    team = f"search: {{approve_over_usd: {batch_usd * over_batches:.9f}}}"
    (cluster.folder / "teams.yaml").write_text(f"teams:\n  {team}\nkeys:\n- {boss}\n")
    return "--teams", "teams.yaml"


def waiting(cluster: Cluster) -> list[dict[str, Any]]:
    return list(json.loads(cluster.run("approvals", "list", "--json", code=0).out))


def audited(cluster: Cluster, event: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in cluster.run("audit", code=0).out.splitlines()]
    return [each for each in found if each["event"] == event]


@pytest.mark.shared
def test_a_job_that_may_cost_much_waits_for_one_approval(cluster: Cluster) -> None:
    cluster.table("a", 10)
    cluster.table("b", 10, "'wor ' || i")
    teams = with_limit(cluster, over_batches=2)
    job_id = cluster.submit(*teams, "--team", "search")
    [asked] = waiting(cluster)
    assert (asked["job"], asked["rows"], asked["batches"], asked["models"]) == (job_id, 20, 4, "claude-haiku-5-5")
    assert asked["estimate_usd"] == cluster.status(job_id)["estimate_usd"] > asked["over_usd"]
    assert f"job {job_id}" in "".join(cluster.run("approvals", "list", code=0).out.decode().split("\n"))
    # Whoever submitted the job does not approve it.
    own = cluster.run("approvals", "approve", asked["id"], code=1)
    assert "your own request" in own.err
    with cluster.worker("one", *teams), cluster.worker("two", *teams):
        noted = cluster.until_it(job_id, lambda _: all(part.note for part in cluster.parts(job_id)))
        assert noted["parts"] == {"prepared": 4}
        assert asked["id"] in cluster.run("job", "status", job_id).out.decode()
        assert cluster.creates == 0
        lead_of(cluster).run("approvals", "approve", asked["id"], code=0)
        found = cluster.until(job_id, "done")
    assert (found["succeeded"], found["batches"], cluster.creates) == (20, 4, 4)
    assert waiting(cluster) == []
    answers = [(each["outcome"], each.get("reason")) for each in audited(cluster, "approval")]
    assert answers == [("asked", None), ("refused", "own_request"), ("approved", None)]
    creates = audited(cluster, "create")
    assert {(each["door"], each["request_id"]) for each in creates} == {("job", job_id)}
    assert {each["outcome"] for each in creates} == {"begun", "sent", "accepted"}
    assert {(each["approval_id"], each["approver"].partition("@")[0]) for each in creates} == {
        (asked["id"], "shell:lead")
    }


@pytest.mark.shared
def test_a_job_that_was_denied_fails_and_asks_anew_when_it_is_submitted_again(cluster: Cluster) -> None:
    cluster.table("a", 40)
    teams = with_limit(cluster, over_batches=2)
    job = (*teams, "--team", "search")
    job_id = cluster.submit(*job)
    with cluster.worker("one", *teams, "--metrics-address", "127.0.0.1:0"):
        [asked] = waiting(cluster)
        lead_of(cluster).run("approvals", "deny", asked["id"], code=0)
        found = cluster.until(job_id, "failed")
        assert found["parts"] == {"failed": 8}
        assert cluster.creates == 0
        shown = cluster.run("job", "status", job_id, code=1).out.decode()
        assert "shell:lead" in shown
        assert "denied the job" in shown
        assert waiting(cluster) == []
        assert cluster.submit(*job) == job_id
        [again] = waiting(cluster)
        assert again["id"] != asked["id"]
        lead_of(cluster).run("approvals", "approve", again["id"], code=0)
        assert cluster.until(job_id, "done")["succeeded"] == 40
        url = re.search(r"http://\S+/metrics", cluster.logs())
        assert url is not None
        counted = httpx2.get(url[0], trust_env=False).text
    for state in ("failed", "done"):
        assert f'batches_mcp_job_parts_ended_total{{state="{state}",team="search"}} 8.0' in counted
    assert cluster.creates == 8


@pytest.mark.shared
def test_a_job_within_the_limit_of_its_team_asks_nobody(cluster: Cluster) -> None:
    cluster.table("a", 10)
    teams = with_limit(cluster, over_batches=3)
    job_id = cluster.submit(*teams, "--team", "search")
    with cluster.worker("one", *teams):
        assert cluster.until(job_id, "done")["succeeded"] == 10
    assert waiting(cluster) == []
    assert audited(cluster, "approval") == []


@pytest.mark.shared
def test_a_job_that_is_canceled_asks_nobody_any_more(cluster: Cluster) -> None:
    cluster.table("a", 10)
    teams = with_limit(cluster, over_batches=1)
    job_id = cluster.submit(*teams, "--team", "search")
    assert [each["job"] for each in waiting(cluster)] == [job_id]
    cluster.run("job", "cancel", job_id, code=0)
    with cluster.worker("one", *teams):
        cluster.until(job_id, "canceled")
        cluster.until_it(job_id, lambda _: not waiting(cluster))
    assert cluster.creates == 0
    assert audited(cluster, "approval")[-1]["reason"] == "job_ended"


@pytest.mark.shared
@pytest.mark.parametrize("step", ["prepared", "claimed", "about to be sent whole", "may be sent whole", "answered"])
def test_a_worker_that_is_killed_sends_nothing_twice_or_unapproved(cluster: Cluster, step: str) -> None:
    cluster.table("a", 10)
    cluster.table("b", 10, "'wor ' || i")
    teams = with_limit(cluster, over_batches=2)
    job_id = cluster.submit(*teams, "--team", "search")
    [asked] = waiting(cluster)
    approve = ("approvals", "approve", asked["id"])
    if step != "prepared":
        lead_of(cluster).run(*approve, code=0)
    with cluster.worker("one", *teams, die=step) as one:
        assert one.wait(60) == -signal.SIGKILL
    leases_run_out(cluster)
    with cluster.worker("two", *teams):
        if step == "prepared":
            cluster.until_it(job_id, lambda _: all(part.note for part in cluster.parts(job_id)))
            assert cluster.creates == 0
            lead_of(cluster).run(*approve, code=0)
        found = done(cluster, job_id)
    assert (found["succeeded"], found["batches"], cluster.creates) == (20, 4, 4)
    assert waiting(cluster) == []


@pytest.mark.shared
@pytest.mark.parametrize("answer", ["approve", "deny"])
def test_a_job_is_answered_for_at_a_server(cluster: Cluster, answer: str) -> None:
    cluster.table("a", 5)
    folder, env = cluster.folder, cluster.environment("server")
    limit = {"search": {"approve_over_usd": 1e-9}, "ads": {}}
    with service(cluster.sandbox.url, folder, key=cluster.key, teams=limit, **env) as served:
        job_id = cluster.submit("--teams", "teams.yaml", "--team", "search")
        lead = Caller(served, "search-lead")
        [asked] = lead.approvals()
        assert (asked["job"], asked["batches"], asked["rows"], asked["may_answer"]) == (job_id, 1, 5, True)
        assert asked["models"] == "claude-haiku-5-5"
        assert Caller(served, "ads-approver").approvals() == []
        with cluster.worker("one", "--teams", "teams.yaml"):
            reply = lead.answer(asked["id"], answer)
            assert (reply.status_code, reply.json()["job"]) == (200, job_id)
            cluster.until(job_id, "done" if answer == "approve" else "failed")
        assert lead.approvals() == []
    assert cluster.creates == (answer == "approve")


@pytest.mark.shared
def test_a_limit_that_came_after_the_job_was_submitted_counts_for_it(cluster: Cluster) -> None:
    cluster.table("a", 10)
    teams = with_limit(cluster, over_batches=100)
    job_id = cluster.submit(*teams, "--team", "search")
    with_limit(cluster, over_batches=1)
    with cluster.worker("one", *teams):
        cluster.until_it(job_id, lambda _: all(part.note for part in cluster.parts(job_id)))
        [asked] = waiting(cluster)
        assert (asked["job"], asked["batches"]) == (job_id, 2)
        assert cluster.creates == 0
        lead_of(cluster).run("approvals", "approve", asked["id"], code=0)
        assert cluster.until(job_id, "done")["batches"] == 2


@pytest.mark.shared
def test_what_jobs_need_is_named_where_it_is_missing(cluster: Cluster) -> None:
    done = cluster.run("job", "submit", "in", "--template", "{}", "--out", "out", "--sandbox", code=2)
    assert "--base-url http://127.0.0.1:8080" in done.err
    assert "there is no job 123" in cluster.run("job", "status", "123", code=2).err
    hidden = cluster.folder / "hidden"
    (hidden / "procrastinate").mkdir(parents=True)
    (hidden / "procrastinate" / "__init__.py").write_text("raise ImportError('No module named procrastinate')")
    done = cluster.run("worker", code=2, path=hidden)
    assert 'pip install "batches-mcp[cluster]"' in done.err


@pytest.mark.shared
def test_a_part_that_cannot_be_worked_on_keeps_no_other_from_being_done(cluster: Cluster) -> None:
    cluster.table("a", 12)
    job_id = cluster.submit()
    with psycopg.connect(cluster.database_url) as connection:
        connection.execute("UPDATE job_parts SET plan = '{}' WHERE number = 0")
    with cluster.worker("one"):
        found = cluster.until_it(job_id, lambda found: found["parts"].get("done") == 2)
    assert (found["state"], found["succeeded"]) == ("running", 7)
    assert "part 1    internal error (ValidationError)" in cluster.run("job", "status", job_id, code=0).out.decode()


@pytest.mark.shared
def test_jobs_are_submitted_waited_for_and_collected_from_python(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in cluster.environment("shell").items():
        monkeypatch.setenv(name, value)
    url, out = cluster.table("a", 12, "'a ' || i").parent.as_posix(), f"{cluster.folder}/out"
    with pytest.raises(api.JobError, match="names no column"):
        api.submit(url, template={**TEMPLATE, "messages": [{"role": "user", "content": "Say"}]}, out=out)
    job_id = api.submit(url, template=TEMPLATE, out=out, label="from Python")
    assert api.submit(url, template=TEMPLATE, out=out) == job_id
    assert api.wait(job_id, timeout_s=0.0).state == "running"
    with pytest.raises(api.JobError, match=f"job {job_id} is running"):
        api.collect(job_id)
    with cluster.worker("one"):
        assert api.wait(job_id, timeout_s=60.0, poll_s=0.1).state == "done"
    assert api.collect(job_id) == api.Results(
        job_id, (f"{out}/part-00000.parquet",), 12, 12, 0, api.status(job_id).cost_usd
    )
    assert not api.cancel(job_id)
    with pytest.raises(api.JobError, match="there is no job none"):
        api.status("none")
