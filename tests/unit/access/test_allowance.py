"""An allowance lets through what it says, and tells truly when there is room again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from batches_mcp.access.allowance import Allowance


def taken(allowance: Allowance, count: int, now_s: float) -> int:
    return sum(allowance.take(now_s) == 0 for _ in range(count))


def test_it_fills_up_again_evenly() -> None:
    allowance = Allowance(60, 100.0)
    assert taken(allowance, 100, 100.0) == 60
    assert allowance.take(100.0) == 1.0
    assert taken(allowance, 100, 110.0) == 10
    assert taken(allowance, 100, 710.0) == 60


@given(most=st.integers(1, 1_000), pauses=st.lists(st.floats(0, 100), max_size=200))
def test_no_minute_has_more_than_twice_as_many(most: int, pauses: list[float]) -> None:
    allowance, now_s = Allowance(most, 0.0), 0.0
    made: list[float] = []
    for pause_s in pauses:
        now_s += pause_s
        if wait_s := allowance.take(now_s):
            now_s += wait_s + 1e-6
            assert allowance.take(now_s) == 0
        made.append(now_s)
    for start_s in made:
        assert sum(start_s <= each < start_s + 60 for each in made) <= 2 * most
