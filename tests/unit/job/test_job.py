"""What is to be done next for a job: whatever the batches do, it ends, and keeps to its bounds."""

from __future__ import annotations

import random
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from batches_mcp.job.steps import (
    Attempt,
    Done,
    PartState,
    Save,
    Submit,
    Wait,
    began_s,
    deadline_s,
    next_step,
    retryable,
)
from batches_mcp.requests.cost import together


@given(
    rows=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    max_open=st.integers(1, 4),
    retries=st.integers(0, 3),
    seed=st.integers(),
)
def test_every_job_ends_within_its_bounds(rows: list[int], max_open: int, retries: int, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    parts = [PartState() for _ in rows]
    for step in range(1_000):
        match next_step(parts, max_open, retries):
            case Submit(number, again):
                assert again == bool(parts[number].attempts)
                many = (parts[number].attempts[-1].retryable or 0) if again else rows[number]
                assert many
                parts[number] = PartState((*parts[number].attempts, Attempt(f"{number}-{step}", many)))
            case Save(number):
                assert parts[number].attempts[-1].ended
                failed = chance.randint(0, parts[number].attempts[-1].rows)
                lost = chance.choice([None, None, "results_gone"])
                parts[number] = parts[number].with_last(retryable=0 if lost else failed, lost=lost)
            case Wait():
                in_progress = [number for number, part in enumerate(parts) if part.open]
                number = chance.choice(in_progress)
                parts[number] = parts[number].with_last(ended=True)
            case Done():
                break
        assert sum(part.open for part in parts) <= max_open
    else:
        raise AssertionError("it did not end")
    for many, part in zip(rows, parts, strict=True):
        assert part.attempts[0].rows == many
        assert len(part.attempts) <= retries + 1
        last = part.attempts[-1]
        assert last.saved
        assert not last.retryable or len(part.attempts) == retries + 1
        assert part.done_rows == many


def test_why_rows_are_missing() -> None:
    open_one, gone = Attempt("a", 2), Attempt("b", 2, ended=True, retryable=0, lost="results_gone")
    assert PartState().missing == "no_batch"
    assert PartState((open_one,)).missing == "in_progress"
    assert PartState((open_one,)).with_last(ended=True).missing == "not_fetched"
    assert PartState((open_one,)).with_last(ended=True, retryable=0).missing == "results_incomplete"
    assert PartState((gone, open_one)).missing == "results_gone"


def test_without_room_nothing_is_sent() -> None:
    assert next_step([PartState()], 0, 2) == Wait()
    assert next_step([PartState((Attempt("a", 2, ended=True, retryable=1),))], 0, 2) == Wait()
    assert next_step([PartState((Attempt("a", 2, ended=True, retryable=1),))], 0, 0) == Done()


def test_whole_parts_go_before_rows_sent_again() -> None:
    failed = PartState((Attempt("a", 2, ended=True, retryable=1),))
    assert next_step([failed, PartState()], 1, 2) == Submit(1, again=False)
    assert next_step([failed, PartState((Attempt("b", 2),))], 2, 2) == Submit(0, again=True)


def test_what_is_sent_again() -> None:
    assert all(retryable(("errored", f"{name}_error")) for name in ("api", "overloaded", "rate_limit", "timeout"))
    assert retryable(("expired", None))
    for kind in (
        ("canceled", None),
        ("errored", "invalid_request_error"),
        ("errored", None),
        ("succeeded", "max_tokens"),
        ("succeeded", "refusal"),
        ("something new", None),
    ):
        assert not retryable(kind)


def test_estimates_add_up() -> None:
    def one(
        low: float | None, high: float | None, unknown: list[str], *unbounded: Mapping[str, object]
    ) -> dict[str, object]:
        return {
            "requests": 1,
            "input_tokens": 2,
            "max_output_tokens": 3,
            "cost_usd": {"low": low, "high": high},
            "standard_cost_usd": {"low": low, "high": high},
            "price_table": "table 1",
            "unknown_models": unknown,
            "unbounded": list(unbounded),
        }

    expected = {
        "requests": 2,
        "input_tokens": 4,
        "max_output_tokens": 6,
        "cost_usd": {"low": 0.3, "high": 0.7},
        "standard_cost_usd": {"low": 0.3, "high": 0.7},
        "price_table": "table 1",
        "unknown_models": [],
        "unbounded": [],
    }
    assert together([one(0.1, 0.2, []), one(0.2, 0.5, [])]) == expected
    first, second = ({"where": f"line {each}", "reason": "this", "requests": each} for each in (1, 2))
    assert together([one(0.3, None, ["b"], first), one(None, None, ["a", "b"], second)]) == expected | {
        "cost_usd": {"low": 0.3, "high": None},
        "standard_cost_usd": {"low": 0.3, "high": None},
        "unknown_models": ["a", "b"],
        "unbounded": [first | {"requests": 3}],
    }
    assert together([one(None, None, ["a"])])["cost_usd"] == {"low": None, "high": None}


def test_the_time_of_a_job_is_that_of_its_batches() -> None:
    assert (began_s([PartState()]), deadline_s([PartState((Attempt("a", 2),))])) == (None, None)
    first, second = Attempt("a", 2, ended=True, created_s=1_000.0), Attempt("b", 1, created_s=5_000.0)
    other = Attempt("c", 2, created_s=4_000.0)
    assert began_s([PartState((first, second)), PartState((other,)), PartState()]) == 1_000
    assert deadline_s([PartState((first, second)), PartState((other,)), PartState()]) == 5_000 + 24 * 3600
    assert deadline_s([PartState((first,))]) is None
