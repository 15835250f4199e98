"""Values that increase, whatever a call says of itself."""

from __future__ import annotations

from itertools import pairwise

import anyio
from hypothesis import given
from hypothesis import strategies as st

from batches_mcp.serve.progress import increasing

SAID = st.lists(st.tuples(st.sampled_from([0.0, 1.0, 5.0, 45.0, 1e9]), st.sampled_from([1.0, 45.0, 1e9])))


def told(*said: tuple[float, float]) -> list[tuple[float, float | None]]:
    """What is reported of a call that says this."""
    reported: list[tuple[float, float | None]] = []

    async def report(value: float, total: float | None, _: str) -> None:
        reported.append((value, total))

    async def tell() -> None:
        progress = increasing(report)
        for done, total in said:
            await progress(done, total, "")

    anyio.run(tell)
    return reported


@given(SAID)
def test_each_value_is_higher_than_the_one_before_and_none_exceeds_its_total(said: list[tuple[float, float]]) -> None:
    reported = told(*said)
    assert len(reported) == len(said)
    assert all(before < after for (before, _), (after, _) in pairwise(reported))
    assert all(total is None or value <= total for value, total in reported)


def test_what_increases_is_told_as_it_is() -> None:
    assert told((0, 12), (5, 12), (12, 12)) == [(0, 12), (5, 12), (12, 12)]


def test_what_does_not_creeps_and_ends_without_a_total() -> None:
    assert told((5, 10), (5, 10), (10, 10), (10, 10)) == [(5, 10), (5.005, 10), (10, 10), (11, None)]


def test_another_total_goes_on_from_there() -> None:
    assert told((100, 100), (0, 45), (9, 45)) == [(100, 100), (100.045, 145), (109, 145)]
