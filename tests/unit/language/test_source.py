"""Strict YAML with positions: what is read, where it stands, and that nothing but a located error ever comes of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batches_mcp.core.errors import CapabilityError, UnreadableFile
from batches_mcp.language.nodes import ParsedFile
from batches_mcp.language.source import MAX_DEPTH, MAX_FILE_BYTES, MAX_NODES, parse, read


def plain(text: str) -> Any:
    return parsed(text).root.plain()


def parsed(text: str | bytes) -> ParsedFile:
    return parse(text.encode() if isinstance(text, str) else text, "f.yaml")


def problems(text: str | bytes) -> list[str]:
    """Every problem as `line:col: code`, whether the text could be read to its end or not."""
    try:
        found = parsed(text).problems
    except CapabilityError as error:
        found = error.diagnostics
    return [f"{each.line}:{each.col}: {each.code}" for each in found]


@given(st.text() | st.text("{}[]&*!|>'\"%@-?:, \n\tabc<0123.~#\r\x85\ufeff\u2028"))
def test_any_text_is_read_or_refused_with_places_in_it(text: str) -> None:
    check_places(text.encode())


@given(st.binary())
def test_any_bytes_are_read_or_refused_with_places_in_them(content: bytes) -> None:
    check_places(content)


def check_places(content: bytes) -> None:
    try:
        found = parsed(content).problems
    except CapabilityError as error:
        found = error.diagnostics
        assert found
    # What libyaml takes for a line's end.
    breaks = content.decode("utf-8", "replace").replace("\r\n", "\n")
    lines = 1 + sum(breaks.count(end) for end in "\n\r\x85\u2028\u2029")
    for each in found:
        assert 1 <= each.line <= lines
        assert 1 <= each.col <= len(content) + 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("on", "on"),
        ("n", "n"),
        ("'true'", "true"),
        ("0", 0),
        ("-12", -12),
        ("012", 12),
        ("0o17", 15),
        ("0xFf", 255),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("1e999", "1e999"),
        ("1" * 400, int("1" * 400)),
        ("1" * 401, "1" * 401),
        ("2026-01-31", "2026-01-31"),
        ("1.0.0", "1.0.0"),
        ('"\\u00e9\\n"', "é\n"),
        ("!!str 12", "12"),
        ("[a, 1, {b: c}]", ["a", 1, {"b": "c"}]),
        ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
        ("=", "="),
    ],
)
def test_a_value_is_what_the_core_schema_says(text: str, value: Any) -> None:
    assert problems(text) == []
    result = plain(text)
    assert result == value
    assert type(result) is type(value)


def test_every_value_knows_where_it_and_its_key_stand() -> None:
    root = parsed("a: 1\nb:\n  - x\n  - {ü: y, c: z}\n").root
    b = root.entries()["b"]
    inner = b.items()[1].entries()["c"]
    assert (root.mark.line, root.mark.col) == (1, 1)
    assert b.key_mark is not None
    assert (b.key_mark.line, b.key_mark.col) == (2, 1)
    assert (b.mark.line, b.mark.col) == (3, 3)
    assert (inner.where.line, inner.where.col, inner.mark.col) == (4, 12, 15)


def test_an_alias_stands_where_it_is_used() -> None:
    root = parsed("a: &x 1\nb: *x\n").root
    assert (root.entries()["b"].mark.line, root.entries()["b"].mark.col) == (2, 4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\na: 2\nb: 1\nb: 2\n", ["2:1: duplicate-key", "4:1: duplicate-key"]),
        ("{a: {b: 1, b: 2}}", ["1:12: duplicate-key"]),
        ("1: a\n", ["1:1: key-not-text"]),
        ("? [a]\n: b\n", ["1:3: key-not-text"]),
        ("a: 1\n---\nb: 1\n---\nc: 1\n", ["2:1: several-documents", "4:1: several-documents"]),
        ("a: !x 1\nb: !<tag:yaml.org,2002:int> 1\nc: !!map {}\n", ["1:4: tag", "2:4: tag", "3:4: tag"]),
        ("a: *b\n", ["1:4: alias"]),
        ("a: &a [*a]\n", ["1:8: alias"]),
        ("a:\n\tb: 1\n", ["2:1: tab"]),
        ("a:\n  \tb: 1\n", ["2:3: tab"]),
        ("a: [1\nb: 2", ["2:2: not-yaml"]),
        ("a: b: c", ["1:5: not-yaml"]),
        ("é: \x01", ["1:4: not-yaml"]),
        ("é\né: \x00", ["2:4: not-yaml"]),
        (b"\xc3\xa9: \xff", ["1:4: not-utf-8"]),
        (b"\xef\xbb\xbfa: 1\nb: \xff", ["2:4: not-utf-8"]),
        (b"\xff\xfea\x00", ["1:1: not-utf-8"]),
        ("a: 1\na: 2\nb: [", ["2:1: duplicate-key", "3:5: not-yaml"]),
    ],
)
def test_what_is_not_strict_yaml_is_found(text: str | bytes, expected: list[str]) -> None:
    assert problems(text) == expected


def test_a_byte_order_mark_is_no_content() -> None:
    assert parsed(b"\xef\xbb\xbfa: 1").root.plain() == {"a": 1}


@pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1])
def test_depth_is_bounded_through_aliases_too(depth: int) -> None:
    nested = "[" * depth + "]" * depth
    # Each line nests the one before it; the mapping around them is a level as well.
    chained = "a1: &a1 []\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(2, depth))
    expected = [] if depth <= MAX_DEPTH else ["too-large"]
    assert [each.rpartition(" ")[2] for each in problems(nested)] == expected
    assert [each.rpartition(" ")[2] for each in problems(chained)] == expected


def test_aliases_count_in_full() -> None:
    items = "a: &a [" + ",".join("0" * 999) + "]\n"
    lines = [f"b{n}: *a\n" for n in range(MAX_NODES // 1001)]
    assert problems(items + "".join(lines[:-2])) == []
    assert [each.rpartition(" ")[2] for each in problems(items + "".join(lines) * 2)] == ["too-large"]


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"&a{n} [" for n in range(60)) + ",".join(["0"] * 90_000) + "]" * 60,
        "[" + ",".join(f"&a{n} 0" for n in range(50_000)) + "]",
        "x: '" + "{" * 900_000 + "'",
        "{" * 900_000,
        "- " * 900_000,
        "a: " + "1" * 900_000,
    ],
    ids=["nested anchors", "many anchors", "braces in text", "open braces", "open lists", "long number"],
)
def test_no_file_within_the_bounds_takes_long(text: str) -> None:
    """Of the processor, whoever else uses it: a file whose reading grows with its square takes minutes."""
    started_s = time.process_time()
    problems(text)
    assert time.process_time() - started_s < 30


def test_a_file_is_read_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text("a: ü\n", encoding="utf-8")
    source = read(tmp_path / "f.yaml")
    assert source.file == str(tmp_path / "f.yaml")
    assert source.root.plain() == {"a": "ü"}


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"nothing\.yaml: No such file or directory"):
        read(tmp_path / "nothing.yaml")
    with pytest.raises(UnreadableFile, match="Is a directory"):
        read(tmp_path)


def test_a_file_that_is_too_large_is_not_parsed(tmp_path: Path) -> None:
    file = tmp_path / "large.yaml"
    file.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(UnreadableFile, match="larger than 8,388,608 bytes"):
        read(file)
