"""Answers to results: rows and their cap, mapped outputs, and what cannot be handed on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batches_mcp.core.errors import UnusableAnswer
from batches_mcp.core.plan import OutputPlan, ResultPlan
from batches_mcp.exchange.result import MAX_BYTES, MAX_CHARS, Answer, encode, fits, is_jsonl, shape
from tests.unit.plans import answer, output

PLAIN = ResultPlan((), declared_jsonl=False)
JSONL = "application/x-jsonl"

rows = st.lists(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=2000),
        lambda children: (
            st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3000), children, max_size=30)
        ),
        max_leaves=40,
    ),
    max_size=20,
)


def lines(*values: Any, end: str = "\n") -> bytes:
    return "".join(json.dumps(value, ensure_ascii=False) + end for value in values).encode("utf-8", "surrogatepass")


def jsonl(body: bytes, *, complete: bool = True) -> dict[str, Any]:
    return shape(PLAIN, answer(body, kind=JSONL, complete=complete))


# JSONL


@pytest.mark.parametrize(
    ("kind", "declared", "expected"),
    [
        ("application/x-jsonl", False, True),
        ("application/x-ndjson", False, True),
        ("application/jsonl", True, True),
        ("application/json", True, False),
        ("text/html", True, False),
        ("", True, True),
        ("", False, False),
    ],
)
def test_jsonl_is_told_by_its_type_or_as_declared(kind: str, declared: bool, expected: bool) -> None:
    assert is_jsonl(kind, declared=declared) is expected


def test_rows_are_read_line_by_line_in_their_order() -> None:
    assert jsonl(lines({"b": 1}, {"a": 2}, [3], "x", None)) == {
        "rows": [{"b": 1}, {"a": 2}, [3], "x", None],
        "has_more": False,
    }


def test_the_content_type_counts_whatever_its_parameters_and_case() -> None:
    headers = {"content-type": "Application/X-JSONL; charset=utf-8"}
    assert shape(PLAIN, Answer(200, headers, b"1\n2")) == {"rows": [1, 2], "has_more": False}


@pytest.mark.parametrize(
    "body",
    [b'{"a":1}\n{"b":2}', b'{"a":1}\r\n{"b":2}\r\n', b'\n\n{"a":1}\n \r\n\n{"b":2}\n\n', b' {"a" : 1} \n\t{"b":2}\n'],
    ids=["no newline at the end", "CRLF", "blank lines", "spaces"],
)
def test_how_lines_end_does_not_matter(body: bytes) -> None:
    assert jsonl(body) == {"rows": [{"a": 1}, {"b": 2}], "has_more": False}


def test_other_line_breaks_are_text() -> None:
    assert jsonl('"a\u2028b\x85c"\n'.encode())["rows"] == ["a\u2028b\x85c"]


@pytest.mark.parametrize("body", [b"", b"\n", b" \r\n\n"])
def test_no_rows_are_still_rows(body: bytes) -> None:
    assert jsonl(body) == {"rows": [], "has_more": False}


def test_the_cap_by_characters_cuts_between_rows() -> None:
    row = {"text": "x" * 989}
    shaped = jsonl(lines(*[row] * 100))
    assert shaped["has_more"] is True
    assert MAX_CHARS - 1100 < len(encode(shaped)) <= MAX_CHARS
    assert shaped["rows"] == [row] * len(shaped["rows"])


def test_the_cap_by_bytes_cuts_between_rows() -> None:
    shaped = jsonl(lines(*[{"text": "批" * 300}] * 100))
    assert shaped["has_more"] is True
    assert MAX_BYTES - 1100 < len(encode(shaped).encode()) <= MAX_BYTES
    assert len(encode(shaped)) < MAX_CHARS


def test_rows_that_just_fit_are_all_there() -> None:
    few = [{"text": "x" * 987}] * 39
    assert jsonl(lines(*few)) == {"rows": few, "has_more": False}


def test_an_answer_read_in_part_loses_its_last_line_and_says_so() -> None:
    assert jsonl(b'{"a":1}\n{"b":', complete=False) == {"rows": [{"a": 1}], "has_more": True}
    assert jsonl(b'{"a":1}\n', complete=False) == {"rows": [{"a": 1}], "has_more": True}


@pytest.mark.parametrize("more", [True, False])
def test_a_row_too_long_by_itself_is_cut_with_its_length(more: bool) -> None:
    long = {"custom_id": "a", "result": {"text": "x" * 50_000}}
    shaped = jsonl(lines(long, *([{"b": 1}] if more else [])))
    cut = shaped["rows"][0]
    assert shaped["has_more"] is more
    assert cut["custom_id"] == "a"
    assert cut["row_chars"] == len(encode(long))
    assert encode(long).startswith(cut["cut_row"])
    assert len(cut["cut_row"]) == 10_000


def test_a_long_row_that_is_no_object_is_cut_too() -> None:
    assert jsonl(lines("x" * 50_000))["rows"][0].keys() == {"cut_row", "row_chars"}


def test_a_long_row_after_others_waits_for_the_next_call() -> None:
    assert jsonl(lines({"a": 1}, "x" * 50_000)) == {"rows": [{"a": 1}], "has_more": True}


@pytest.mark.parametrize(
    "row",
    [{f"field{number}": "x" * 100 for number in range(2000)}, {"批" * 190: "x" * 60_000}, '"' * 50_000, "😀" * 30_000],
    ids=["many fields", "long name", "quotes", "four bytes a character"],
)
def test_a_cut_row_fits(row: Any) -> None:
    assert fits(encode(jsonl(lines(row))))


@given(rows)
def test_rows_always_fit_and_none_is_lost_in_silence(values: list[Any]) -> None:
    shaped = jsonl(lines(*values))
    assert fits(encode(shaped))
    if shaped["has_more"]:
        assert len(shaped["rows"]) < len(values)
    elif values and isinstance(shaped["rows"][0], dict) and "cut_row" in shaped["rows"][0]:
        assert shaped["rows"][0]["row_chars"] > MAX_CHARS // 2
    else:
        assert shaped["rows"] == values


@pytest.mark.parametrize(
    ("body", "line"), [(b'{"a":1}\n\n{"b":\n', 3), (b"<html>\n", 1), (b'{"a":1}\nNaN\n{"b":1}', 2), (b'"\xff"', 1)]
)
def test_a_line_that_is_not_json_is_named(body: bytes, line: int) -> None:
    with pytest.raises(UnusableAnswer, match=f"line {line} of its JSONL is not JSON"):
        jsonl(body)


# JSON


@pytest.mark.parametrize(
    ("body", "content"),
    [
        (b'{"a": {"b": null}}', {"a": {"b": None}}),
        (b"[1, 2]", {"result": [1, 2]}),
        (b'"text"', {"result": "text"}),
        (b"null", {"result": None}),
        (b"0", {"result": 0}),
        (b"[]", {"result": []}),
        (b"", {}),
        (b" \r\n", {}),
        ('{"ü": "😀"}'.encode(), {"ü": "😀"}),
        (b'{"n": 12345678901234567890123}', {"n": 12345678901234567890123}),
    ],
)
def test_an_answer_is_handed_on_as_an_object(body: bytes, content: dict[str, Any]) -> None:
    assert shape(PLAIN, answer(body)) == content


def test_declared_jsonl_does_not_override_a_content_type() -> None:
    assert shape(ResultPlan((), declared_jsonl=True), answer(b"[1,\n2]")) == {"result": [1, 2]}
    assert shape(ResultPlan((), declared_jsonl=True), answer(b"1\n2", kind="")) == {"rows": [1, 2], "has_more": False}


@pytest.mark.parametrize(
    ("body", "kind", "found"),
    [
        (b"<html>secret</html>", "text/html; charset=utf-8", "text/html, 19 bytes"),
        (b"secret", "", "an answer without a content type, 6 bytes"),
        (b'{"a": NaN}', "application/json", "application/json, 10 bytes"),
        (b'{"a": secret', "application/json", "application/json, 12 bytes"),
    ],
)
def test_what_is_not_json_is_described_and_not_shown(body: bytes, kind: str, found: str) -> None:
    with pytest.raises(UnusableAnswer) as caught:
        shape(PLAIN, answer(body, kind=kind, headers={"request-id": "req_1"}))
    assert f"expected JSON, found {found}." in str(caught.value)
    assert "(HTTP 200, request req_1)" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [("x" * 40_000, "40,008 characters, over the 40,000"), ("批" * 20_000, "60,008 bytes, over the 60,000")],
)
def test_an_answer_over_the_cap_says_by_how_much(text: str, said: str) -> None:
    with pytest.raises(UnusableAnswer, match=said):
        shape(PLAIN, answer({"a": text}))


# Mapped outputs


DOCUMENT = {"data": [{"id": "a", "n": {"x": 1}}, {"id": "b"}], "empty": None, "text": '{"id": "no"}'}


@pytest.mark.parametrize(
    ("outputs", "content"),
    [
        ((), DOCUMENT),
        ((output(),), DOCUMENT),
        ((output("$.data[0]"),), {"id": "a", "n": {"x": 1}}),
        ((output("$.data"),), {"result": DOCUMENT["data"]}),
        ((output("$.data[1].id"),), {"result": "b"}),
        ((output("$.missing"), output("$.data[1].id")), {"result": "b"}),
        ((output("$.empty"), output("$.data[1].id")), {"result": "b"}),
        ((output("$.missing"),), DOCUMENT),
        ((output(value="fixed"),), {"result": "fixed"}),
        ((output(value=0),), {"result": 0}),
        ((output(properties={"first": output("$.data[0].id"), "v": output(value=1)}),), {"first": "a", "v": 1}),
        ((output(properties={"none": output("$.missing")}),), {"none": None}),
        ((output("$.data", items=output(properties={"key": output("$.id"), "x": output("$.n.x")})),),
         {"result": [{"key": "a", "x": 1}, {"key": "b", "x": None}]}),
        ((output("$.data", items=output("$.id")),), {"result": ["a", "b"]}),
        ((output("$.text", properties={"id": output("$.id")}),), {"id": None}),
        ((output("$.data[?@.id == 'b'].id"),), {"result": "b"}),
        ((output("$.data[?@.n > 1].id"),), DOCUMENT),
    ],
)  # fmt: skip
def test_outputs_are_mapped(outputs: tuple[OutputPlan, ...], content: Any) -> None:
    assert shape(ResultPlan(outputs, declared_jsonl=False), answer(DOCUMENT)) == content


@pytest.mark.parametrize("text", ['{"id": 1}', "{bad", "[1"])
def test_a_text_in_an_answer_is_never_read_as_a_document(text: str) -> None:
    plan = ResultPlan((output("$.id"),), declared_jsonl=False)
    assert shape(plan, answer(json.dumps(text))) == {"result": text}


def test_a_mapping_that_an_answer_is_too_deep_for_gives_nothing() -> None:
    deep: Any = {"a": 1}
    for _ in range(150):
        deep = {"b": deep}
    plan = ResultPlan((output("$..a"), output(value="too deep")), declared_jsonl=False)
    assert shape(plan, answer(deep)) == {"result": "too deep"}
