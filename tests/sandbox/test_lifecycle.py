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
    accept,
    archived_us,
    cancel,
    status_at,
)
from batches_mcp.sandbox.wire import batch_json

CREATED_US = 1_000

own_fates = st.lists(st.sampled_from([Fate.SUCCEEDED, Fate.ERRORED, Fate.EXPIRED]), min_size=1, max_size=50).map(bytes)
durations = st.integers(0, 2 * EXPIRES_AFTER_US)


def batch_of(fates: bytes, process_us: int) -> Batch:
    return accept(
        number=1,
        batch_id="msgbatch_x",
        tenant="t",
        created_us=CREATED_US,
        process_us=process_us,
        fates=fates,
        terms=Terms("2026-10-21", frozenset(), None),
    )


@given(own_fates, durations, durations, durations)
def test_the_sum_of_counts_is_the_total_at_any_time(
    fates: bytes, process_us: int, cancel_at: int, look_at: int
) -> None:
    natural = batch_of(fates, process_us)
    canceled = cancel(natural, fates, CREATED_US + cancel_at)
    for batch in (natural, canceled):
        now_us = CREATED_US + look_at
        body = batch_json(batch, status_at(batch, now_us), now_us, "http://x")
        counts = body["request_counts"]
        assert sum(counts.values()) == len(fates)
        assert counts["processing"] in (0, len(fates))
        assert (counts["processing"] == 0) == (body["ended_at"] is not None) == (body["results_url"] is not None)
        assert batch.ending.at_us <= batch.expires_us


@given(own_fates, durations, durations)
def test_cancel_only_takes_away_what_was_not_processed(fates: bytes, process_us: int, cancel_at: int) -> None:
    natural = batch_of(fates, process_us)
    now_us = CREATED_US + cancel_at
    canceled = cancel(natural, fates, now_us)
    if status_at(natural, now_us) is Status.ENDED:
        assert canceled == natural
        return
    assert status_at(canceled, now_us) is Status.CANCELING
    assert canceled.ending.processed <= natural.ending.processed
    assert canceled.ending.at_us <= min(natural.ending.at_us, now_us + 1_000_000)
    assert canceled.ending.counts.canceled == len(fates) - canceled.ending.processed
    assert cancel(canceled, fates, now_us + 1) == canceled


def test_archive() -> None:
    batch = batch_of(bytes([Fate.SUCCEEDED]), 0)
    end = CREATED_US + ARCHIVED_AFTER_US
    assert (archived_us(batch, end - 1), archived_us(batch, end), archived_us(batch, end + 1)) == (None, end, end)


def test_manual_clock() -> None:
    clock = ManualClock(datetime(2026, 5, 1, tzinfo=UTC))
    assert clock.advance(1.5) == clock.now() == datetime(2026, 5, 1, 0, 0, 1, 500_000, tzinfo=UTC)
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)
    with pytest.raises(ValueError, match="time zone"):
        ManualClock(datetime(2026, 5, 1))  # noqa: DTZ001 - the point of the test


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
