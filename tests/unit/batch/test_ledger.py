"""The ledger and the kept requests: whole or not at all, whatever happens to the disk, the clock or the process."""

from __future__ import annotations

import errno
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batches_mcp.batch.create.entry import Begun, Busy, Draft, Made, OverCap, State, Unsettled
from batches_mcp.batch.create.kept import KeptRequests
from batches_mcp.batch.create.ledger import Ledger
from batches_mcp.batch.create.presence import Presence
from batches_mcp.batch.create.records import AllRecords, Records
from batches_mcp.errors import StateUnusable
from batches_mcp.state import StateFolder

NOW_S = 1_800_000_000.0
DAY_S = 86_400.0
BODY = b'{"requests":[{"custom_id":"a"},{"custom_id":"b"}]}'


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    everything = AllRecords(StateFolder(tmp_path))
    yield everything.of("account")
    everything.close()


def another(records: Records) -> Records:
    """Another process's view of the same records."""
    return Records(records.ledger, records.kept, Presence(records.ledger.path.parent / "owners"))


def draft(content: str = "c", **more: Any) -> Draft:
    return Draft(content, 3, 100, **more)


def begin(records: Records, content: str = "c", now_s: float = NOW_S, **more: Any) -> int:
    claim = records.claim(draft(content, **more), now_s)
    assert isinstance(claim, Begun), claim
    return claim.entry.key


def made(records: Records, batch_id: str, content: str = "c", now_s: float = NOW_S, **more: Any) -> int:
    key = begin(records, content, now_s, **more)
    created = {"id": batch_id, "processing_status": "in_progress", "created_at": "2026-01-01T12:00:00Z"}
    records.ledger.accepted(key, created)
    return key


def test_a_claim_is_a_lock_until_its_owner_ends(records: Records) -> None:
    key = begin(records)
    other = another(records)
    assert isinstance(other.claim(draft(), NOW_S), Busy)
    assert isinstance(records.claim(draft(), NOW_S), Busy)
    records.presence.leave()
    claim = other.claim(draft(), NOW_S)
    assert isinstance(claim, Unsettled)
    assert claim.entry.key == key
    other.ledger.settled(key, State.NONE_FOUND)
    assert isinstance(other.claim(draft(), NOW_S), Unsettled)  # each caller looks once more
    other.ledger.settled(key, State.NONE_FOUND)
    assert isinstance(other.claim(draft(), NOW_S, looked=frozenset([key])), Begun)
    other.presence.leave()


def test_what_was_made_is_told_once_and_then_a_duplicate(records: Records) -> None:
    key = made(records, "b1")
    claim = records.claim(draft(), NOW_S)
    assert isinstance(claim, Made)
    assert not claim.entry.told
    records.ledger.told(key)
    claim = records.claim(draft(), NOW_S + DAY_S - 1)
    assert isinstance(claim, Made)
    assert claim.entry.told
    assert isinstance(records.claim(draft("other"), NOW_S), Begun)
    assert isinstance(records.claim(draft(), NOW_S, again=True), Begun)


def test_a_clock_set_back_forgets_no_duplicate(records: Records) -> None:
    made(records, "b1")
    assert isinstance(records.claim(draft(), NOW_S - 30 * DAY_S), Made)


def test_a_retry_of_all_of_a_batch_is_no_duplicate_of_it(records: Records) -> None:
    made(records, "b1")
    made(records, "b2", parent="b1")
    claim = records.claim(draft(parent="b1"), NOW_S)
    assert isinstance(claim, Made)
    assert claim.entry.batch_id == "b2"
    assert isinstance(records.claim(draft(parent="b2"), NOW_S), Begun)


def test_the_cap_counts_what_was_reserved_or_spent(records: Records) -> None:
    def claim(content: str, now_s: float = NOW_S) -> Any:
        return records.claim(draft(content, estimate_usd=2.0), now_s, cap_usd=5.0)

    first = claim("a")
    assert isinstance(first, Begun)
    records.ledger.accepted(first.entry.key, {"id": "b1"})
    second = claim("b")
    assert claim("c") == OverCap(4.0)
    records.ledger.cost("b1", 0.5)
    assert isinstance(claim("c"), Begun)
    assert claim("d") == OverCap(4.5)
    records.ledger.settled(second.entry.key, State.REFUSED)
    assert isinstance(claim("d"), Begun)
    assert isinstance(claim("e", NOW_S + DAY_S + 1), Begun)


def test_an_answer_is_stronger_than_an_adoption(records: Records) -> None:
    guessing, answered = begin(records, "guessing"), begin(records, "answered")
    assert records.ledger.rivals(records.ledger.entries()[0]) == 1
    assert records.ledger.adopted(guessing, {"id": "b1"}, confirmed=False)
    records.ledger.accepted(answered, {"id": "b1"})
    by_content = {entry.content: entry for entry in records.ledger.entries()}
    assert by_content["guessing"].state is State.AMBIGUOUS
    assert by_content["guessing"].batch_id is None
    assert by_content["answered"].batch_id == "b1"
    assert not records.ledger.adopted(guessing, {"id": "b1"}, confirmed=False)
    assert records.ledger.known(["b1", "b2"]) == {"b1"}


def test_what_is_seen_later_is_learned(records: Records) -> None:
    key = begin(records)
    records.ledger.adopted(key, {"id": "b1", "processing_status": "in_progress"}, confirmed=False)
    [unconfirmed] = records.ledger.saw([{"id": "b1", "processing_status": "ended"}, {"id": "unknown"}])
    assert unconfirmed.shown["processing_status"] == "ended"
    records.ledger.confirmed(key)
    assert records.ledger.saw([{"id": "b1", "processing_status": "ended"}]) == []


def test_a_row_of_jobs(records: Records) -> None:
    made(records, "b1", label="May", source="in.jsonl", part=2, parent="b0", estimate_usd=0.25)
    [entry] = records.ledger.entries()
    assert entry.job() == {
        "batch_id": "b1",
        "label": "May",
        "source": "in.jsonl",
        "rows": 3,
        "status": "in_progress",
        "created_at": "2026-01-01T12:00:00Z",
        "results_expire_at": "2026-01-30T12:00:00Z",
        "estimate_usd": 0.25,
        "cost_usd": None,
        "parent": "b0",
        "part": 2,
    }
    begin(records, "other")
    assert records.ledger.entries()[0].job()["status"] == "sending"


def test_after_29_days_nothing_is_left_but_what_is_unsettled(records: Records) -> None:
    keep(records, "old")
    made(records, "b1", "old")
    begin(records, "unsettled")
    records.tidy(NOW_S + 30 * DAY_S, threading.Event())
    assert [entry.content for entry in records.ledger.entries()] == ["unsettled"]
    assert list(records.kept.folder.iterdir()) == []


def keep(records: Records, content: str, body: bytes = BODY) -> None:
    """Keep a body under a name of ours."""
    with records.kept.draft() as path:
        copy = records.kept.write(path, [body], "")
        records.kept.keep(type(copy)(copy.path, content, copy.length_bytes)).close()


def test_a_kept_body_is_the_same_once_compressed(records: Records) -> None:
    keep(records, "x")
    made(records, "b1", "x")
    assert not records.kept.foreign("x", ["a", "b"])
    assert records.kept.foreign("x", ["a", "z"])
    records.tidy(NOW_S, threading.Event())
    assert [path.name for path in records.kept.folder.iterdir()] == ["x.json.gz"]
    assert records.kept.foreign("x", ["z"])
    with records.kept.opened("x") as file:
        assert file.read(2) == b"\x1f\x8b"


def test_betas_make_another_content(records: Records) -> None:
    contents = set()
    for betas, pieces in (("", [BODY]), ("", [BODY[:7], BODY[7:]]), ("beta", [BODY])):
        with records.kept.draft() as path:
            contents.add(records.kept.write(path, pieces, betas).content)
    assert len(contents) == 2


def test_a_disk_that_fills_while_keeping_leaves_nothing(records: Records) -> None:
    def pieces() -> Iterator[bytes]:
        yield BODY
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StateUnusable, match="No space left on device"), records.kept.draft() as path:
        records.kept.write(path, pieces(), "")
    assert list(records.kept.folder.iterdir()) == []


def test_a_disk_that_fills_while_compressing_loses_nothing(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __init__(self, *_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    keep(records, "x")
    monkeypatch.setattr("batches_mcp.batch.create.kept.gzip.GzipFile", Full)
    records.kept.compress("x", threading.Event())
    assert [path.name for path in records.kept.folder.iterdir()] == ["x.json"]


def test_a_full_disk_writes_no_half_a_record(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    made(records, "b1")
    begin_transaction = Ledger._begin

    def small(self: Ledger) -> sqlite3.Connection:
        db = begin_transaction(self)
        db.execute("PRAGMA max_page_count = 1")  # never less than it has already
        return db

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "_begin", small)
        with pytest.raises(StateUnusable, match="there is no room left"):
            records.claim(draft("x" * 100_000), NOW_S)
    assert [entry.content for entry in records.ledger.entries()] == ["c"]


def test_a_process_that_left_or_died_is_not_alive(tmp_path: Path) -> None:
    one, other = Presence(tmp_path), Presence(tmp_path)
    assert not other.alive(one.name)
    one.enter()
    one.enter()
    assert other.alive(one.name)
    assert one.alive(one.name)
    (tmp_path / "dead.alive").touch()
    other.tidy()
    assert [path.stem for path in tmp_path.glob("*.alive")] == [one.name]
    one.leave()
    assert not other.alive(one.name)
    assert KeptRequests(tmp_path).tidy([], 0) == []
