"""The spool: bytes as they came, rows by number and by id, and nothing half written."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batches_mcp.core.limits import Limits
from batches_mcp.requests.tokens import Tariff, Tokens
from batches_mcp.store.index import order_of
from batches_mcp.store.spool import Spool, index_path, load
from batches_mcp.store.spooling import Writer
from batches_mcp.store.spools import Spools


def row(number: int) -> bytes:
    usage = {"input_tokens": 1, "output_tokens": number, "cache_creation": {"ephemeral_1h_input_tokens": 2}}
    message = {"model": "m", "stop_reason": "end_turn", "usage": usage, "content": [{"type": "text", "text": "ü"}]}
    found = {"custom_id": f"r{number}", "result": {"type": "succeeded", "message": message}}
    return json.dumps(found, ensure_ascii=False).encode()


ERRORED = b'{"custom_id":"bad","result":{"type":"errored","error":{"error":{"type":"api_error"}}}}'
STREAM = b"\r\n".join([row(0), b"", row(1), b"garbage", ERRORED, b" ", row(2)])


TOTAL = 4


def written(folder: Path, stream: bytes, size: int = 1_000, begun: Spool | None = None, *, total: int = TOTAL) -> Spool:
    writer = Writer(folder, "batch", total, begun=begun)
    writer.begin()
    for at in range(0, len(stream), size):
        writer.take(stream[at : at + size])
    writer.end()
    return writer.save()


@given(st.integers(1, len(STREAM)))
def test_the_bytes_and_the_facts_of_a_stream(size: int) -> None:
    with TemporaryDirectory() as name:
        spool = written(Path(name), STREAM, size)
        assert spool.path.read_bytes() == STREAM
        lines = list(spool.lines(range(len(spool))))
        assert [line.strip() for line in lines] == [row(0), row(1), ERRORED, row(2)]
        assert (spool.head.rows, spool.head.ignored, spool.complete) == (4, 1, True)
        assert spool.find(["r2", "bad", "nobody"]) == {"r2": 3, "bad": 2}
        assert list(spool.matching({"succeeded"}, 1)) == [1, 3]
        assert list(spool.matching({"expired"})) == []
        assert [spool.kind(number) for number in (2, 3)] == [("errored", "api_error"), ("succeeded", "end_turn")]
        assert spool.errors == {"api_error": 1}
        assert spool.tokens == {Tariff("m"): Tokens(3, 0, 6, 0, 3)}


@given(st.integers(0, len(STREAM)), st.integers(0, len(STREAM)))
def test_what_was_cut_is_completed_and_no_half_row_is_ever_in_it(first: int, second: int) -> None:
    with TemporaryDirectory() as name:
        begun = written(Path(name), STREAM[:first])
        before = list(begun.lines(range(len(begun))))
        order = begun.order(len(begun))
        begun = written(Path(name), STREAM[:second], begun=begun)
        spool = written(Path(name), STREAM, begun=begun)
        lines = list(spool.lines(range(len(spool))))
        assert lines[: len(before)] == before
        assert spool.order(len(before)) == order
        assert sorted(line.strip() for line in lines) == sorted([row(0), row(1), ERRORED, row(2)])
        assert spool.complete
        assert len(list(begun.lines(range(len(begun))))) == len(
            begun
        )  # whoever has what was replaced can still read it
        Spools(Path(name)).make_room(time.time() + 700)
        assert len(list(Path(name).iterdir())) == 2


def test_several_writers_do_not_disturb_each_other(tmp_path: Path) -> None:
    writers = [Writer(tmp_path, "batch", TOTAL) for _ in range(3)]
    for writer in writers:
        writer.begin()
    for at in range(0, len(STREAM), 50):
        for writer in writers:
            writer.take(STREAM[at : at + 50])
    for writer in writers:
        writer.end()
        assert writer.save().path.read_bytes() == STREAM
    assert len(list(tmp_path.iterdir())) == 2


@given(st.data())
def test_a_damaged_spool_counts_as_none(data: st.DataObject) -> None:
    with TemporaryDirectory() as name:
        spool = written(Path(name), STREAM)
        index = index_path(Path(name), "batch")
        content = bytearray(index.read_bytes())
        at = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content[at] ^= data.draw(st.integers(1, 255))
        else:
            del content[at:]
        index.write_bytes(content)
        assert load(Path(name), "batch") is None
        spool = written(Path(name), STREAM)
        spool.path.write_bytes(STREAM[:-1])
        assert load(Path(name), "batch") is None
        spool = written(Path(name), STREAM)
        spool.path.unlink()
        assert load(Path(name), "batch") is None


def test_a_disk_that_fails_while_more_arrives_is_not_overlooked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system tells such a failure once: to the call that was under way, and not to the one at the end."""
    failures = [OSError(errno.EIO, "the disk is broken")]

    def sync(_: int) -> None:
        if failures:
            raise failures.pop()

    monkeypatch.setattr(os, "fsync", sync)
    writer = Writer(tmp_path, "batch", TOTAL, limits=Limits(sync_bytes=1))
    writer.begin()
    with pytest.raises(OSError, match="the disk is broken"):  # noqa: PT012 - at the next piece, or at the end
        for at in range(0, len(STREAM), 100):
            writer.take(STREAM[at : at + 100])
        writer.save()
    writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_more_kinds_than_a_byte_can_tell_apart(tmp_path: Path) -> None:
    lines = [b'{"custom_id":"r%d","result":{"type":"t%d"}}' % (number, number) for number in range(300)]
    spool = written(tmp_path, b"\n".join(lines), total=300)
    assert spool.kind(0) == ("t0", None)
    assert spool.kind(299) == ("other", "other")


def test_the_order_can_be_told_line_by_line(tmp_path: Path) -> None:
    from batches_mcp.store.rows import read_row

    spool = written(tmp_path, STREAM)
    order = 0
    for line in spool.lines(range(len(spool))):
        found = read_row(line)
        assert found is not None
        order = order_of(found, order)
    assert order == spool.order(len(spool))
