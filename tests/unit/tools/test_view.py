"""What a model sees of a row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from batches_mcp.core.limits import LIMITS
from batches_mcp.exchange import result
from batches_mcp.store.rows import Lines, read_row, read_rows
from batches_mcp.tools.page import Page
from batches_mcp.tools.view import view
from tests.support.golden import assert_golden

TEXT = {"type": "text", "text": "Hello"}


def succeeded(*content: Any, stop_reason: str = "end_turn", **more: Any) -> dict[str, Any]:
    message = {"model": "m", "content": list(content), "stop_reason": stop_reason, "usage": {"output_tokens": 7}}
    return {"type": "succeeded", "message": message | more}


def errored(kind: str, message: Any) -> dict[str, Any]:
    error = {"details": None, "type": kind, "message": message}
    return {"type": "errored", "error": {"type": "error", "error": error, "request_id": None}}


RESULTS: dict[str, dict[str, Any]] = {
    "plain": succeeded(TEXT),
    "cited": succeeded(TEXT, {"type": "text", "text": ", world", "citations": []}),
    "thinking-first": succeeded({"type": "thinking", "thinking": "Hm.", "signature": "x"}, TEXT),
    "only-thinking": succeeded({"type": "redacted_thinking", "data": "x"}),
    "tool-use": succeeded(
        TEXT, {"type": "tool_use", "id": "t", "name": "weather", "input": {"city": "Köln"}}, stop_reason="tool_use"
    ),
    "long-tool-use": succeeded({"type": "tool_use", "id": "t", "name": "n", "input": {"a": "x" * 400}}),
    "server-tool": succeeded({"type": "web_search_tool_result", "content": []}, TEXT),
    "refusal": succeeded(stop_reason="refusal", stop_details={"type": "refusal"}),
    "max-tokens": succeeded(TEXT, stop_reason="max_tokens"),
    "window": succeeded(TEXT, stop_reason="model_context_window_exceeded"),
    "paused": succeeded(TEXT, stop_reason="pause_turn"),
    "errored": errored("overloaded_error", "Overloaded"),
    "errored-once": {"type": "errored", "error": {"type": "api_error", "message": "Nested once"}},
    "errored-oddly": errored("x", 4) | {"new": [1]},
    "canceled": {"type": "canceled"},
    "expired": {"type": "expired"},
    "new-type": {"type": "postponed", "until": "tomorrow"},
    "no-message": {"type": "succeeded"},
}


def line(custom_id: str, found: Any) -> bytes:
    return json.dumps({"custom_id": custom_id, "result": found}).encode()


def test_text_view() -> None:
    rows = [view(line(name, found), "text", 4_000) for name, found in RESULTS.items()]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    assert_golden(Path(__file__).with_name("text-view.jsonl"), text)


def test_a_cut_says_how_much_is_missing() -> None:
    cut = view(line("a", succeeded({"type": "text", "text": "x" * 5_000})), "text", 20)
    assert (cut["text"], cut["cut_chars"]) == ("x" * 20, 4_980)
    message = view(line("a", errored("api_error", "y" * 100)), "text", 30)
    assert (message["error_message"], message["cut_chars"]) == ("y" * 30, 70)


def test_the_full_view_is_the_row_or_its_beginning() -> None:
    row = {"custom_id": "a", "result": RESULTS["thinking-first"], "unknown": 1}
    assert view(json.dumps(row).encode(), "full", None) == row
    cut = view(json.dumps(row).encode(), "full", 50)
    assert cut["cut_row"] == result.encode(row)[:50]
    assert cut["row_chars"] == len(result.encode(row)) == cut["cut_chars"] + 50


def test_halves_of_surrogate_pairs_and_broken_text_survive() -> None:
    broken = line("a", succeeded({"type": "text", "text": "?"})).replace(b"?", b"1 \\ud83d 2 \xff 3 \\ud83d\\ude00")
    assert view(broken, "text", None)["text"] == "1 \ufffd 2 \ufffd 3 \U0001f600"
    assert result.encode(view(broken, "full", None))
    found = read_row(broken)
    assert found is not None
    assert found.result.message is not None
    assert found.result.message.stop_reason == "end_turn"


@given(st.one_of(st.binary(max_size=200), st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(
        ["custom_id", "result", "type", "message", "error", "content", "usage", "model", "text", "input", "name"]
    ) | st.text(), inner),
).map(lambda value: json.dumps({"custom_id": "a", "result": value}).encode())))  # fmt: skip
def test_no_line_crashes(garbage: bytes) -> None:
    assert read_rows([garbage]) == [read_row(garbage)]
    for kind in ("text", "full"):
        result.encode(view(garbage, kind, 100))


def test_nesting_without_end_is_shown_as_text() -> None:
    deep = b'{"custom_id":"a","result":{"type":"succeeded","x":' + b"[" * 500 + b"]" * 500 + b"}}"
    assert result.encode(view(deep, "full", None))
    endless = b'{"custom_id":"a","result":' + b"[" * 100_000
    assert view(endless, "text", 20)["type"] == "unreadable"


@given(
    st.lists(st.binary(max_size=30).map(lambda text: text.replace(b"\n", b"")), max_size=8),
    st.integers(1, 7),
)
def test_lines_come_whole_whatever_the_pieces(lines: list[bytes], size: int) -> None:
    stream, cutter = b"\n".join(lines), Lines(0, LIMITS.line_bytes)
    found = [each for at in range(0, len(stream), size) for each in cutter.feed(stream[at : at + size])]
    assert [*found, cutter.rest()] == (lines or [b""])


def test_a_first_row_is_cut_until_it_fits_and_others_wait() -> None:
    page = Page(10, "text", None, room_chars=500, room_bytes=500)
    assert page.add(0, line("a", succeeded({"type": "text", "text": "\x01" * 30_000})))
    assert 0 < len(page.rows[0]["text"]) == 30_000 - page.rows[0]["cut_chars"]
    assert not page.add(1, line("b", succeeded({"type": "text", "text": "x" * 600})))
    assert page.numbers == [0]
