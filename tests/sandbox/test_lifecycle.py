"""The pure life of a batch, over all ways it can go."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batches_mcp.sandbox import ManualClock, SandboxConfig, SystemClock
from batches_mcp.sandbox.clock import microseconds
from batches_mcp.sandbox.lifecycle import (
    ARCHIVED_AFTER_US,
    EXPIRES_AFTER_US,
    Batch,
    Fate,
    Status,
    Terms,
    Work,
    accept,
    archive,
    archived_us,
    cancel,
    counts_at,
    end,
    expire,
    is_done,
    status_at,
)
from batches_mcp.sandbox.wire import batch_json

CREATED_US = 1_000

durations = st.integers(0, 2 * EXPIRES_AFTER_US)


@st.composite
def works(draw: st.DrawFn) -> Work:
    fates = draw(st.lists(st.sampled_from([Fate.SUCCEEDED, Fate.ERRORED, Fate.EXPIRED]), min_size=1, max_size=50))
    slow_us = draw(st.dictionaries(st.integers(0, len(fates) - 1), durations, max_size=5))
    return Work(bytes(fates), slow_us)


def batch_of(work: Work, process_us: int) -> Batch:
    return accept(
        number=1,
        batch_id="msgbatch_x",
        tenant="t",
        created_us=CREATED_US,
        process_us=process_us,
        work=work,
        terms=Terms("2026-10-21", frozenset(), None),
    )


def fates_of(batch: Batch, work: Work) -> list[int]:
    """The outcome of each request of an ended batch, as its results say it."""
    return [
        fate if is_done(batch, index, work.slow_us.get(index, 0)) else batch.ending.rest
        for index, fate in enumerate(work.fates)
    ]


@given(works(), durations, st.sampled_from(["nothing", "cancel", "end", "expire", "cancel and end"]), durations)
def test_counts_are_those_of_the_rows_whatever_happens(work: Work, process_us: int, happens: str, at_us: int) -> None:
    natural = batch_of(work, process_us)
    now_us = CREATED_US + at_us
    batch = cancel(natural, work, now_us) if "cancel" in happens else natural
    batch = end(batch, work, now_us) if "end" in happens else batch
    batch = expire(batch, work, now_us) if happens == "expire" else batch
    rows, counts = fates_of(batch, work), batch.ending.counts
    assert [rows.count(fate) for fate in Fate] == [counts.succeeded, counts.errored, counts.canceled, counts.expired]
    assert batch.ending.at_us <= natural.ending.at_us <= natural.expires_us
    if now_us < natural.ending.at_us and happens in ("end", "expire", "cancel and end"):
        assert batch.ending.at_us == now_us


@given(works(), durations, durations, durations)
def test_the_sum_of_counts_is_the_total_at_any_time(work: Work, process_us: int, cancel_at: int, look_at: int) -> None:
    natural = batch_of(work, process_us)
    for batch in (natural, cancel(natural, work, CREATED_US + cancel_at)):
        now_us = CREATED_US + look_at
        for live in ({}, {"live": counts_at(batch, work, now_us)}):
            body = batch_json(batch, status_at(batch, now_us), now_us, "http://x", **live)
            counts = body["request_counts"]
            assert sum(counts.values()) == len(work.fates)
            assert min(counts.values()) >= 0
            assert (body["ended_at"] is not None) == (body["results_url"] is not None)
            assert live or counts["processing"] in (0, len(work.fates))
            assert live or (counts["processing"] == 0) == (body["ended_at"] is not None)


@given(works(), durations, durations)
def test_cancel_only_takes_away_what_was_not_done(work: Work, process_us: int, cancel_at: int) -> None:
    natural = batch_of(work, process_us)
    now_us = CREATED_US + cancel_at
    canceled = cancel(natural, work, now_us)
    if status_at(natural, now_us) is Status.ENDED:
        assert canceled == natural
        return
    assert status_at(canceled, now_us) is Status.CANCELING
    assert canceled.ending.at_us <= min(natural.ending.at_us, now_us + 1_000_000)
    for before, after in zip(fates_of(natural, work), fates_of(canceled, work), strict=True):
        assert after in (before, Fate.CANCELED)
    assert cancel(canceled, work, now_us + 1) == canceled
    assert expire(canceled, work, now_us) == canceled


def test_a_slow_request_keeps_its_batch_open() -> None:
    work = Work(bytes([Fate.SUCCEEDED] * 3), {1: 60_000_000})
    batch = batch_of(work, 5_000_000)
    assert batch.ending.at_us == CREATED_US + 60_000_000
    canceled = cancel(batch, work, CREATED_US + 10_000_000)
    assert fates_of(canceled, work) == [Fate.SUCCEEDED, Fate.CANCELED, Fate.SUCCEEDED]
    assert fates_of(end(batch, work, CREATED_US + 1), work) == [Fate.SUCCEEDED] * 3
    assert fates_of(expire(batch, work, CREATED_US + 5_000_000), work) == [Fate.SUCCEEDED, Fate.EXPIRED, Fate.SUCCEEDED]


def test_a_request_slower_than_a_day_expires_with_its_batch() -> None:
    work = Work(bytes([Fate.SUCCEEDED] * 2), {0: EXPIRES_AFTER_US + 1})
    batch = batch_of(work, 0)
    assert batch.ending.at_us == batch.expires_us
    assert fates_of(batch, work) == [Fate.EXPIRED, Fate.SUCCEEDED]


def test_archive_before_its_time() -> None:
    batch = batch_of(Work(bytes([Fate.SUCCEEDED]), {}), 10)
    assert archive(batch, CREATED_US + 9) == batch
    archived = archive(batch, CREATED_US + 10)
    assert archived_us(archived, CREATED_US + 10) == CREATED_US + 10
    assert archive(archived, CREATED_US + 11) == archived


def test_archive() -> None:
    batch = batch_of(Work(bytes([Fate.SUCCEEDED]), {}), 0)
    end = CREATED_US + ARCHIVED_AFTER_US
    assert (archived_us(batch, end - 1), archived_us(batch, end), archived_us(batch, end + 1)) == (None, end, end)


def test_manual_clock() -> None:
    clock = ManualClock(datetime(2026, 5, 1, tzinfo=UTC))
    assert clock.advance(1.5) == clock.now() == datetime(2026, 5, 1, 0, 0, 1, 500_000, tzinfo=UTC)
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)
    with pytest.raises(ValueError, match="time zone"):
        ManualClock(datetime(2026, 5, 1))  # noqa: DTZ001 - the point of the test


def test_a_clock_stands_still_runs_and_never_goes_back() -> None:
    clock = SystemClock()
    frozen = [clock.frozen]
    stood = clock.freeze()
    frozen.append(clock.frozen)
    assert clock.now() == clock.now() == stood
    assert clock.advance(3_600) == stood + timedelta(hours=1)
    assert clock.unfreeze() == stood + timedelta(hours=1)
    frozen.append(clock.frozen)
    assert frozen == [False, True, False]
    assert clock.now() >= stood + timedelta(hours=1)
    assert clock.advance(60) >= stood + timedelta(hours=1, minutes=1)
    for impossible in (-1, float("nan")):
        with pytest.raises(ValueError, match="back"):
            clock.advance(impossible)
    for impossible in (1e12, 1e300, float("inf")):
        with pytest.raises(ValueError, match="far"):
            clock.advance(impossible)


def test_system_clock_knows_its_time_zone() -> None:
    assert SystemClock().now().tzinfo is UTC


def test_instants_are_exact_in_any_time_zone() -> None:
    here = datetime(2026, 5, 1, 2, 0, 0, 1, tzinfo=timezone(timedelta(hours=2)))
    assert microseconds(here) == microseconds(datetime(2026, 5, 1, 0, 0, 0, 1, tzinfo=UTC))
    assert microseconds(here) % 1_000_000 == 1


def test_config_refuses_negative_numbers() -> None:
    with pytest.raises(ValueError, match="negative"):
        SandboxConfig(process_seconds=-1)
    with pytest.raises(ValueError, match="negative"):
        SandboxConfig(retry_after_seconds=-1)
