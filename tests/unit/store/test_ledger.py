"""The ledger and the kept requests: whole or not at all, whatever happens to the disk, the clock or the process."""

from __future__ import annotations

import errno
import gzip
import os
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batches_mcp.api.batch import Batch
from batches_mcp.cli.job_list import data_of
from batches_mcp.core.errors import StateUnusable
from batches_mcp.store.claim_rules import (
    Baseline,
    Begun,
    Busy,
    Cap,
    Changed,
    ClaimRules,
    Made,
    OverCap,
    Unsettled,
    Window,
)
from batches_mcp.store.database import Database
from batches_mcp.store.entry import Draft, State
from batches_mcp.store.kept import Copy
from batches_mcp.store.presence import FilePresence
from batches_mcp.store.records import Records
from tests.support.records import another

NOW_S = 1_800_000_000.0
DAY_S = 86_400.0
RULES = ClaimRules()
BODY = b'{"requests":[{"custom_id":"a"},{"custom_id":"b"}]}'


pytestmark = pytest.mark.both_states


def path_of(records: Records) -> Path:
    return Path(records.ledger.database.name)


def draft(content: str = "c", **more: Any) -> Draft:
    return Draft(content, 3, 100, **{"body": f"body of {content}", **more})


def at(now_s: float = NOW_S) -> Baseline:
    return Baseline(now_s)


def begin(records: Records, content: str = "c", now_s: float = NOW_S, **more: Any) -> int:
    claim = records.claim(draft(content, **more), at(now_s), RULES)
    assert isinstance(claim, Begun), claim
    return claim.entry.key


def made(records: Records, batch_id: str, content: str = "c", now_s: float = NOW_S, **more: Any) -> int:
    key = begin(records, content, now_s, **more)
    created = {"id": batch_id, "processing_status": "in_progress", "created_at": "2026-01-01T12:00:00Z"}
    records.ledger.accepted(key, Batch.of(created))
    return key


def test_a_claim_is_a_lock_until_its_owner_ends(records: Records) -> None:
    key = begin(records)
    records.ledger.sent(key, NOW_S)
    other = another(records)
    assert isinstance(other.claim(draft(), at(), RULES), Busy)
    assert isinstance(records.claim(draft(), at(), RULES), Busy)
    records.presence.leave()
    claim = other.claim(draft(), at(), RULES)
    assert isinstance(claim, Unsettled)
    assert claim.entry.key == key
    other.ledger.settled(key, State.NONE_FOUND)
    assert isinstance(other.claim(draft(), at(), RULES), Begun)
    other.presence.leave()


def test_a_create_that_was_never_sent_whole_stands_against_nothing(records: Records) -> None:
    begin(records, "claimed"), begin(records, "left behind")
    records.presence.leave()
    other = another(records)
    assert isinstance(other.claim(draft("claimed"), at(), RULES), Begun)
    assert other.left_behind() == []
    assert {entry.state for entry in other.ledger.entries() if entry.content == "left behind"} == {State.REFUSED}
    other.presence.leave()


def test_a_claim_whose_answer_was_lost_on_its_way_is_nobodys(records: Records) -> None:
    records.presence.enter()
    lost = records.ledger.claim(draft(), records.presence.name, at(), lambda _: False, RULES)
    assert isinstance(lost, Begun)
    found = records.claim(draft(), at(), RULES)
    assert isinstance(found, Begun)
    assert found.entry.key != lost.entry.key
    assert isinstance(records.claim(draft(), at(), RULES), Busy)


def test_who_accepts_to_pay_twice_passes_what_is_unsettled(records: Records) -> None:
    key = begin(records)
    records.ledger.sent(key, NOW_S)
    records.ledger.released(key)
    assert isinstance(records.claim(draft(), at(), ClaimRules(again=True)), Begun)


def test_the_same_body_is_the_same_create_whatever_its_content_is_called(records: Records) -> None:
    made(records, "b1")
    assert isinstance(records.claim(replace(draft(), content="by another rule"), at(), RULES), Made)


def test_what_was_made_is_told_once_and_then_a_duplicate(records: Records) -> None:
    key = made(records, "b1")
    claim = records.claim(draft(), at(), RULES)
    assert isinstance(claim, Made)
    assert not claim.entry.told
    records.ledger.told(key)
    claim = records.claim(draft(), at(NOW_S + DAY_S - 1), RULES)
    assert isinstance(claim, Made)
    assert claim.entry.told
    assert isinstance(records.claim(draft("other"), at(), RULES), Begun)
    assert isinstance(records.claim(draft(), at(), ClaimRules(again=True)), Begun)


def test_a_clock_set_back_forgets_no_duplicate(records: Records) -> None:
    made(records, "b1")
    assert isinstance(records.claim(draft(), at(NOW_S - 30 * DAY_S), RULES), Made)


def test_a_retry_of_all_of_a_batch_is_no_duplicate_of_it(records: Records) -> None:
    made(records, "b1")
    made(records, "b2", parent="b1")
    claim = records.claim(draft(parent="b1"), at(), RULES)
    assert isinstance(claim, Made)
    assert claim.entry.batch_id == "b2"
    assert isinstance(records.claim(draft(parent="b2"), at(), RULES), Begun)


CAP = Cap(5.0)


def test_a_content_and_its_costs_are_a_teams_own(records: Records) -> None:
    def claim(content: str, team: str | None, now_s: float = NOW_S) -> Any:
        caps = (Cap(3.0, Window.DAY, team), Cap(4.0, Window.MONTH, team)) if team else (CAP,)
        drafted = replace(draft(content, estimate_usd=2.0), team=team)
        return records.claim(drafted, at(now_s), ClaimRules(caps=caps))

    first = claim("a", "search")
    records.ledger.accepted(first.entry.key, Batch.of({"id": "b1"}))
    assert isinstance(claim("a", "search"), Made)
    second = claim("a", "ads")
    assert isinstance(second, Begun)
    records.ledger.accepted(second.entry.key, Batch.of({"id": "b2"}))
    assert claim("b", "search") == OverCap(Cap(3.0, Window.DAY, "search"), 2.0)
    assert claim("c", None) == OverCap(CAP, 4.0)
    next_day = NOW_S + DAY_S + 1
    third = claim("b", "search", next_day)
    assert isinstance(third, Begun)
    assert claim("d", "search", next_day + DAY_S + 1) == OverCap(Cap(4.0, Window.MONTH, "search"), 4.0)
    assert isinstance(claim("d", "search", next_day + 31 * DAY_S), Begun)
    assert records.ledger.batch_ids("search") == ["b1"]
    assert records.ledger.batch_ids(None) == []
    assert (first.entry.team, second.entry.team) == ("search", "ads")


def test_the_cap_counts_what_was_reserved_or_spent(records: Records) -> None:
    def claim(content: str, now_s: float = NOW_S) -> Any:
        return records.claim(draft(content, estimate_usd=2.0), at(now_s), ClaimRules(caps=(CAP,)))

    first = claim("a")
    assert isinstance(first, Begun)
    records.ledger.accepted(first.entry.key, Batch.of({"id": "b1"}))
    second = claim("b")
    assert claim("c") == OverCap(CAP, 4.0)
    records.ledger.cost("b1", 0.5)
    assert isinstance(claim("c"), Begun)
    assert claim("d") == OverCap(CAP, 4.5)
    records.ledger.settled(second.entry.key, State.REFUSED)
    assert isinstance(claim("d"), Begun)
    assert isinstance(claim("e", NOW_S + DAY_S + 1), Begun)


def test_a_cost_that_nobody_knows_leaves_nothing_of_the_cap(records: Records) -> None:
    key = begin(records, "a")
    claim = records.claim(draft("b", estimate_usd=0.1), at(), ClaimRules(caps=(CAP,)))
    assert isinstance(claim, OverCap)
    assert claim.unknown is not None
    assert claim.unknown.key == key


def test_who_attaches_takes_the_batch_of_the_same_parent_however_old(records: Records) -> None:
    made(records, "b1")
    made(records, "b2", parent="b1")
    later, attach = at(NOW_S + 20 * DAY_S), ClaimRules(attach=True)
    for parent, expected in ((None, "b1"), ("b1", "b2")):
        claim = records.claim(draft(parent=parent), later, attach)
        assert isinstance(claim, Made)
        assert claim.entry.batch_id == expected
    assert records.ledger.deleted("b1") == "body of c"
    assert isinstance(records.claim(draft(), later, attach), Begun)


def test_what_came_before_a_key_does_not_count(records: Records) -> None:
    made(records, "b1")
    after = records.ledger.last_key()
    assert records.ledger.standing("c") is not None
    assert records.ledger.standing("c", after) is None
    assert isinstance(records.claim(draft(), at(), ClaimRules(attach=True, after=after)), Begun)
    assert records.ledger.last_key() == after + 1


def test_a_source_that_changed_between_its_parts(records: Records) -> None:
    source: dict[str, Any] = {"source": "in.jsonl", "parts": 2}
    made(records, "b1", "one", part=1, source_hash="before", **source)
    claim = records.claim(draft("other", part=2, source_hash="after", **source), at(), RULES)
    assert isinstance(claim, Changed)
    assert claim.entry.part == 1
    made(records, "b2", "two", part=2, source_hash="before", **source)
    assert isinstance(records.claim(draft("other", part=2, source_hash="after", **source), at(), RULES), Begun)


def test_the_creates_around_a_batch(records: Records) -> None:
    made(records, "b1")
    made(records, "b2", "rest", parent="b1")
    key = begin(records, "again", parent="b1")
    records.ledger.candidate(key, Batch.of({"id": "b3"}))
    assert [entry.content for entry in records.ledger.retries("b1")] == ["rest", "again"]
    doubted = records.ledger.doubted("b3")
    assert doubted is not None
    assert records.ledger.alike(doubted) == 1
    assert records.ledger.doubted("b1") is None
    assert [records.ledger.wanted(f"body of {content}") for content in ("c", "nobody")] == [True, False]
    assert records.ledger.used()


def test_an_answer_is_stronger_than_a_proof(records: Records) -> None:
    guessing, answered = begin(records, "guessing"), begin(records, "answered")
    [rival] = records.ledger.rivals(records.ledger.entries()[0])
    assert rival.content == "guessing"
    assert records.ledger.adopted(guessing, Batch.of({"id": "b1"}))
    records.ledger.accepted(answered, Batch.of({"id": "b1"}))
    by_content = {entry.content: entry for entry in records.ledger.entries()}
    assert by_content["guessing"].state is State.AMBIGUOUS
    assert by_content["guessing"].batch_id is None
    assert by_content["answered"].batch_id == "b1"
    assert not records.ledger.adopted(guessing, Batch.of({"id": "b1"}))
    assert records.ledger.known(["b1", "b2"]).keys() == {"b1"}


def test_a_candidate_is_nobodys_batch(records: Records) -> None:
    key = begin(records)
    records.ledger.candidate(key, Batch.of({"id": "b1", "processing_status": "in_progress"}))
    shown = [Batch.of({"id": "b1", "processing_status": "ended"}), Batch.of({"id": "unknown"})]
    seen = records.ledger.saw(shown)
    assert records.ledger.looked(shown) in (seen, None)  # None from another machine, which is always waited for
    [doubted] = seen.doubted.values()
    assert doubted.last_seen.status == "ended"
    assert data_of(doubted)["batch_id"] is None
    assert records.ledger.find("b1") is None
    assert records.ledger.known(["b1"]) == {}
    records.ledger.cost("b1", 1.0)
    assert records.ledger.deleted("b1") is None
    assert records.ledger.entries()[0].cost_usd is None
    assert records.ledger.adopted(key, doubted.last_seen)
    assert records.ledger.saw([doubted.last_seen]).doubted == {}
    assert records.ledger.find("b1") is not None


def test_what_is_settled_meanwhile_stays_as_it_is(records: Records) -> None:
    """Whoever looked for longer than another one comes too late with what they did not find."""
    key = begin(records)
    assert records.ledger.adopted(key, Batch.of({"id": "msgbatch_1"}))
    records.ledger.candidate(key, None)
    records.ledger.candidate(key, Batch.of({"id": "msgbatch_2"}))
    records.ledger.settled(key, State.NONE_FOUND)
    entry = records.ledger.find("msgbatch_1")
    assert entry is not None
    assert (entry.key, entry.state) == (key, State.ADOPTED)


def test_a_row_of_jobs(records: Records) -> None:
    made(records, "b1", label="May", source="in.jsonl", part=2, parent="b0", estimate_usd=0.25)
    [entry] = records.ledger.entries()
    assert data_of(entry) == {
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
    assert data_of(records.ledger.entries()[0])["status"] == "sending"


@pytest.mark.parametrize("created_at", [None, "yesterday", 7, "9999-12-31T23:59:59Z"])
@pytest.mark.folder_only
def test_a_row_of_jobs_has_no_expiry_that_cannot_be_told(records: Records, created_at: object) -> None:
    records.ledger.accepted(begin(records), Batch.of({"id": "b1", "created_at": created_at}))
    assert data_of(records.ledger.entries()[0])["results_expire_at"] is None


def test_after_29_days_nothing_is_left_not_even_of_what_nobody_could_settle(records: Records) -> None:
    old, unsettled = keep(records, BODY), keep(records, BODY + b" ")
    records.ledger.accepted(begin(records, "old", body=old.name), Batch.of({"id": "b1"}))
    key = begin(records, "unsettled", body=unsettled.name)
    records.ledger.sent(key, NOW_S)
    records.ledger.released(key)
    records.tidy(NOW_S + 28 * DAY_S)
    assert len(records.ledger.entries()) == 2
    records.tidy(NOW_S + 30 * DAY_S)
    assert records.ledger.entries() == []
    assert list(records.kept.folder.iterdir()) == []


@pytest.mark.folder_only
def test_an_empty_ledger_beside_copies_is_damage(records: Records) -> None:
    copy = keep(records, BODY)
    records.ledger.accepted(begin(records, body=copy.name), Batch.of({"id": "b1"}))
    for path in path_of(records).parent.glob("ledger.sqlite*"):
        path.unlink()
    with pytest.raises(StateUnusable, match="is empty, but copies of requests that were sent are in"):
        records.check(copy.path.parent.stat().st_mtime)


@pytest.mark.folder_only
def test_a_folder_whose_locks_keep_nobody_out_is_refused(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batches_mcp.store.presence._lock", lambda _: None)
    with pytest.raises(StateUnusable, match="do not keep other processes out"):
        records.check(NOW_S)


def keep(records: Records, body: bytes = BODY) -> Copy:
    """A body that is kept."""
    with records.kept.draft() as path:
        copy = records.kept.write(path, [body], "")
        records.kept.keep(copy).close()
    return copy


@pytest.mark.folder_only
def test_a_kept_body_is_the_same_once_compressed(records: Records) -> None:
    name = keep(records).name
    records.ledger.accepted(begin(records, body=name), Batch.of({"id": "b1"}))
    assert records.kept.matches(name, "", {"a", "b"}) == 2
    assert records.kept.matches(name, "", {"a", "z"}) == 1
    records.compress(threading.Event())
    assert [path.name for path in records.kept.folder.iterdir()] == [f"{name}.json.gz"]
    assert records.kept.matches(name, "", {"z"}) == 0
    with records.kept.opened(name, "") as file:
        assert file.read(2) == b"\x1f\x8b"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("damage", ["empty", "half", "zeros", "other"])
@pytest.mark.folder_only
def test_a_damaged_copy_is_a_missing_one(records: Records, damage: str, packed: bool) -> None:
    name = keep(records).name
    if packed:
        records.kept.compress(name, threading.Event())
    [path] = records.kept.folder.iterdir()
    content = path.read_bytes()
    damaged = {"empty": b"", "half": content[:25], "zeros": bytes(len(content)), "other": content.replace(b"a", b"c")}
    path.write_bytes(gzip.compress(BODY[:-1]) if packed and damage == "other" else damaged[damage])
    with pytest.raises(FileNotFoundError), records.kept.opened(name, ""):
        pass


@pytest.mark.folder_only
def test_two_that_compress_one_copy_lose_nothing(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    name = keep(records).name
    inner = records.kept.compress

    class Meanwhile(gzip.GzipFile):
        """Before the first has written anything, a second is done."""

        def __init__(self, *arguments: Any, **more: Any) -> None:
            monkeypatch.undo()
            inner(name, threading.Event())
            super().__init__(*arguments, **more)

    monkeypatch.setattr("batches_mcp.store.kept.gzip.GzipFile", Meanwhile)
    records.kept.compress(name, threading.Event())
    assert [path.name for path in records.kept.folder.iterdir()] == [f"{name}.json.gz"]
    assert records.kept.matches(name, "", {"a", "b"}) == 2


@pytest.mark.folder_only
def test_a_copy_is_on_the_disk_before_its_name_counts(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    fsync = os.fsync

    def recorded(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recorded)
    name = keep(records).name
    path = records.kept.folder / f"{name}.json"
    assert synced == [path.stat().st_ino, records.kept.folder.stat().st_ino]


def test_betas_make_another_copy(records: Records) -> None:
    names = set()
    for betas, pieces in (("", [BODY]), ("", [BODY[:7], BODY[7:]]), ("beta", [BODY])):
        with records.kept.draft() as path:
            names.add(records.kept.write(path, pieces, betas).name)
    assert len(names) == 2


def test_a_disk_that_fills_while_keeping_leaves_nothing(records: Records) -> None:
    def pieces() -> Iterator[bytes]:
        yield BODY
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StateUnusable, match="No space left on device"), records.kept.draft() as path:
        records.kept.write(path, pieces(), "")
    assert list(records.kept.folder.iterdir()) == []


@pytest.mark.folder_only
def test_a_disk_that_fills_while_compressing_loses_nothing(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __init__(self, *_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    name = keep(records).name
    monkeypatch.setattr("batches_mcp.store.kept.gzip.GzipFile", Full)
    records.kept.compress(name, threading.Event())
    assert [path.name for path in records.kept.folder.iterdir()] == [f"{name}.json"]


@pytest.mark.folder_only
def test_a_full_disk_writes_no_half_a_record(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    made(records, "b1")
    begin_transaction = Database._begin

    def small(database: Database) -> sqlite3.Connection:
        db = begin_transaction(database)
        db.execute("PRAGMA max_page_count = 1")  # never less than it has already
        return db

    with monkeypatch.context() as patch:
        patch.setattr(Database, "_begin", small)
        with pytest.raises(StateUnusable, match="there is no room left"):
            records.claim(draft("x" * 100_000), at(), RULES)
    assert [entry.content for entry in records.ledger.entries()] == ["c"]


@pytest.mark.folder_only
def test_a_process_that_left_or_died_is_not_alive(tmp_path: Path) -> None:
    one, other = FilePresence(tmp_path), FilePresence(tmp_path)
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


@pytest.mark.folder_only
def test_a_ledger_of_the_version_before_is_brought_up_to_date(records: Records) -> None:
    with sqlite3.connect(path_of(records)) as db:
        db.executescript(
            """
            CREATE TABLE creates (
              key INTEGER PRIMARY KEY, content TEXT NOT NULL, rows INTEGER NOT NULL, body_bytes INTEGER NOT NULL,
              source TEXT, label TEXT, part INTEGER, parent TEXT, betas TEXT NOT NULL, estimate_usd REAL,
              state TEXT NOT NULL, owner TEXT, started_s REAL NOT NULL, since_s REAL,
              batch_id TEXT, batch TEXT, cost_usd REAL,
              confirmed INTEGER NOT NULL DEFAULT 0, told INTEGER NOT NULL DEFAULT 0, deleted INTEGER NOT NULL DEFAULT 0
            );
            CREATE INDEX creates_content ON creates (content);
            CREATE INDEX creates_batch_id ON creates (batch_id);
            PRAGMA user_version = 1;
            INSERT INTO creates (content, rows, body_bytes, betas, state, started_s, batch_id, batch, told)
              VALUES ('body of c', 3, 100, '', 'accepted', 1800000000, 'b1', '{"id": "b1"}', 1),
                     ('guess', 3, 100, '', 'adopted', 1800000000, 'b2', '{"id": "b2"}', 0),
                     ('sent', 3, 100, '', 'sending', 1800000000, NULL, NULL, 0);
            """
        )
    db.close()
    assert isinstance(records.claim(draft(), at(), RULES), Made)
    states = {entry.content: entry.state for entry in records.ledger.entries()}
    assert states == {"body of c": State.ACCEPTED, "guess": State.AMBIGUOUS, "sent": State.AMBIGUOUS}


@pytest.mark.folder_only
def test_a_ledger_without_teams_is_brought_up_to_date(records: Records) -> None:
    db = sqlite3.connect(path_of(records))
    db.executescript(
        """
        CREATE TABLE creates (key INTEGER PRIMARY KEY, content TEXT, body TEXT, source TEXT, label TEXT,
          source_hash TEXT, parent TEXT, betas TEXT, state TEXT, estimate_usd REAL, started_s REAL, since_s REAL,
          sent_s REAL, cost_usd REAL, rows INTEGER, body_bytes INTEGER, part INTEGER, parts INTEGER, owner TEXT,
          newest_id TEXT, batch_id TEXT, batch TEXT, told BOOLEAN, deleted BOOLEAN);
        PRAGMA user_version = 2;
        INSERT INTO creates (content, body, betas, state, started_s, since_s, rows, body_bytes, batch_id, told, deleted)
          VALUES ('c', 'body of c', '', 'accepted', 1800000000, 0, 3, 100, 'b1', 1, 0);
        """
    )
    db.close()
    assert isinstance(records.claim(draft(), at(), RULES), Made)
    assert isinstance(records.claim(replace(draft(), team="search"), at(), RULES), Begun)
    assert [entry.team for entry in records.ledger.entries()] == ["search", None]
