"""What a batch says of itself can be read however it says it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batches_mcp.api.batch import Batch
from batches_mcp.exchange.failure import time_of
from batches_mcp.work.evidence import upstream_now_s

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(JSON | st.datetimes().map(str) | st.datetimes(timezones=st.timezones()).map(lambda time: time.isoformat()))
def test_any_time_is_read_or_none(value: Any) -> None:
    found = Batch.of({"created_at": value}).created_s
    assert found is None or isinstance(value, str)


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{1,6} \d\d:\d\d:\d\d (GMT|[+-]\d{4})"))
def test_any_date_is_read_or_none(value: str) -> None:
    assert upstream_now_s(value, 1.0) == (1.0 if time_of(value) is None else time_of(value))


def test_times() -> None:
    assert Batch.of({"created_at": "2026-01-01T00:00:00Z"}).created_s == 1_767_225_600.0
    assert Batch.of({"ended_at": "2026-01-01T00:00:00"}).ended_s == 1_767_225_600.0
    assert time_of("Thu, 01 Jan 2026 00:00:00 GMT") == 1_767_225_600.0
    assert time_of(None) is None


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"succeeded": 2, "expired": 1}, {"succeeded": 2, "expired": 1}),
        ({"succeeded": 2, "refunded": 5, "Expired": 1}, {"succeeded": 2}),
        ({"succeeded": True, "errored": -1, "canceled": "1", "expired": None, "processing": 1.0}, {}),
        ([], {}),
        (None, {}),
    ],
)
def test_counts_are_the_five_that_are_documented(given: object, found: dict[str, int]) -> None:
    assert Batch.of({"request_counts": given}).counts == found
