"""Cursors say where a page continues, and nothing else passes for one."""

from __future__ import annotations

import base64

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from batches_mcp.core.errors import InvalidArguments
from batches_mcp.tools.cursor import cursor_to, digest, read_cursor


@given(
    st.lists(st.integers(0, 100_000), min_size=1, max_size=1_000, unique=True).map(sorted),
    st.sets(st.sampled_from(["errored", "expired"])),
    st.sets(st.text("abc-_0", min_size=1, max_size=8)),
)
def test_a_cursor_carries_its_filters_and_lines(rest: list[int], outcomes: set[str], ids: set[str]) -> None:
    text = cursor_to("batch", rest, 7, 8, outcomes, digest(ids))
    cursor = read_cursor(text, "batch", outcomes, ids)
    assert (cursor.start, cursor.lines, cursor.order, set(cursor.outcomes)) == (rest[0], 7, 8, outcomes)
    assert cursor.numbers() == (rest if ids else rest[:1])
    assert len(text) < 4 * len(rest) + 200


@given(st.data())
def test_no_change_of_a_character_passes(data: st.DataObject) -> None:
    text = cursor_to("batch", [4], 9, 1234, ["errored"], b"")
    at = data.draw(st.integers(0, len(text) - 1))
    char = data.draw(st.sampled_from(sorted(set("abcXYZ019-_") - {text[at]})))
    changed = text[:at] + char + text[at + 1 :]
    # The last character has bits that mean nothing.
    assume(base64.urlsafe_b64decode(_padded(changed)) != base64.urlsafe_b64decode(_padded(text)))
    with pytest.raises(InvalidArguments, match="start again without a cursor"):
        read_cursor(changed, "batch", [], [])


def _padded(text: str) -> bytes:
    return text.encode() + b"=" * (-len(text) % 4)


@pytest.mark.parametrize(
    ("batch_id", "outcomes", "ids", "words"),
    [
        ("other", [], [], "belongs to another batch"),
        ("batch", ["expired"], [], "was given for other result_types"),
        ("batch", [], ["a"], "was given for other custom_ids"),
    ],
)
def test_a_cursor_for_something_else_is_refused(batch_id: str, outcomes: list[str], ids: list[str], words: str) -> None:
    text = cursor_to("batch", [4], 9, 1234, ["errored"], b"")
    with pytest.raises(InvalidArguments, match=words):
        read_cursor(text, batch_id, outcomes, ids)


@given(st.text(max_size=60))
def test_no_text_crashes(text: str) -> None:
    with pytest.raises(InvalidArguments):
        read_cursor(text, "batch", [], [])
