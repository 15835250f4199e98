"""One member of a JSON file with comments is put in or taken out, and every other byte stays."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from batches_mcp.hosts.jsonc import JSON, JSONC, Broken, Dialect, drop, parse, put

ENTRY = {"command": "/opt/b/batches-mcp", "args": ["serve"]}

CASES = {
    "commented": '// Zed\n{\n  "theme": "One", // mine\n  "context_servers": {\n    "x": { "command": "y" }, // z\n    /* off\n    "w": {} */\n  },\n}\n',
    "bare": '{"a":1}\n',
    "braces": "{}",
    "crlf": '{\r\n  "context_servers": {\r\n    "x": {"command": "y"} // c\r\n  }\r\n}\r\n',
    "tabs": '{\n\t"context_servers": {\n\t\t"x": {"command":"true"}, // c\n\t},\n\t"inputs": []\n}\n',
    "empty map": '{\n  "context_servers": {\n    // none yet\n  },\n  "z": [1, /* q */ 2,],\n}',
    "bom": '\ufeff{"context_servers":{"x":{}}}',
    "slashes in strings": '{"a":"http://x//y /* ,} */","context_servers":{"x":{"command":"c"}}}',
    "one line": '{ "context_servers": { "x": {} } }',
    "spaces in braces": '{ "context_servers": {   } }',
    "comment in braces": '{ "context_servers": { /* none */ } }',
    "line comment after a member in the line of the brace": '{ "context_servers": { "x": 1 // c\n} }',
    "comma first": '{ "context_servers": { "x": 1\n  , "y": 2\n } }',
}


@pytest.mark.parametrize("text", CASES.values(), ids=CASES)
def test_a_member_is_put_in_and_taken_out_again(text: str) -> None:
    path = ["context_servers", "batches"]
    before = parse(text)
    with_it = put(text, path, ENTRY)
    assert parse(with_it) == {**before, "context_servers": {**before.get("context_servers", {}), "batches": ENTRY}}
    assert parse(put(with_it, path, {"command": "n"}))["context_servers"]["batches"] == {"command": "n"}
    assert put(with_it, path, ENTRY) == with_it
    without = drop(with_it, path)
    if "context_servers" in before:
        assert without == text
    else:
        assert drop(without, ["context_servers"]) == text


def test_it_is_written_as_its_neighbours_are() -> None:
    assert put(CASES["commented"], ["context_servers", "batches"], {"command": "c"}) == (
        '// Zed\n{\n  "theme": "One", // mine\n  "context_servers": {\n    "x": { "command": "y" }, // z\n    /* off\n'
        '    "w": {} */\n    "batches": {\n      "command": "c"\n    },\n  },\n}\n'
    )
    assert put(CASES["crlf"], ["context_servers", "b"], {"c": 1}) == (
        '{\r\n  "context_servers": {\r\n    "x": {"command": "y"}, // c\r\n    "b": {\r\n      "c": 1\r\n    }\r\n  }\r\n}\r\n'
    )


@pytest.mark.parametrize("text", ["", "\n", "\ufeff", "// nothing yet\n"])
def test_an_empty_file_becomes_an_object(text: str) -> None:
    made = put(text, ["mcpServers", "batches"], ENTRY)
    assert made.startswith(text)
    assert parse(made) == {"mcpServers": {"batches": ENTRY}}


def test_a_member_in_the_middle_goes_with_its_comma() -> None:
    text = '{\n  "a": 1,\n  "b": 2, // b\n  "c": 3\n}'
    assert parse(drop(text, ["b"])) == {"a": 1, "c": 3}
    assert drop(text, ["a"]) == '{\n  "b": 2, // b\n  "c": 3\n}'
    assert drop(text, ["x"]) == drop(text, ["x", "y"]) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{ "mcpServers": { broken', "line 1, column 19: expected a key in double quotes, found 'b'"),
        ('{"mcpServers": []}', "mcpServers is not an object"),
        ("[]", "the file is not an object"),
        ('{"a":1', "expected ',' or '}', found the end of the file"),
        ('{"a" 1}', "expected ':'"),
        ('{"a":1 "b":2}', "expected ',' or '}'"),
        ('{"a":[1 2]}', "expected ',' or ']'"),
        ('{"mcpServers":{"x":{}} /* no end', "which ends the comment"),
        ('{"a":1} x', "expected the end of the file"),
        ('{"a":"b\nc"}', "the end of the string in its line"),
        (r'{"a":"\q"}', "expected a JSON value"),
        ('{"a":01}', "expected ',' or '}'"),
        ('{"mcpServers":{},"mcpServers":{}}', "mcpServers stands there 2 times"),
        ("<" * 3, "expected a value"),
        ("[" * 200, "in one another"),
    ],
)
def test_what_cannot_be_read_is_not_touched(text: str, words: str) -> None:
    with pytest.raises(Broken) as caught:
        put(text, ["mcpServers", "batches"], ENTRY)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "dialect", "words"),
    [
        ('{"a": 1,}', JSON, "no comma before the end"),
        ("{} // c", JSON, "no comment"),
        ('{"a": 1,} // c', Dialect(trailing_commas=False), "no comma before the end"),
    ],
)
def test_a_host_may_take_less_than_we_do(text: str, dialect: Dialect, words: str) -> None:
    assert parse(text, JSONC) is not None
    with pytest.raises(Broken, match=words):
        parse(text, dialect)


# Texts that are the same data, written in every way that the dialect allows

space = st.text(" \t\n", max_size=3) | st.sampled_from([" // c, }\n", "/* { */", "\r\n", " /* a */ // b\n  "])
scalars = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(allow_nan=False, allow_infinity=False)
)
keys = st.text(max_size=4)


@st.composite
def written(draw: st.DrawFn, value: Any) -> str:
    def gap() -> str:
        return draw(space)

    if isinstance(value, dict | list):
        if isinstance(value, dict):
            parts = [
                f"{gap()}{json.dumps(key)}{gap()}:{gap()}{draw(written(item))}{gap()}" for key, item in value.items()
            ]
        else:
            parts = [f"{gap()}{draw(written(item))}{gap()}" for item in value]
        trailing: bool = draw(st.booleans())
        end = gap() if not parts else "," + gap() if trailing else ""
        opening, closing = "{}" if isinstance(value, dict) else "[]"
        return opening + ",".join(parts) + end + closing
    return json.dumps(value, ensure_ascii=bool(draw(st.sampled_from([0, 1]))))


values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=8
)


@st.composite
def texts(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    data = draw(st.dictionaries(keys, values, max_size=3))
    data["m"] = draw(st.dictionaries(keys, values, max_size=3))
    return draw(st.sampled_from(["", "\ufeff"])) + draw(space) + draw(written(data)) + draw(space), data


@given(texts())
def test_reading_is_json_without_comments(case: tuple[str, dict[str, Any]]) -> None:
    text, data = case
    assert parse(text) == data


@given(texts(), values, st.sampled_from(["new", "é", 'a"b']))
def test_put_then_drop_restores_the_bytes(case: tuple[str, dict[str, Any]], value: Any, key: str) -> None:
    text, data = case
    assume(key not in data["m"])
    with_it = put(text, ["m", key], value)
    assert parse(with_it) == {**data, "m": {**data["m"], key: value}}
    assert drop(with_it, ["m", key]) == text


@given(texts(), values)
def test_replacing_changes_that_member_alone(case: tuple[str, dict[str, Any]], value: Any) -> None:
    text, data = case
    for key in data["m"]:
        assert parse(put(text, ["m", key], value)) == {**data, "m": {**data["m"], key: value}}
        rest = {name: item for name, item in data["m"].items() if name != key}
        assert parse(drop(text, ["m", key])) == {**data, "m": rest}


@given(st.text(alphabet='{}[]",:/* \n1atrue', max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        value = parse(text)
    except Broken:
        return
    if isinstance(value, dict):
        assert parse(put(text, ["new"], 1)) == {**value, "new": 1}
