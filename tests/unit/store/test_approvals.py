"""Approvals and the audit in the ledger's own transactions, in a folder and in a shared database."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from batches_mcp.api.batch import Batch
from batches_mcp.store.audit import AuditLog
from batches_mcp.store.claim_rules import (
    Baseline,
    Begun,
    Busy,
    Cap,
    Claim,
    ClaimRules,
    JobTotal,
    OverCap,
    QueueFull,
    TooManyWaiting,
    Waiting,
)
from batches_mcp.store.entry import Answer, Approval, Draft, State
from batches_mcp.store.records import Records
from batches_mcp.work.approvals import keep
from tests.support.records import another

pytestmark = pytest.mark.both_states

NOW_S = 1_800_000_000.0
DAY_S = 86_400.0
BODY = b'{"requests":[{"custom_id":"a"}]}'
ASKING = ClaimRules(approve_over_usd=1.0)


def draft(content: str = "c", usd: float | None = 2.0) -> Draft:
    return Draft(content, 1, len(BODY), body=content, estimate_usd=usd, principal="p", client="key", team="t")


def ask(records: Records, content: str = "c", now_s: float = NOW_S, usd: float | None = 2.0) -> Approval:
    claim = records.claim(draft(content, usd), Baseline(now_s), ASKING)
    assert isinstance(claim, Waiting)
    return claim.approval


def asked(records: Records, content: str = "c", **more: float) -> Approval:
    """One that waits for an answer, with its requests kept."""
    with records.kept.draft() as path:
        copy = records.kept.write(path, [BODY], "")
        approval = ask(records, content, **more)
        keep(records, path, replace(draft(content), body=copy.name), approval)
    found = records.ledger.approvals.find(approval.id)
    assert found is not None
    return found


def approve(records: Records, approval: Approval) -> None:
    assert records.ledger.approvals.answer(approval.id, "boss", approve=True)[1]


def send(records: Records, approval: Approval) -> Claim:
    return records.claim(approval.draft, Baseline(NOW_S), ClaimRules(approval_id=approval.id))


def state_of(records: Records, approval: Approval) -> Answer:
    found = records.ledger.approvals.find(approval.id)
    assert found is not None
    return found.state


def expire(records: Records) -> None:
    with records.ledger.database.transaction() as db:
        db.execute("UPDATE approvals SET expires_s = 1")


def rows(records: Records) -> list[str]:
    found = AuditLog(records.ledger.database).rows()
    return [" ".join(filter(None, [row["event"], row["outcome"], row["reason"], row["approver"]])) for row in found]


def test_one_claim_begins_what_was_approved(records: Records) -> None:
    approval = asked(records)
    assert isinstance(send(records, approval), Waiting)  # nobody has approved it yet
    approve(records, approval)
    other = another(records)
    claims: list[Claim] = []
    threads = [
        threading.Thread(target=lambda each=each: claims.append(send(each, approval))) for each in (records, other)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(type(claim).__name__ for claim in claims) == ["Begun", "Busy"]
    assert state_of(records, approval) is Answer.USED


def test_a_server_that_dies_before_the_last_byte_gives_it_back(records: Records) -> None:
    approval = asked(records)
    approve(records, approval)
    dying = another(records)
    assert isinstance(send(dying, approval), Begun)
    assert state_of(records, approval) is Answer.USED
    dying.presence.leave()
    assert records.left_behind() == []
    assert state_of(records, approval) is Answer.APPROVED
    claim = send(records, approval)
    assert isinstance(claim, Begun)
    records.ledger.sent(claim.entry.key, NOW_S)
    records.ledger.accepted(claim.entry.key, Batch.of({"id": "b1"}))
    assert state_of(records, approval) is Answer.USED
    assert rows(records) == [
        "approval asked", "create held approval_pending", "approval approved boss", "create begun boss",
        "create not_sent interrupted boss", "create begun boss", "create sent boss", "create accepted boss",
    ]  # fmt: skip


def test_one_that_may_have_been_sent_is_not_sent_again_before_it_was_looked_for(records: Records) -> None:
    approval = asked(records)
    approve(records, approval)
    dying = another(records)
    claim = send(dying, approval)
    assert isinstance(claim, Begun)
    dying.ledger.sent(claim.entry.key, NOW_S)
    dying.presence.leave()
    [left] = records.left_behind()
    assert records.ledger.approvals.approved() == []
    records.ledger.settled(left.key, State.NONE_FOUND)
    assert [each.id for each in records.ledger.approvals.approved()] == [approval.id]


def test_the_same_create_of_its_team_begins_what_was_approved(records: Records) -> None:
    approval = asked(records)
    assert ask(records).id == approval.id
    approve(records, approval)
    claim = records.claim(draft(), Baseline(NOW_S), ASKING)
    assert isinstance(claim, Begun)
    assert isinstance(records.claim(draft(), Baseline(NOW_S), ASKING), Busy)
    assert isinstance(records.claim(replace(draft(), team="other"), Baseline(NOW_S), ASKING), Waiting)


def test_what_waits_counts_against_every_cap_until_it_is_denied_or_expires(records: Records) -> None:
    caps = (Cap(3.0), Cap(3.0, team="t"))
    rules = replace(ASKING, caps=caps)
    first = asked(records)
    for each in caps:
        assert isinstance(records.claim(draft("d", 1.5), Baseline(NOW_S), replace(ASKING, caps=(each,))), OverCap)
    assert isinstance(records.claim(draft(), Baseline(NOW_S), rules), Waiting)  # itself does not count twice
    assert records.ledger.spent_usd(caps[0], NOW_S) == 2.0
    records.ledger.approvals.answer(first.id, "boss", approve=False)
    assert records.ledger.spent_usd(caps[0], NOW_S) == 0.0
    asked(records, "e")
    expire(records)
    assert records.ledger.approvals.pending() == []
    assert records.ledger.spent_usd(caps[0], NOW_S) == 0.0


def test_no_more_wait_than_may(records: Records) -> None:
    few = replace(ASKING, open_approvals=2)
    first = asked(records, "a")
    asked(records, "b")
    assert records.claim(draft("c"), Baseline(NOW_S), few) == TooManyWaiting(2)
    assert isinstance(records.claim(replace(draft("c"), team="other"), Baseline(NOW_S), few), Waiting)
    assert isinstance(records.claim(draft("a"), Baseline(NOW_S), few), Waiting)
    records.ledger.approvals.answer(first.id, "boss", approve=False)
    assert isinstance(records.claim(draft("c"), Baseline(NOW_S), few), Waiting)
    assert "create refused too_many_approvals" in rows(records)


def test_a_cost_that_is_not_known_waits_as_well(records: Records) -> None:
    assert ask(records, usd=None).state is Answer.PENDING
    assert isinstance(records.claim(draft("cheap", 1.0), Baseline(NOW_S), ASKING), Begun)


@pytest.mark.parametrize("off_s", [-600.0, 600.0, 40 * DAY_S])
def test_the_clock_of_a_replica_or_of_the_upstream_does_not_count(off_s: float, records: Records) -> None:
    right, wrong = asked(records, "a"), asked(records, "b", now_s=NOW_S + off_s)
    assert abs(wrong.expires_s - right.expires_s) < 60
    assert {each.id for each in records.ledger.approvals.pending()} == {right.id, wrong.id}


def test_who_approves_late_leaves_time_to_send_it(records: Records) -> None:
    approval = asked(records)
    with records.ledger.database.transaction() as db:
        db.execute("UPDATE approvals SET expires_s = (SELECT now_s FROM clock) + 1")
    approve(records, approval)
    found = records.ledger.approvals.find(approval.id)
    assert found is not None
    assert found.expires_s > approval.expires_s - 60


def test_a_crash_before_the_requests_were_kept_shows_nothing_to_anybody(records: Records) -> None:
    approval = ask(records)
    assert records.ledger.approvals.pending() == []
    assert records.ledger.approvals.answer(approval.id, "boss", approve=True) == (approval, False)
    assert asked(records).id == approval.id  # the same create repairs it
    assert [each.id for each in records.ledger.approvals.pending()] == [approval.id]


def test_requests_are_kept_as_long_as_they_wait(records: Records) -> None:
    approval = asked(records)
    assert records.ledger.used()
    records.drop(approval.body)
    records.tidy(NOW_S + 2 * DAY_S)
    with records.kept.opened(approval.body, "") as file:
        assert file.read(1)
    records.ledger.approvals.answer(approval.id, "boss", approve=False)
    records.drop(approval.body)
    with pytest.raises(FileNotFoundError), records.kept.opened(approval.body, ""):
        pass


def test_the_audit_outlives_the_ledgers_row(records: Records) -> None:
    claim = records.claim(draft(usd=0.5), Baseline(NOW_S), ASKING)
    assert isinstance(claim, Begun)
    with records.kept.draft() as path:
        records.keep(records.kept.write(path, [BODY], "").path, claim.entry).close()
    records.ledger.drop([claim.entry.key])
    assert records.ledger.get(claim.entry.key) is None
    assert rows(records) == ["create begun"]


JOB = JobTotal("job", requests=4, batches=4, estimate_usd=8.0, source="s3://in/*", models="m")
OF_JOB = replace(ASKING, job=JOB)


def part(records: Records, content: str, usd: float = 2.0, **more: Any) -> Claim:
    """A claim of a batch of the job."""
    return records.claim(replace(draft(content, usd), job_id="job"), Baseline(NOW_S), replace(OF_JOB, **more))


def job_asks(records: Records, content: str, usd: float = 2.0) -> Approval:
    claim = part(records, content, usd)
    assert isinstance(claim, Waiting)
    return claim.approval


def begin(records: Records, content: str, usd: float = 2.0, **more: Any) -> Begun:
    claim = part(records, content, usd, **more)
    assert isinstance(claim, Begun)
    return claim


def test_one_approval_lets_the_batches_of_a_job_begin_up_to_its_amount(records: Records) -> None:
    asked_for = job_asks(records, "a")
    assert (asked_for.job_id, asked_for.rows, asked_for.parts, asked_for.estimate_usd) == ("job", 4, 4, 8.0)
    assert [each.id for each in records.ledger.approvals.pending()] == [asked_for.id]
    assert job_asks(records, "b").id == asked_for.id
    approve(records, asked_for)
    # It is its workers' to send.
    assert records.ledger.approvals.approved() == []
    for content in "abc":
        begin(records, content)
    assert state_of(records, asked_for) is Answer.USED
    further = job_asks(records, "d", usd=3.0)
    assert further.id != asked_for.id
    assert (further.rows, further.parts, further.estimate_usd) == (1, 1, 3.0)
    approve(records, further)
    begin(records, "d", usd=3.0)
    assert rows(records) == [
        "approval asked", "approval approved boss", *["create begun boss"] * 3, "approval asked",
        "approval approved boss", "create begun boss",
    ]  # fmt: skip


def test_what_a_batch_cost_less_than_estimated_is_there_for_others_of_the_job(records: Records) -> None:
    approve(records, job_asks(records, "a"))
    begun = begin(records, "a", usd=8.0)
    refused = job_asks(records, "b")
    assert (refused.rows, refused.parts) == (3, 3)
    records.ledger.accepted(begun.entry.key, Batch.of({"id": "msgbatch_1", "processing_status": "ended"}))
    records.ledger.cost("msgbatch_1", 5.0)
    begin(records, "b", usd=3.0)


def test_a_batch_of_a_job_that_was_not_made_counts_no_more(records: Records) -> None:
    approve(records, job_asks(records, "a"))
    first = begin(records, "a", usd=8.0)
    records.ledger.settled(first.entry.key, State.REFUSED)
    begin(records, "a", usd=8.0)


def test_a_job_that_was_approved_still_waits_for_room(records: Records) -> None:
    approve(records, job_asks(records, "a"))
    # Nothing was reserved for it: others could spend what it waits for.
    cap = Cap(3.0, team="t")
    begin(records, "a", caps=(cap,))
    assert isinstance(part(records, "b", caps=(cap,)), OverCap)
    assert isinstance(part(records, "b", queue_requests=1), QueueFull)


def test_claims_at_the_same_time_stay_within_what_was_approved(records: Records) -> None:
    approve(records, job_asks(records, "a"))
    claims: list[Claim] = []
    each_own = [another(records) for _ in range(6)]
    threads = [
        threading.Thread(target=lambda each=each, at=at: claims.append(part(each, f"c{at}")))
        for at, each in enumerate(each_own)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(type(claim).__name__ for claim in claims) == ["Begun"] * 4 + ["Waiting"] * 2
    assert len(records.ledger.approvals.pending()) == 1


def test_a_job_that_was_denied_stays_so_for_all_of_its_batches(records: Records) -> None:
    denied = job_asks(records, "a")
    assert records.ledger.approvals.answer(denied.id, "boss", approve=False)[1]
    for content in "abab":
        assert job_asks(records, content).state is Answer.DENIED


def test_an_approval_of_a_job_that_nobody_used_for_a_day_expires(records: Records) -> None:
    asked_for = job_asks(records, "a")
    approve(records, asked_for)
    expire(records)
    assert job_asks(records, "a").id != asked_for.id
    assert state_of(records, asked_for) is Answer.EXPIRED
    # One that is used does not: a job takes days.
    approve(records, job_asks(records, "a"))
    begin(records, "a")
    expire(records)
    begin(records, "b")


def test_a_job_of_unknown_price_is_approved_as_a_whole(records: Records) -> None:
    unknown = replace(OF_JOB, job=replace(JOB, estimate_usd=None))
    create = replace(draft("a", None), job_id="job")
    claim = records.claim(create, Baseline(NOW_S), unknown)
    assert isinstance(claim, Waiting)
    assert claim.approval.estimate_usd is None
    approve(records, claim.approval)
    assert isinstance(records.claim(create, Baseline(NOW_S), unknown), Begun)
