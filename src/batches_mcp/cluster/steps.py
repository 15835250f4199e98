"""What is to be done next for a job and its parts, by the states they are in. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus

from batches_mcp.core.errors import ErrorReport, Retry
from batches_mcp.store.job import JobState, PartState
from batches_mcp.work.refusals import DENIED

# Parts whose bodies are written before there is room in the queue, of each job.
AHEAD = 4
# How often rows that failed through no fault of their request are sent again.
RETRIES = 2
# A look costs at most a twentieth of what has been waited, and comes once a minute at least.
_POLL_SHARE = 0.05


class Action(StrEnum):
    """What a task does: for a shard (PLAN), for a part, or for the job (FINISH)."""

    PLAN = "plan"
    PREPARE = "prepare"
    SUBMIT = "submit"
    POLL = "poll"
    COLLECT = "collect"
    RETRY = "retry"
    FINISH = "finish"


@dataclass(frozen=True, slots=True)
class Task:
    """An action for a part of a job, or for a shard, by its number."""

    action: Action
    job: str
    number: int = 0


# What frees room in the queue goes before what fills it.
PRIORITY: Mapping[Action, int] = {
    Action.FINISH: 6,
    Action.COLLECT: 5,
    Action.RETRY: 4,
    Action.POLL: 3,
    Action.SUBMIT: 2,
    Action.PREPARE: 1,
    Action.PLAN: 0,
}

_NEXT: Mapping[PartState, Action] = {
    PartState.WAITING: Action.PREPARE,
    PartState.PREPARED: Action.SUBMIT,
    PartState.SUBMITTED: Action.POLL,
    PartState.ENDED: Action.COLLECT,
    PartState.RETRYING: Action.RETRY,
}
# A batch that exists is followed to its end, whatever becomes of its job.
_ALWAYS = (PartState.SUBMITTED, PartState.ENDED)


def next_action(job: JobState, part: PartState) -> Action | None:
    """What is to be done for a part; None: nothing, for good or as long as the job is paused.

    A job that is being canceled has its open batches canceled by `poll`, finds out by `submit` whether a create that
    was begun made a batch, and writes with `collect` what there is.
    """
    if part in _ALWAYS or job is JobState.RUNNING:
        return _NEXT.get(part)
    if job is JobState.CANCELING:
        return Action.COLLECT if part is PartState.RETRYING else Action.SUBMIT if part is PartState.PREPARED else None
    return None


def outcome(states: Collection[PartState], job: JobState) -> JobState | None:
    """The final state of a job whose parts are in these; None as long as there is something to do."""
    if not all(state.final for state in states):
        return None
    if job is JobState.CANCELING:
        return JobState.CANCELED
    if job is not JobState.RUNNING:
        return None
    return JobState.FAILED if PartState.FAILED in states else JobState.DONE


def is_permanent(report: ErrorReport) -> bool:
    """Whether a step that failed so would fail again, whenever and wherever it is tried.

    A credential, a budget and a queue can be seen to while a job waits; a request that the API does not take cannot.
    """
    if report.retry is not Retry.USELESS:
        return False
    if report.type in ("input_changed", DENIED):
        return True
    if report.status in (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY):
        return True
    credit = "credit balance" in report.message or "usage limits" in report.message
    return report.type == "invalid_request_error" and report.status == HTTPStatus.BAD_REQUEST and not credit


def pause_s(failures: int, asked_s: float | None, longest_s: float) -> float:
    """How long to wait before a step that failed so often is tried again, unless the error says it."""
    return min(asked_s, 15 * longest_s) if asked_s is not None else min(2.0 ** min(failures, 20), longest_s)


def poll_after_s(hint_s: float | None, waited_s: float, longest_s: float) -> float:
    """How long to wait before a batch is looked at again that was created `waited_s` ago."""
    return max(hint_s or 0.0, min(max(waited_s, 0.0) * _POLL_SHARE, longest_s))
