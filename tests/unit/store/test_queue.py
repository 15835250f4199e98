"""The queue of a workspace: no more requests in progress than may be, whoever sends them, and one batch always."""

from __future__ import annotations

import threading

import pytest

from batches_mcp.api.batch import Batch
from batches_mcp.store.claim_rules import Baseline, Begun, Claim, ClaimRules, QueueFull
from batches_mcp.store.entry import Draft, State
from batches_mcp.store.open_work import OpenWork, open_work
from batches_mcp.store.records import AllRecords, Records
from tests.support.states import state_in

NOW_S = 1_800_000_000.0
DAY_S = 86_400.0
RULES = ClaimRules(queue_requests=10)

pytestmark = pytest.mark.both_states


def claim(records: Records, content: str, rows: int, now_s: float = NOW_S, rules: ClaimRules = RULES) -> Claim:
    return records.claim(Draft(content, rows, 100, body=f"body of {content}"), Baseline(now_s), rules)


def accept(records: Records, begun: Claim, batch_id: str, status: str = "in_progress") -> None:
    assert isinstance(begun, Begun)
    records.ledger.accepted(begun.entry.key, Batch.of({"id": batch_id, "processing_status": status}))


def test_what_does_not_fit_waits_until_a_batch_has_ended(records: Records) -> None:
    accept(records, claim(records, "a", 6), "msgbatch_a")
    accept(records, claim(records, "b", 4), "msgbatch_b")
    assert claim(records, "c", 1) == QueueFull(10)
    records.ledger.saw([Batch.of({"id": "msgbatch_b", "processing_status": "ended"})])
    assert isinstance(claim(records, "c", 4), Begun)


def test_a_create_whose_outcome_is_not_known_takes_its_room(records: Records) -> None:
    sending = claim(records, "a", 6)
    assert isinstance(sending, Begun)
    assert claim(records, "b", 5) == QueueFull(6)
    records.ledger.settled(sending.entry.key, State.REFUSED)
    assert isinstance(claim(records, "b", 5), Begun)


def test_a_batch_larger_than_the_queue_goes_alone(records: Records) -> None:
    accept(records, claim(records, "a", 11), "msgbatch_a")
    assert claim(records, "b", 1) == QueueFull(11)


def test_a_batch_that_nobody_looked_at_again_has_ended_after_a_day(records: Records) -> None:
    accept(records, claim(records, "a", 10), "msgbatch_a")
    assert isinstance(claim(records, "b", 10, NOW_S + DAY_S + 3_600), Begun)


@pytest.mark.usefixtures("kind_of_state")
def test_what_takes_room_is_what_operators_see_in_the_queue() -> None:
    """The metric and the bound are of the same requests: in progress, and of creates whose outcome is not known."""
    state = state_in()
    everything = AllRecords(state)
    records = everything.of("account")
    accept(records, claim(records, "before yesterday", 7, NOW_S - 2 * DAY_S), "msgbatch_old")
    accept(records, claim(records, "in progress", 5), "msgbatch_a")
    accept(records, claim(records, "ended", 1), "msgbatch_b", "ended")
    assert isinstance(claim(records, "being sent", 3), Begun)
    assert claim(records, "too many", 9) == QueueFull(8)
    assert open_work(state, NOW_S) == OpenWork(requests=8, creates=1)
    everything.close()


def test_without_a_bound_nothing_waits(records: Records) -> None:
    accept(records, claim(records, "a", 10), "msgbatch_a")
    assert isinstance(claim(records, "b", 10, rules=ClaimRules()), Begun)


def test_of_many_at_once_no_more_than_fit_are_begun(records: Records) -> None:
    found: list[Claim] = []

    def begin(number: int) -> None:
        found.append(claim(records, f"content {number}", 3))

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(each, Begun) for each in found) == 3
    assert sum(each == QueueFull(9) for each in found) == 5
