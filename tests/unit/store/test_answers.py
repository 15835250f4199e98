"""Which rows have an answer: by what they ask, each answer once, and no longer than results are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from batches_mcp.api.batch import RESULTS_KEPT_S
from batches_mcp.api.body import Frame
from batches_mcp.core.errors import StateUnusable
from batches_mcp.store.answers import Answered, Answers, Digests

FRAME = Frame(b'{"requests":[', b"]}", "2023-06-01", "one, two")
NOW_S = 1_800_000_000.0
ROW = b'{"custom_id": "a", "params": {"model": "m", "max_tokens": 1}}'


def digest(row: bytes, around: Frame = FRAME) -> bytes:
    asked = Digests.of(around).of_row(row)
    assert asked is not None
    return asked[1]


@pytest.fixture
def answers(tmp_path: Path) -> Answers:
    return Answers(tmp_path / "answers.sqlite")


def found(answers: Answers, number: int = 1, now_s: float = NOW_S) -> list[Answered | None]:
    with answers.given(now_s) as given:
        return [given.next(digest(ROW), (), ()) for _ in range(number)]


def test_what_a_row_asks_is_its_params_however_they_are_written() -> None:
    assert digest(ROW) == digest(b'{"params":{"max_tokens":1,"model":"\\u006d"},"custom_id":"b"}')
    assert digest(ROW) != digest(ROW.replace(b": 1}", b": 2}"))
    assert Digests.of(FRAME).of_row(b'{"custom_id": "a"}') is None


@pytest.mark.parametrize(
    "changes",
    [{"beta": "one"}, {"beta": ""}, {"version": "2026-10-21"}, {"opening": b'{"other":1,"requests":['}],
)
def test_what_is_sent_beside_it_counts(changes: dict[str, str]) -> None:
    assert digest(ROW) != digest(ROW, replace(FRAME, **changes))  # type: ignore[arg-type]
    assert digest(ROW) == digest(ROW, replace(FRAME, beta="two,one"))


def test_each_answer_is_given_once_the_latest_first(answers: Answers) -> None:
    answers.note("old", NOW_S, [(digest(ROW), "x", "end_turn")])
    answers.note("new", NOW_S, [(digest(ROW), "z", "end_turn"), (digest(ROW), "y", "max_tokens")])
    answers.note("new", NOW_S, [(digest(ROW), "again", None)])
    expected = [Answered("new", "y"), Answered("new", "z"), Answered("old", "x"), None]
    assert found(answers, 4) == expected
    # Another input begins anew.
    assert found(answers, 4) == expected


def test_some_answers_are_not_wanted(answers: Answers) -> None:
    answers.note("old", NOW_S, [(digest(ROW), "x", "end_turn")])
    answers.note("new", NOW_S, [(digest(ROW), "z", "refusal")])
    with answers.given(NOW_S) as given:
        assert given.next(digest(ROW), (), {"refusal"}) == Answered("old", "x")
    with answers.given(NOW_S) as given:
        assert given.next(digest(ROW), {"new", "old"}, ()) is None


def test_answers_that_are_soon_gone_are_not_given(answers: Answers) -> None:
    answers.note("batch", NOW_S, [(digest(ROW), "x", None)])
    assert found(answers, now_s=NOW_S + RESULTS_KEPT_S - 3 * 86_400) == [Answered("batch", "x")]
    assert found(answers, now_s=NOW_S + RESULTS_KEPT_S - 86_400) == [None]
    answers.tidy(NOW_S + RESULTS_KEPT_S + 1)
    assert not answers.has("batch")


def test_a_batch_is_forgotten(answers: Answers) -> None:
    answers.forget("batch")
    assert not answers.path.exists()
    answers.note("batch", NOW_S, [(digest(ROW), "x", None)])
    assert answers.has("batch")
    answers.forget("batch")
    assert found(answers) == [None]


def test_a_file_that_cannot_be_used(answers: Answers) -> None:
    answers.path.write_bytes(b"no database" * 1000)
    with pytest.raises(StateUnusable, match="tells the rows that were answered before, cannot be used"):
        answers.has("batch")
