"""The form of an index on disk: what was written is read again, and what is damaged is told."""

from __future__ import annotations

import io
import json
import struct
import sys
import zlib
from array import array

from hypothesis import given
from hypothesis import strategies as st

from batches_mcp.requests.tokens import Tariff, Tokens
from batches_mcp.store.causes import Cause
from batches_mcp.store.index import Head, Index, decode, encode, read_head

counts = st.integers(0, 2**53)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
classes = st.lists(st.tuples(texts, st.none() | texts), max_size=200)
tokens = st.lists(st.tuples(st.builds(Tariff, texts, st.booleans(), texts, texts), st.builds(Tokens, *[counts] * 7)))
causes = st.lists(st.builds(Cause, texts, st.lists(texts), counts, texts))
rows = st.lists(st.tuples(st.integers(0, 2**64 - 1), *[st.integers(0, 2**32 - 1)] * 2, st.integers(0, 255)))


@st.composite
def indexes(draw: st.DrawFn) -> Index:
    found = draw(rows)
    head = Head(
        draw(texts),
        f"{draw(counts):x}-{draw(counts):x}.jsonl",
        draw(counts),
        draw(counts),
        draw(st.none() | st.floats(allow_nan=False, allow_infinity=False)),
        len(found),
        draw(counts),
        draw(st.booleans()),
        draw(classes),
        draw(tokens),
        draw(causes),
    )
    offsets, lengths, checks, kinds = (
        (list(column) for column in zip(*found, strict=True)) if found else ([], [], [], [])
    )
    return Index(head, array("Q", offsets), array("I", lengths), array("I", checks), bytearray(kinds))


def facts(index: Index) -> tuple[object, ...]:
    return index.head, list(index.offsets), list(index.lengths), list(index.checks), list(index.kinds)


@given(indexes())
def test_what_was_written_is_read_again(index: Index) -> None:
    content = encode(index)
    read = decode(content)
    assert read is not None
    assert facts(read) == facts(index)
    assert encode(read) == content
    assert read_head(io.BytesIO(content)) == index.head


@given(indexes(), st.data())
def test_what_is_damaged_is_told(index: Index, data: st.DataObject) -> None:
    content = bytearray(encode(index))
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[at] ^= data.draw(st.integers(1, 255))
    else:
        del content[at:]
    assert decode(bytes(content)) is None
    head = read_head(io.BytesIO(content))
    assert head is None or "/" not in head.data


@given(st.binary(max_size=200))
def test_anything_is_no_index(content: bytes) -> None:
    assert decode(content) is None
    assert read_head(io.BytesIO(content)) is None


def test_the_form_is_that_of_the_version() -> None:
    """Written out here once more, so that whoever changes the form is reminded to change the version."""
    head = {
        "batch_id": "b",
        "data": "0-1.jsonl",
        "data_bytes": 9,
        "changed_ns": 7,
        "made_s": 1.5,
        "rows": 2,
        "ignored": 1,
        "complete": True,
        "classes": [["succeeded", "end_turn"], ["expired", None]],
        "tokens": [[["m", False, "", "batch"], dict.fromkeys(Tokens.__dataclass_fields__, 3)]],
        "causes": [{"type": "expired", "parts": ["late"], "count": 1, "custom_id": "r1"}],
    }
    encoded = json.dumps(head, separators=(",", ":")).encode()
    content = b"batches-mcp spool 3 " + sys.byteorder.encode() + b"\n" + struct.pack("<I", len(encoded)) + encoded
    content += struct.pack("=QQIIIIBB", 0, 5, 4, 4, 10, 11, 1, 2)
    content += struct.pack("<I", zlib.crc32(content))
    index = decode(content)
    assert index is not None
    assert encode(index) == content
    assert [index.kind(number) for number in range(2)] == [("succeeded", "end_turn"), ("expired", None)]
    assert index.tokens == {Tariff("m"): Tokens(*[3] * 7)}
    assert list(index.matching({"expired"})) == [1]
