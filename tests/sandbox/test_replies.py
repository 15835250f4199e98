"""The texts of the answers."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batches_mcp.sandbox.replies import compose, estimate_tokens


def reply(text: str, *, max_tokens: int = 1_000, seed: int = 0) -> str:
    return compose(text, text, max_tokens=max_tokens, seed=seed)


@pytest.mark.parametrize("ask", ["Summarise this: a b c", "TL;DR please", "Say it in one sentence"])
def test_summaries(ask: str) -> None:
    assert reply(ask) == f"[sandbox] Summary: {ask}"


@pytest.mark.parametrize("ask", ['answer as json: "quoted" text', "Extract the dates"])
def test_json_of_a_text_without_data(ask: str) -> None:
    assert json.loads(reply(ask)) == {"sandbox": True, "text": ask}


def test_json_holds_what_looks_like_data() -> None:
    order = (
        "Extract the order as JSON:\n\n"
        "Please send 1,200 binders and 42.5 kg of clay to our Hamburg office by 3 July, or on 2026-07-09. "
        "Mail ines.thaler@example.com or call item A-7. Regards, Ines Thaler"
    )
    assert json.loads(reply(order)) == {
        "sandbox": True,
        "emails": ["ines.thaler@example.com"],
        "dates": ["3 July", "2026-07-09"],
        "numbers": [1200, 42.5],
        "names": ["Hamburg", "A-7", "Ines Thaler"],
    }


@pytest.mark.parametrize("instruction", ["Summarise this ticket:", "Summarise this ticket.", "Read this and summarise"])
def test_an_instruction_before_a_blank_line_is_not_part_of_the_text(instruction: str) -> None:
    text = f"{instruction}\n\nThe app signs me out every few minutes. I have extracted the log.\n\nThank you"
    assert reply(text) == "[sandbox] Summary: The app signs me out every few minutes."


def test_a_text_of_paragraphs_is_taken_whole() -> None:
    assert reply("Good morning.\n\nHow are you?") == "[sandbox] You wrote: Good morning. How are you?"


@given(st.text(), st.text(), st.integers(1, 50))
def test_any_prompt_has_a_marked_answer(head: str, tail: str, max_tokens: int) -> None:
    for prompt in (f"{head}\n\n{tail}", f"Extract: {head}\n\n{tail}"):
        answer = reply(prompt, max_tokens=max_tokens)
        assert answer.startswith("[sandbox] ") or json.loads(answer)["sandbox"] is True


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
