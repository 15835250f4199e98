"""Requests from files in all forms: what is read, and where it says that it stood."""

from __future__ import annotations

import gzip
import io
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batches_mcp.core.errors import InvalidArguments
from batches_mcp.core.limits import LIMITS, Limits
from batches_mcp.requests import reading
from batches_mcp.requests.checks import NOT_UTF_8
from batches_mcp.requests.reading import Row, request_rows
from batches_mcp.requests.template import Template
from batches_mcp.requests.templated import template_rows

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def buffered(content: bytes) -> io.BufferedReader:
    return io.BufferedReader(io.BytesIO(content))


def rows(content: bytes, limits: Limits = LIMITS) -> list[Row]:
    return list(request_rows(buffered(content), limits))


def filled(name: str, content: bytes, params: Any) -> list[Row]:
    return list(template_rows("rows_file", buffered(content), name, Template(params), "3f9c"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"\n \r\n", []),
        (b'{"a":1}\n{"b":2}', [(1, b'{"a":1}'), (2, b'{"b":2}')]),
        (b'\xef\xbb\xbf{"a":1}\r\n\r\n  {"b":2}  \r\n', [(1, b'{"a":1}'), (3, b'{"b":2}')]),
        (b'{"a":"\xe2\x80\xa8"}\n', [(1, b'{"a":"\xe2\x80\xa8"}')]),
        (b"[]", []),
        (b" [ ]\n", []),
        (b'\xef\xbb\xbf[{"a":"]\\"}"},\n\n {"b":[{}]}\n]\n', [(1, b'{"a":"]\\"}"}'), (3, b'{"b":[{}]}')]),
        (b'{ "requests" :\n[\n{"a":1},\n{"b":2}]\n}', [(3, b'{"a":1}'), (4, b'{"b":2}')]),
        (b"[1,,2]", [(1, b"1"), (1, b""), (1, b"2")]),
        (b"[1,", [(1, b"1"), (1, "the array that holds the requests is not closed")]),
        (b'[{"a":"', [(1, "the array that holds the requests is not closed")]),
        (b"[1]\n2", [(1, b"1"), (1, "after the array nothing is expected, found '2'")]),
        (
            b'{"requests":[1],"x":2}',
            [(1, b"1"), (1, "after the array its closing brace is expected, found ',\"x\":2}'")],
        ),
    ],
)
def test_every_form_gives_its_requests_with_their_lines(content: bytes, expected: list[Row]) -> None:
    assert rows(content) == expected
    assert rows(gzip.compress(content)) == expected


@given(
    values=st.lists(JSON.filter(lambda value: not isinstance(value, str) or value), max_size=20),
    indent=st.sampled_from([None, 2]),
)
def test_arrays_of_any_values_are_split_whatever_the_reading_size(values: list[Any], indent: int | None) -> None:
    content = json.dumps(values, indent=indent).encode()
    for size in (3, 64, 1 << 18):
        assert [json.loads(row) for _, row in rows(content, Limits(read_bytes=size))] == values


# Elements that begin alike, as requests do, with what could be taken for such a beginning within them.
LURES = st.sampled_from(["[", "]", "{", "}", ",", '"', "\\", '},{"a"', '{"a":1},', '\\"},{\\"a', "\n", "é", ""])
ALIKE = st.lists(
    st.fixed_dictionaries(
        {"a": st.lists(LURES).map("".join) | st.lists(st.fixed_dictionaries({"a": LURES})) | JSON}, optional={"b": JSON}
    ),
    max_size=12,
)
FRAMES = st.sampled_from(
    [(b"[", b"]"), (b"\xef\xbb\xbf \n[", b"]\n"), (b'{"requests":[', b"]}"), (b'\n{ "requests"\n: [', b"\n] }\n")]
)


def marked(content: bytes, *, many: bool, size: int = 64) -> list[Row]:
    with pytest.MonkeyPatch.context() as patch:
        if not many:
            patch.setattr(reading, "_many", lambda _: [])
        return rows(content, Limits(read_bytes=size))


@given(ALIKE, FRAMES, st.sampled_from([None, 0, 3]), st.booleans(), st.integers(1, 300))
def test_elements_that_begin_alike_are_split_many_at_a_time(
    values: list[Any], frame: tuple[bytes, bytes], indent: int | None, ascii_only: bool, size: int
) -> None:
    content = frame[0] + json.dumps(values, indent=indent, ensure_ascii=ascii_only).encode()[1:-1] + frame[1]
    found = marked(content, many=True, size=size)
    assert [json.loads(row) for _, row in found] == values
    assert found == marked(content, many=False, size=size)
    lines = content.split(b"\n")
    assert all(isinstance(row, bytes) and row.split(b"\n")[0] in lines[line - 1] for line, row in found)


@given(ALIKE, FRAMES, st.data(), st.integers(1, 300))
def test_a_damaged_array_is_told_apart_as_by_its_brackets_alone(
    values: list[Any], frame: tuple[bytes, bytes], data: st.DataObject, size: int
) -> None:
    content = frame[0] + json.dumps(values).encode()[1:-1] + frame[1]
    first = len(frame[0])
    begin = data.draw(st.integers(first, len(content)))
    end = data.draw(st.integers(begin, min(begin + 3, len(content))))
    damaged = (
        content[:begin]
        + data.draw(st.sampled_from([b"", b'"', b"\\", b",", b"{", b"]", b"x", b"\xff"]))
        + content[end:]
    )
    assert marked(damaged, many=True, size=size) == marked(damaged, many=False, size=size)


@given(st.binary(max_size=200).filter(lambda content: content[:2] != bytes([0x1F, 0x8B])))
def test_garbage_never_crashes(content: bytes) -> None:
    for form in (b"", b"[", b'{"requests":['):
        assert all(isinstance(row, bytes | str) for _, row in rows(form + content))


def test_what_follows_the_array_is_read_to_its_end() -> None:
    limits = Limits(read_bytes=64)
    assert rows(b'{"requests":[1]' + b" " * 500 + b"}" + b"\n" * 500, limits) == [(1, b"1")]
    assert rows(b"[1]" + b" " * 500 + b"2", limits)[1:] == [(1, "after the array nothing is expected, found '2'")]


def test_a_row_without_end_is_not_read_into_memory() -> None:
    limits = Limits(row_bytes=100, read_bytes=64)
    assert rows(b"x" * 500, limits) == [(1, "is longer than 100 bytes")]
    assert rows(b'["' + b"x" * 500, limits) == [(1, "is longer than 100 bytes")]


PARAMS = {
    "model": "m",
    "max_tokens": 5,
    "messages": [{"role": "user", "content": "Hi {{name}}, {{ note }}"}],
    "n": "{{note}}",
}


def params(row: Row) -> Any:
    assert isinstance(row[1], bytes), row
    return json.loads(row[1])


def test_a_template_is_filled_from_every_row() -> None:
    made = filled("t.csv", b'name,note\nAnn,"two\nlines"\n\nBo,x\n', PARAMS)
    assert [line for line, _ in made] == [2, 5]
    assert params(made[0]) == {
        "custom_id": "row-000001-3f9c",
        "params": PARAMS | {"messages": [{"role": "user", "content": "Hi Ann, two\nlines"}], "n": "two\nlines"},
    }
    assert params(made[1])["custom_id"] == "row-000002-3f9c"
    assert params(filled("t.tsv", b"name\tnote\tcustom_id\nA\tB\tmine\n", PARAMS)[0])["custom_id"] == "mine"
    typed = params(filled("t.jsonl", b'{"name": 1, "note": {"deep": [2]}}', PARAMS)[0])["params"]
    assert typed["n"] == {"deep": [2]}
    assert typed["messages"][0]["content"] == 'Hi 1, {"deep":[2]}'


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
def test_values_are_put_in_once_and_never_looked_at_again(name: str, note: str) -> None:
    for value in (name + "{{note}}", "{{name}}" + note, "{{ custom_id }}"):
        row = json.dumps({"name": value, "note": "{{name}}"}).encode()
        made = params(filled("t.jsonl", row, PARAMS)[0])["params"]
        assert made["messages"][0]["content"] == f"Hi {value}, {{{{name}}}}"
        assert made["n"] == "{{name}}"


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("t.csv", b"name,note\nAnn\n", (2, "has no column 'note', which the template names")),
        ("t.csv", b"name,note\nAnn,b,c\n", (2, "has 3 fields, and the header 2")),
        ("t.csv", b"name,note\nAnn,\xff\n", (2, NOT_UTF_8)),
        ("t.csv", b'name,note\nAnn,"x\n', (2, "is not CSV: unexpected end of data")),
        ("t.jsonl", b'{"name":1,"note":null}', (1, "has no column 'note', which the template names")),
        ("t.jsonl", b"[1]", (1, "is not an object with a value for each column")),
        ("t.jsonl", b"1", (1, "is not an object with a value for each column")),
        ("t.jsonl", b"{", (1, "is not JSON")),
        (
            "t.jsonl",
            b'{"name":"x","note":"\\ud800"}',
            (1, "has half of a surrogate pair, which is not a character"),
        ),
    ],
)
def test_a_row_that_makes_no_request_is_named(name: str, content: bytes, problem: Row) -> None:
    assert filled(name, content, PARAMS) == [problem]


def test_a_row_that_lacks_what_others_have_is_named_with_what_it_may_call_it() -> None:
    _, second, third = filled("t.jsonl", b'{"name":1,"note":2}\n{"name":1}\n{"name":1,"notes":2}', PARAMS)
    assert second == (2, "has no column 'note', which the template names")
    assert third == (3, "has no column 'note', which the template names; did you mean {{notes}}?")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", b"name;note\nAnn;x\n"),
        ("t.csv", b"name\tnote\nAnn\tx\n"),
        ("t.csv", b"other, name;name;note\n1;Ann;x\n"),
        ("t.tsv", b"name,note\nAnn,x\n"),
        ("t", b'"name","note"\r\n"Ann","x"\r\n'),
        ("t.txt", b"name,note\rAnn,x\r"),
        ("t.jsonl", b"name,note\nAnn,x\n"),
        ("t.csv", "name,note\nAnn,x\n".encode("utf-16")),
        ("t.csv.gz", gzip.compress("name;note\nAnn;x\n".encode("utf-16"), mtime=0)),
        ("t.json", json.dumps([{"name": "Ann", "note": "x"}]).encode("utf-16")),
    ],
)
def test_rows_are_read_however_they_are_written(name: str, content: bytes) -> None:
    [row] = filled(name, content, PARAMS)
    assert params(row)["params"]["messages"][0]["content"] == "Hi Ann, x"


# With a null at the beginning it would be the mark of UTF-32.
@given(st.text(st.characters(codec="utf-16", exclude_characters="\0"), max_size=300), st.sampled_from([3, 64, 1 << 18]))
def test_utf_16_is_read_as_what_it_says(text: str, size: int) -> None:
    assert reading.unpacked(buffered(text.encode("utf-16")), Limits(read_bytes=size)).read() == text.encode()


@given(st.text("ab,;\t\"'\n{}[]:", max_size=60), st.sampled_from(["a.csv", "a.tsv", "a.txt", "a", "a.jsonl"]))
def test_any_text_is_rows_or_refused(content: str, name: str) -> None:
    with suppress(InvalidArguments):
        assert all(isinstance(row, bytes | str) for _, row in filled(name, content.encode(), PARAMS))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "rows_file: the file is empty; its first line must name the columns"),
        (b"name,name,note\n", "rows_file: the header names 'name' more than once"),
        (b"name,notes\nA,B\n", "template: {{note}} is not a column of the file; did you mean {{notes}}?"),
    ],
)
def test_a_header_that_cannot_work_is_refused_at_once(content: bytes, words: str) -> None:
    with pytest.raises(InvalidArguments) as refused:
        filled("t.csv", content, PARAMS)
    assert words in str(refused.value)
