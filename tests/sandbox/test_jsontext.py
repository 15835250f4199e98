"""The incremental JSON reader: any cut of the bytes reads the same, and nothing makes it crash or slow."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batches_mcp.sandbox.ingest import elements
from batches_mcp.sandbox.jsontext import InvalidJson, JsonText, ValueTooLarge

LIMIT = 10_000

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=5), children, max_size=4),
    max_leaves=12,
)
spaces = st.text(" \t\r\n", max_size=40)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A create's body with any values, any spacing, either escaping, and stray keys around `requests`."""
    ascii_only = draw(st.booleans())

    def dump(value: Any) -> str:
        indent = draw(st.sampled_from([None, 2, 30]))
        return draw(spaces) + json.dumps(value, ensure_ascii=ascii_only, indent=indent) + draw(spaces)

    items = ",".join(dump(value) for value in draw(st.lists(json_values, max_size=6)))
    members = [f"{dump('requests')}:{draw(spaces)}[{items or draw(spaces)}]"]
    members += [f"{dump(key)}:{dump(draw(json_values))}" for key in draw(st.lists(st.text(min_size=9), max_size=2))]
    return f"{draw(spaces)}{{{','.join(draw(st.permutations(members)))}}}{draw(spaces)}".encode()


@st.composite
def cut(draw: st.DrawFn, data: bytes) -> list[bytes]:
    points = sorted(draw(st.lists(st.integers(0, len(data)), max_size=30)))
    return [data[start:end] for start, end in zip([0, *points], [*points, len(data)], strict=True)]


def read(pieces: list[bytes]) -> tuple[list[tuple[object, str]], list[str]]:
    problems: list[str] = []
    text = JsonText(pieces, max_value_chars=LIMIT)
    return list(elements(text, lambda message, _: problems.append(message))), problems


def outcome(pieces: list[bytes]) -> object:
    try:
        return read(pieces)
    except InvalidJson as error:
        return str(error)


@settings(deadline=None)
@given(st.data(), bodies().filter(lambda body: len(body) < LIMIT))
def test_any_cut_yields_the_same_elements(data: st.DataObject, body: bytes) -> None:
    values = [value for value, _ in read(data.draw(cut(body)))[0]]
    assert values == json.loads(body)["requests"]
    assert read([body[at : at + 1] for at in range(len(body))]) == read([body])


@settings(deadline=None)
@given(bodies().filter(lambda body: len(body) < LIMIT))
def test_elements_are_returned_as_written(body: bytes) -> None:
    for value, written in read([body])[0]:
        assert json.loads(written) == value
        assert written.encode() in body


@settings(deadline=None)
@given(st.data(), bodies(), st.binary(max_size=4), st.integers(0, 3))
def test_damage_is_found_at_the_same_place_in_any_cut(
    data: st.DataObject, body: bytes, damage: bytes, removed: int
) -> None:
    at = data.draw(st.integers(0, len(body)))
    damaged = (body[:at] + damage + body[at + removed :])[:LIMIT]
    expected = outcome([damaged])
    if not isinstance(expected, str):
        json.loads(damaged)
    elif "UTF-8" not in expected:
        assert outcome(data.draw(cut(damaged))) == expected


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text('{}[]",:\\u0d8ef-+.eE123 truefalsn', max_size=60).map(str.encode))
@example(b'{"requests":[1.')
@example(b'{"requests":[-')
@example(b'{"requests":["\\ud83d\\u')
@example(b"\xef\xbb\xbf{}")
def test_garbage_never_crashes(garbage: bytes) -> None:
    one_by_one = [garbage[at : at + 1] for at in range(len(garbage))]
    if isinstance(outcome(one_by_one), str):
        with pytest.raises(InvalidJson):
            read([garbage])


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "Expecting value: line 1 column 1 (char 0)"),
        (b'{"requests":\n  [1,\n  x]}', "Expecting value: line 3 column 3 (char 21)"),
        (b'{"requests": [1 2]}', "Expecting ',': line 1 column 17 (char 16)"),
        (b'{"requests": [], }', "Expecting property name enclosed in double quotes: line 1 column 18 (char 17)"),
        (b'{"requests" []}', "Expecting ':': line 1 column 13 (char 12)"),
        (b"{} {}", "Extra data: line 1 column 4 (char 3)"),
        (b'{"requests": ["a\nb"]}', "Invalid control character at: line 1 column 17 (char 16)"),
        (b'{"requests": ["\\ud800x"]}', "no low surrogate in string: line 1 column 15 (char 14)"),
        (b'{"requests": [NaN]}', "unexpected constant NaN: line 1 column 15 (char 14)"),
        (b'{"requests": [' + b"[" * 600 + b"]" * 600 + b"]}", "nested too deeply: line 1 column 15 (char 14)"),
        (b'{"requests": [' + b"[" * 200_000, "nested too deeply: line 1 column 15 (char 14)"),
    ],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_what_is_wrong_and_where(body: bytes, reason: str, size: int) -> None:
    with pytest.raises(InvalidJson) as caught:
        read([body[at : at + size] for at in range(0, len(body), size)])
    assert str(caught.value) == reason


def test_wide_is_not_deep() -> None:
    value: list[object] = [[]] * 600
    assert read([json.dumps({"requests": [value]}).encode()])[0][0][0] == value


def test_a_value_over_the_limit() -> None:
    fits = json.dumps({"requests": ["x" * (LIMIT - 2)]}).encode()
    assert len(read([fits])[0]) == 1
    for size in (1, 100, 1_000_000):
        body = json.dumps({"requests": ["x" * (LIMIT - 1)]}).encode()
        with pytest.raises(ValueTooLarge):
            read([body[at : at + size] for at in range(0, len(body), size)])


@pytest.mark.parametrize(
    "endless",
    [b'{"requests": ["', b'{"requests": [[', b'{"requests": [', b"  ", b'{"requests": [{"a": 1,'],
    ids=str,
)
@pytest.mark.parametrize("filler", [b"x" * 65_536, b" " * 65_536, b"1," * 32_768, b"\\\\" * 32_768, b"[" * 65_536])
def test_long_broken_bodies_are_refused_in_linear_time(endless: bytes, filler: bytes) -> None:
    def pieces() -> Iterator[bytes]:
        yield endless
        yield from [filler] * 64  # 4 MiB; squared it would take minutes

    started = time.perf_counter()
    with pytest.raises((InvalidJson, ValueTooLarge)):
        list(elements(JsonText(pieces(), max_value_chars=32_000_000), lambda *_: None))
    assert time.perf_counter() - started < 20
