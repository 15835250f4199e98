"""The texts of the answers."""

import json

import pytest

from batches_mcp.sandbox.replies import compose, estimate_tokens


def reply(text: str, *, max_tokens: int = 1_000, seed: int = 0) -> str:
    return compose(text, text, max_tokens=max_tokens, seed=seed)


@pytest.mark.parametrize("ask", ["Summarise this: a b c", "TL;DR please", "Say it in one sentence"])
def test_summaries(ask: str) -> None:
    assert reply(ask) == f"[sandbox] Summary: {ask}"


@pytest.mark.parametrize("ask", ['Answer as JSON: "quoted" text', "Extract the dates"])
def test_json(ask: str) -> None:
    assert json.loads(reply(ask)) == {"sandbox": True, "echo": ask, "words": len(ask.split())}


@pytest.mark.parametrize(
    ("ask", "labels"),
    [
        ("Classify as billing, technical, or account: it hurts", {"billing", "technical", "account"}),
        ("Is the sentiment good or bad?", {"good", "bad"}),
        ("Which category?", {"category 1", "category 2", "category 3"}),
    ],
)
def test_labels(ask: str, labels: set[str]) -> None:
    replies = {reply(ask, seed=seed) for seed in range(50)}
    assert replies == {f"[sandbox] {label}" for label in labels}


def test_long_texts_are_cut_to_an_echo() -> None:
    echo = reply("word " * 1_000)
    assert echo.startswith("[sandbox] You wrote: word word")
    assert len(echo) < 150


def test_the_instruction_may_stand_at_either_end() -> None:
    filler = "lorem " * 5_000
    assert reply(f"Summarise. {filler}").startswith("[sandbox] Summary")
    assert reply(f"{filler} Summarise.").startswith("[sandbox] Summary")


def test_answers_fit_max_tokens_down_to_the_mark() -> None:
    assert reply("Hello there", max_tokens=4) == "[sandbox] You wr"
    assert reply("Hello there", max_tokens=1) == "[sandbox] "


def test_token_estimate() -> None:
    assert [estimate_tokens(chars) for chars in (0, 1, 4, 5, 400)] == [1, 1, 1, 2, 100]
