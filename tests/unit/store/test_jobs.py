"""Jobs in the database: each state moves once, whoever moves it, and a job that is submitted again is the same."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from batches_mcp.store.job import Job, JobPart, JobSettings, JobShard, JobState, PartBatch, PartState
from batches_mcp.store.jobs import Jobs
from batches_mcp.store.postgres import Postgres
from tests.support.postgres import fresh_url

SETTINGS = JobSettings("s3://in/*.parquet", "s3://out/", {"model": "m"}, part_rows=5, queue_requests=10)
JOB = Job("j1", "account", "queue", JobState.PLANNING, SETTINGS, 1.0)
SHARDS = [JobShard("j1", number, f"s3://in/{number}.parquet", 10, "v1") for number in range(2)]


@pytest.fixture
def jobs(postgres: str) -> Iterator[Jobs]:
    database = Postgres(fresh_url(postgres))
    yield Jobs(database)
    database.close()


@pytest.fixture
def started(jobs: Jobs) -> Jobs:
    jobs.begin(JOB, SHARDS)
    assert jobs.start("j1", [part(number) for number in range(4)])
    return jobs


def part(number: int, job: str = "j1") -> JobPart:
    return JobPart(job, number, number // 2, 5, 0.25, {"content": f"c{number}"})


def test_a_job_that_is_submitted_again_is_the_same_with_other_bounds(jobs: Jobs) -> None:
    assert jobs.begin(JOB, SHARDS) == JOB
    again = replace(JOB, created_s=2.0, settings=replace(SETTINGS, queue_requests=20, max_cost_usd=3.0, label="l"))
    found = jobs.begin(again, SHARDS)
    assert found == replace(again, created_s=1.0)
    assert jobs.get("j1") == found
    assert jobs.shards("j1") == SHARDS
    assert jobs.all() == [found]
    assert jobs.get("j2") is None


def test_a_shard_is_planned_once(jobs: Jobs) -> None:
    jobs.begin(JOB, SHARDS)
    assert jobs.planned(SHARDS[0], {"rows": 1})
    assert not jobs.planned(SHARDS[0], {"rows": 2})
    assert jobs.shard("j1", 0) == replace(SHARDS[0], plan={"rows": 1})


def test_a_job_is_started_once(started: Jobs) -> None:
    assert not started.start("j1", [part(9)])
    assert [each.number for each in started.parts("j1")] == [0, 1, 2, 3]
    found = started.get("j1")
    assert found is not None
    assert found.state is JobState.RUNNING


def test_of_two_that_move_a_part_one_does(started: Jobs) -> None:
    moved: list[bool] = []

    def move() -> None:
        moved.append(started.advance(part(0), [PartState.WAITING], state=PartState.PREPARED, body="b"))

    threads = [threading.Thread(target=move) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(moved) == [False, False, False, True]
    assert started.part("j1", 0) == replace(part(0), state=PartState.PREPARED, body="b")


def test_a_batch_is_noted_once_by_those_who_knew_the_same(started: Jobs) -> None:
    batch = PartBatch("msgbatch_1", 5)
    states = [PartState.WAITING, PartState.SUBMITTED]
    assert started.advance(part(0), states, state=PartState.SUBMITTED, batches=(batch,))
    assert not started.advance(part(0), states, state=PartState.SUBMITTED, batches=(batch,))
    found = started.part("j1", 0)
    assert found is not None
    assert found.batches == (batch,)
    assert found.retries == 0


def test_what_is_next_are_the_parts_begun_and_a_few_others(started: Jobs) -> None:
    started.advance(part(1), [PartState.WAITING], state=PartState.PREPARED)
    started.advance(part(2), [PartState.WAITING], state=PartState.DONE)
    assert [each.number for each in started.next_parts("j1", 2)] == [1, 0]
    assert [each.number for each in started.next_parts("j1", 1)] == [1]
    assert [each.number for each in started.next_parts("j1", 9)] == [1, 0, 3]


def test_parts_with_which_something_is_wrong_keep_no_others_waiting(started: Jobs) -> None:
    started.failed(part(0), "its table cannot be read now")
    assert [each.number for each in started.next_parts("j1", 2)] == [1, 2]
    for number in (1, 2):
        started.advance(part(number), [PartState.WAITING], state=PartState.PREPARED)
    assert [each.number for each in started.next_parts("j1", 2)] == [1, 2]
    started.waits(part(1), "the queue is full")
    assert [each.number for each in started.next_parts("j1", 2)] == [1, 2]
    started.failed(part(1), "in doubt")
    assert [each.number for each in started.next_parts("j1", 2)] == [1, 2, 3]


def test_a_failure_is_noted_until_the_next_step_went_well(started: Jobs) -> None:
    started.failed(part(0), "no room")
    started.failed(part(0), "no access")
    found = started.part("j1", 0)
    assert found == replace(part(0), failures=2, note="no access")
    started.advance(part(0), [PartState.WAITING], state=PartState.PREPARED)
    assert started.part("j1", 0) == replace(part(0), state=PartState.PREPARED)


def test_canceled_parts_wait_again_when_the_job_goes_on(started: Jobs) -> None:
    started.advance(part(0), [PartState.WAITING], state=PartState.PREPARED)
    assert started.move("j1", [JobState.RUNNING], JobState.CANCELING)
    assert not started.move("j1", [JobState.RUNNING], JobState.CANCELING)
    assert [each.state for each in started.parts("j1")] == ["prepared", "canceled", "canceled", "canceled"]
    assert started.move("j1", [JobState.CANCELING], JobState.CANCELED)
    found = started.get("j1")
    assert found is not None
    assert found.finished_s is not None
    assert started.move("j1", [JobState.CANCELED], JobState.RUNNING)
    assert [each.state for each in started.parts("j1")] == ["prepared", "waiting", "waiting", "waiting"]


def test_workers_are_told_the_jobs_of_their_queues(started: Jobs) -> None:
    assert [job.id for job in started.unfinished(["other", "queue"])] == ["j1"]
    assert started.unfinished(["other"]) == []
    started.move("j1", [JobState.RUNNING], JobState.DONE)
    assert started.unfinished(["queue"]) == []


def test_a_status_sums_up(started: Jobs) -> None:
    used = [{"batch_id": "a", "cost_usd": 0.07}, {"batch_id": "b", "cost_usd": 0.03}]
    changes = {"state": PartState.DONE, "succeeded": 4, "failed": 1, "cost_usd": 0.1, "output": {"batches": used}}
    made = (PartBatch("a", 5), PartBatch("b", 1))
    started.advance(part(0), [PartState.WAITING], **changes, batches=made)
    found = started.status("j1")
    assert found is not None
    assert (found.rows, found.succeeded, found.failed, found.batches) == (20, 4, 1, 2)
    assert found.parts == {"done": 1, "waiting": 3}
    assert (found.estimate_usd, found.cost_usd) == (1.0, 0.1)
    assert started.committed_usd("j1") == pytest.approx(0.85)
    assert started.status("j2") is None


def test_a_batch_that_two_parts_share_counts_once(started: Jobs) -> None:
    changes = {"state": PartState.DONE, "cost_usd": 0.1, "output": {"batches": [{"batch_id": "a", "cost_usd": 0.1}]}}
    for number in range(2):
        started.advance(part(number), [PartState.WAITING], **changes, batches=(PartBatch("a", 5),))
    found = started.status("j1")
    assert found is not None
    assert (found.batches, found.cost_usd) == (1, 0.1)
    assert started.states("j1") == {PartState.DONE, PartState.WAITING}


def test_a_price_that_is_not_known_is_not_summed(jobs: Jobs) -> None:
    jobs.begin(JOB, SHARDS)
    jobs.start("j1", [part(0), replace(part(1), estimate_usd=None)])
    found = jobs.status("j1")
    assert found is not None
    assert (found.estimate_usd, found.cost_usd) == (None, None)
