"""Each rule of the soak holds of what is right, and does not of what is wrong."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.soak.records import Made, Record, Told
from tests.soak.rules import broken
from tests.soak.schedule import Ask, Content, Job, schedule
from tests.support.fates import Post

A, B = Content("a", 2, common=False), Content("b", 2, common=True)
JOB = Job("j", (A, B))


def rows(content: Content, batch_id: str) -> dict[str, object]:
    return {each: {"custom_id": each, "result": f"{batch_id} {each}"} for each in content.custom_ids}


def made(content: Content, batch_id: str) -> Made:
    return Made(batch_id, content.name, content.rows, rows(content, batch_id))


def told(content: Content, batch_id: str | None = None, *, error: str | None = None, at_s: float = 0.0) -> Told:
    return Told(Ask(content, "stdio"), at_s, at_s, at_s, batch_id, batch_id is not None, error)


def post(number: int, content: Content, fate: str, at_s: float, batch_id: str | None = None) -> Post:
    return Post(number, content.name, fate, at_s, at_s, batch_id=batch_id)


def right() -> Record:
    """Two contents, each lost once, sent again after doubt was over, and made; a job has the results of both."""
    return Record(
        {"a": A, "b": B},
        {"s": Content("s", 2, common=True)},
        told=[told(A, error="timeout"), told(A, "m1", at_s=1_000.0), told(B, "m2")],
        posts=[post(0, A, "unsent, 504", 0.0), post(1, A, "passed", 1_000.0, "m1"), post(2, B, "sent, 500", 0.0, "m2")],
        made=[made(A, "m1"), made(B, "m2"), Made("m3", "s", 2, rows(B, "m3"))],
        outs=[(JOB, [json.dumps(row).encode() for row in (rows(A, "m1") | rows(B, "m2")).values()])],
        known={"m1": "a", "m2": "b"},
    )


def test_all_hold() -> None:
    assert broken(right()) == []


def paid_twice(record: Record) -> None:
    record.made.append(made(A, "m4"))


def sent_in_doubt(record: Record) -> None:
    record.posts[1] = replace(record.posts[1], at_s=600.0)


def sent_after_it_was_made(record: Record) -> None:
    record.posts.append(post(3, B, "400", 5_000.0))


def sent_after_its_late_batch(record: Record) -> None:
    record.posts.insert(0, post(9, A, "late, 504", -5_000.0, "m5"))


def unknown_create(record: Record) -> None:
    record.posts.append(post(3, Content("z", 2, common=False), "400", 0.0))


def strangers_batch(record: Record) -> None:
    record.told.append(told(B, "m3"))


def no_batch(record: Record) -> None:
    record.made.pop(0)
    record.outs.clear()


def strangers_row(record: Record) -> None:
    record.outs[0][1][3] = json.dumps(rows(B, "m3")["row-1"]).encode()


def other_order(record: Record) -> None:
    record.outs[0][1].reverse()


def row_missing(record: Record) -> None:
    record.outs[0][1].pop()


def over_the_cap(record: Record) -> None:
    record.outs.clear()
    record.cap_usd, record.row_usd = 3.0, 1.0


def wrong_label(record: Record) -> None:
    record.known = {"m3": "b"}


def job_failed(record: Record) -> None:
    record.unfinished.append((Job("k", (A,)), "exit 1"))


def internal_error(record: Record) -> None:
    record.told.append(told(A, error="internal_error"))


def traceback(record: Record) -> None:
    record.wrong.append("Traceback")


def never_told(record: Record) -> None:
    del record.told[1]


def rest_may_retry(record: Record) -> None:
    answer = told(A, error="status 504", at_s=1.0)
    record.posts[0] = replace(record.posts[0], at_s=1.0, arrived_s=1.0)
    record.told.insert(0, replace(answer, status=504, may_retry=True))


def rest_may_retry_later(record: Record) -> None:
    record.told.insert(0, replace(told(A, error="status 409", at_s=500.0), status=409, may_retry=True))


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        (paid_twice, "paid twice"),
        (sent_in_doubt, "sent again"),
        (sent_after_it_was_made, "sent again"),
        (sent_after_its_late_batch, "sent again"),
        (unknown_create, "sent again"),
        (strangers_batch, "shown another's"),
        (no_batch, "not made"),
        (never_told, "never told"),
        (strangers_row, "out wrong"),
        (other_order, "out wrong"),
        (row_missing, "out wrong"),
        (over_the_cap, "over the cap"),
        (wrong_label, "ledger wrong"),
        (job_failed, "job failed"),
        (internal_error, "internal error"),
        (traceback, "said wrong"),
        (rest_may_retry, "retry in doubt"),
        (rest_may_retry_later, "retry in doubt"),
    ],
    ids=lambda each: getattr(each, "__name__", each),
)
def test_it_does_not_hold(wrong: object, rule: str) -> None:
    record = right()
    assert callable(wrong)
    wrong(record)
    assert rule in {each.rule for each in broken(record)}


def test_a_duplicate_that_was_asked_for_is_no_wrong() -> None:
    record = right()
    paid_twice(record)
    record.posts.append(post(3, A, "passed", 1_001.0, "m4"))
    asked = told(A, "m4", at_s=1_001.0)
    record.told.append(replace(asked, ask=replace(asked.ask, again=True)))
    assert broken(record) == []


def test_a_schedule_follows_from_its_seed() -> None:
    assert schedule("s", 100) == schedule("s", 100)
    assert schedule("s", 100) != schedule("t", 100)
    assert len(schedule("s", 100).contents) == 100
