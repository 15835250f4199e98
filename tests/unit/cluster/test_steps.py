"""What is to be done next for a job and its parts: each state leads somewhere, and a batch is followed to its end."""

from __future__ import annotations

import pytest

from batches_mcp.cluster.steps import PRIORITY, Action, is_permanent, next_action, outcome, pause_s, poll_after_s
from batches_mcp.core.errors import ErrorReport, Retry
from batches_mcp.store.job import JobState, PartState

WAITING, PREPARED, SUBMITTED, ENDED, RETRYING = list(PartState)[:5]
DONE, FAILED, CANCELED = list(PartState)[5:]


def test_a_part_goes_through_all_steps() -> None:
    found = [next_action(JobState.RUNNING, state) for state in PartState]
    steps = [Action.PREPARE, Action.SUBMIT, Action.POLL, Action.COLLECT, Action.RETRY]
    assert found == [*steps, None, None, None]


@pytest.mark.parametrize("job", list(JobState))
def test_a_batch_that_exists_is_followed_whatever_becomes_of_the_job(job: JobState) -> None:
    assert next_action(job, SUBMITTED) is Action.POLL
    assert next_action(job, ENDED) is Action.COLLECT
    assert next_action(job, DONE) is None


def test_a_paused_job_sends_nothing() -> None:
    assert {next_action(JobState.PAUSED, state) for state in (WAITING, PREPARED, RETRYING)} == {None}


def test_a_job_that_is_canceled_finds_out_what_was_sent_and_sends_nothing_again() -> None:
    assert next_action(JobState.CANCELING, WAITING) is None
    assert next_action(JobState.CANCELING, PREPARED) is Action.SUBMIT
    assert next_action(JobState.CANCELING, RETRYING) is Action.COLLECT


@pytest.mark.parametrize(
    ("job", "states", "expected"),
    [
        (JobState.RUNNING, [DONE, WAITING], None),
        (JobState.RUNNING, [DONE, DONE], JobState.DONE),
        (JobState.RUNNING, [DONE, FAILED], JobState.FAILED),
        (JobState.PAUSED, [DONE], None),
        (JobState.CANCELING, [DONE, CANCELED], JobState.CANCELED),
        (JobState.CANCELING, [SUBMITTED, CANCELED], None),
    ],
)
def test_a_job_has_ended_when_all_its_parts_have(
    job: JobState, states: list[PartState], expected: JobState | None
) -> None:
    assert outcome(states, job) is expected


@pytest.mark.parametrize(
    ("report", "permanent"),
    [
        (ErrorReport("input_changed", "gone", ""), True),
        (ErrorReport("approval_denied", "too dear", "", status=403), True),
        (ErrorReport("permission_error", "no access", "", status=403), False),
        (ErrorReport("invalid_request_error", "model: unknown", "", status=400), True),
        (ErrorReport("request_too_large", "too large", "", status=413), True),
        (ErrorReport("invalid_request_error", "Your credit balance is too low", "", status=400), False),
        (ErrorReport("invalid_request_error", "reached your specified API usage limits", "", status=400), False),
        (ErrorReport("authentication_error", "invalid x-api-key", "", status=401), False),
        (ErrorReport("cost_cap", "too much", ""), False),
        (ErrorReport("overloaded_error", "busy", "", Retry.HELPS, status=529), False),
    ],
)
def test_only_what_would_fail_everywhere_and_always_ends_a_part(report: ErrorReport, permanent: bool) -> None:
    assert is_permanent(report) is permanent


def test_pauses_grow_and_are_bounded() -> None:
    assert [pause_s(number, None, 60.0) for number in (1, 2, 5, 6, 1_000)] == [2.0, 4.0, 32.0, 60.0, 60.0]
    assert pause_s(1, 20.0, 60.0) == 20.0
    assert pause_s(1, 86_400.0, 60.0) == 900.0


def test_a_batch_is_looked_at_less_often_the_longer_it_takes() -> None:
    assert [poll_after_s(None, waited_s, 60.0) for waited_s in (0.0, 100.0, 10_000.0)] == [0.0, 5.0, 60.0]
    assert poll_after_s(10.0, 0.0, 60.0) == 10.0
    assert poll_after_s(None, -5.0, 60.0) == 0.0


def test_what_frees_the_queue_goes_first() -> None:
    assert set(PRIORITY) == set(Action)
    assert PRIORITY[Action.COLLECT] > PRIORITY[Action.SUBMIT] > PRIORITY[Action.PREPARE]
