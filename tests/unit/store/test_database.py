"""The connection to a ledger's file: one that is kept, whatever becomes of the file meanwhile."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from batches_mcp.api.batch import Batch
from batches_mcp.core.errors import Retry, StateUnusable
from batches_mcp.core.limits import LIMITS
from batches_mcp.store.claim_rules import Baseline, Begun, ClaimRules
from batches_mcp.store.database import Database
from batches_mcp.store.entry import Draft
from batches_mcp.store.ledger import Ledger

RULES = ClaimRules()


@pytest.fixture
def busy_s() -> float:
    return LIMITS.busy_s


@pytest.fixture
def ledger(tmp_path: Path, busy_s: float) -> Iterator[Ledger]:
    with closing(Database(tmp_path / "ledger.sqlite", busy_s)) as kept:
        yield Ledger(kept)


def path_of(ledger: Ledger) -> Path:
    return Path(ledger.database.name)


def begin(ledger: Ledger, content: str) -> None:
    claim = ledger.claim(Draft(content, 1, 1, body=content), "owner", Baseline(1.0), lambda _: True, RULES)
    assert isinstance(claim, Begun), claim


def contents(path: Path) -> list[str]:
    """What another process finds in a ledger."""
    with closing(Database(path)) as other:
        return [entry.content for entry in reversed(Ledger(other).entries())]


def test_one_connection_serves_all_threads(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect
    connected = threading.Semaphore(1)

    def counted(*arguments: Any, **more: Any) -> sqlite3.Connection:
        assert connected.acquire(blocking=False)
        return connect(*arguments, **more)

    monkeypatch.setattr(sqlite3, "connect", counted)
    threads = [threading.Thread(target=begin, args=(ledger, str(number))) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(entry.content for entry in ledger.entries()) == sorted(map(str, range(20)))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows moves no file that is open")
def test_what_was_moved_away_is_written_to_no_longer(ledger: Ledger, tmp_path: Path) -> None:
    begin(ledger, "before")
    away = tmp_path / "away.sqlite"
    shutil.move(path_of(ledger), away)
    content = away.read_bytes()
    begin(ledger, "after")
    assert away.read_bytes() == content
    assert contents(path_of(ledger)) == ["after"]
    assert contents(away) == ["before"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows removes no file that is open")
def test_what_was_removed_is_made_anew(ledger: Ledger) -> None:
    begin(ledger, "before")
    path_of(ledger).unlink()
    begin(ledger, "after")
    assert contents(path_of(ledger)) == ["after"]


@pytest.mark.parametrize("in_place", [True, pytest.param(False, marks=pytest.mark.skipif(sys.platform == "win32", reason="Windows replaces no file that is open"))])  # fmt: skip
def test_a_backup_is_made_and_put_back_while_we_are_connected(ledger: Ledger, tmp_path: Path, in_place: bool) -> None:
    backup = tmp_path / "backup.sqlite"
    begin(ledger, "before")
    shutil.copyfile(path_of(ledger), backup)
    begin(ledger, "forgotten")
    if in_place:
        shutil.copyfile(backup, path_of(ledger))
    else:
        backup.replace(path_of(ledger))
    assert [entry.content for entry in ledger.entries()] == ["before"]
    begin(ledger, "after")
    assert contents(path_of(ledger)) == ["before", "after"]


def test_a_file_that_is_damaged_while_we_are_connected_is_noticed_and_can_be_mended(ledger: Ledger) -> None:
    begin(ledger, "before")
    content = path_of(ledger).read_bytes()
    path_of(ledger).write_bytes(b"damaged" * 1_000)
    with pytest.raises(StateUnusable, match="the file is damaged"):
        ledger.entries()
    path_of(ledger).write_bytes(content)
    assert [entry.content for entry in ledger.entries()] == ["before"]


def test_a_later_version_that_takes_over_meanwhile_is_noticed(ledger: Ledger) -> None:
    begin(ledger, "before")
    with closing(sqlite3.connect(path_of(ledger))) as later:
        later.execute("PRAGMA user_version = 99")
    with pytest.raises(StateUnusable, match="was made by a later version"):
        begin(ledger, "after")


@pytest.mark.parametrize("busy_s", [0.05])
def test_another_process_that_writes_for_too_long_is_named_and_waited_for_the_next_time(ledger: Ledger) -> None:
    begin(ledger, "before")
    with closing(sqlite3.connect(path_of(ledger), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateUnusable, match="another process has been writing to it") as caught:
            begin(ledger, "after")
        assert caught.value.report.retry is Retry.HELPS
        other.execute("ROLLBACK")
    begin(ledger, "after")
    assert contents(path_of(ledger)) == ["before", "after"]


@pytest.mark.parametrize("busy_s", [0.05])
def test_a_thread_waits_for_another_no_longer_than_for_a_process(ledger: Ledger) -> None:
    found: list[StateUnusable] = []

    def other() -> None:
        with pytest.raises(StateUnusable, match="another process has been writing to it") as caught:
            ledger.entries()
        found.append(caught.value)

    with ledger.database.transaction():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(found) == 1
    assert ledger.entries() == []


def test_what_fails_in_the_middle_is_not_done_at_all(ledger: Ledger) -> None:
    begin(ledger, "before")

    def keys() -> Iterator[int]:
        yield 1
        raise KeyError

    with pytest.raises(KeyError):
        ledger.drop(keys())
    assert contents(path_of(ledger)) == ["before"]
    assert [entry.content for entry in ledger.entries()] == ["before"]


KILLED = """
import os, sqlite3, sys

db = sqlite3.connect(sys.argv[1])
db.execute("PRAGMA journal_mode = WAL")
db.execute("UPDATE creates SET content = 'in the log', body = 'in the log'")
db.commit()
os._exit(0)
"""


def test_a_ledger_with_a_write_ahead_log_of_an_earlier_version_loses_nothing(ledger: Ledger) -> None:
    begin(ledger, "before")
    ledger.database.close()
    subprocess.run([sys.executable, "-c", KILLED, path_of(ledger)], check=True)
    assert path_of(ledger).with_name("ledger.sqlite-wal").stat().st_size > 0
    begin(ledger, "after")
    assert not path_of(ledger).with_name("ledger.sqlite-wal").exists()
    assert contents(path_of(ledger)) == ["in the log", "after"]


def test_an_earlier_version_that_runs_beside_turns_its_log_on_and_nothing_is_lost(ledger: Ledger) -> None:
    begin(ledger, "before")
    subprocess.run([sys.executable, "-c", KILLED, path_of(ledger)], check=True)
    begin(ledger, "after")
    assert contents(path_of(ledger)) == ["in the log", "after"]
    assert [entry.content for entry in ledger.entries()] == ["after", "in the log"]
    assert not path_of(ledger).with_name("ledger.sqlite-wal").exists()


def test_whoever_looks_into_a_ledger_with_a_log_is_in_nobodys_way(ledger: Ledger) -> None:
    begin(ledger, "before")
    with closing(sqlite3.connect(path_of(ledger))) as other:
        other.execute("PRAGMA journal_mode = WAL")
        for content in ("one", "two"):
            begin(ledger, content)
        assert other.execute("SELECT count(*) FROM creates").fetchone() == (3,)
        assert contents(path_of(ledger)) == ["before", "one", "two"]
    begin(ledger, "after")
    assert not path_of(ledger).with_name("ledger.sqlite-wal").exists()


FORKING = """
import os, sys
from pathlib import Path
from batches_mcp.store.database import Database
from batches_mcp.store.ledger import Ledger
from tests.unit.store.test_database import IN_PROGRESS, begin

ledger = Ledger(Database(Path(sys.argv[1])))
begin(ledger, "parent")
inherited = ledger.database._db
assert ledger.looked([IN_PROGRESS]) is not None
child = os.fork()
if child == 0:
    begin(ledger, "child")
    assert ledger.database._db is not inherited
    assert ledger.looked([IN_PROGRESS]) is not None
    inherited.execute("SELECT 1")  # not closed
    ledger.database.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
begin(ledger, "parent again")
assert ledger.database._db is inherited
assert ledger.looked([IN_PROGRESS]) is not None
ledger.database.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_forked_process_has_a_connection_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    subprocess.run([sys.executable, "-c", FORKING, path], check=True, cwd=Path(__file__).parents[3])
    assert contents(path) == ["parent", "child", "parent again"]


IN_PROGRESS = Batch.of({"id": "b1", "processing_status": "in_progress"})
ENDED = Batch.of({"id": "b1", "processing_status": "ended"})


def made(ledger: Ledger) -> None:
    begin(ledger, "content")
    ledger.accepted(ledger.entries()[0].key, IN_PROGRESS)


def test_a_look_tells_what_another_process_wrote_and_leaves_what_is_new_to_who_may_wait(ledger: Ledger) -> None:
    assert ledger.looked([IN_PROGRESS]) is None
    made(ledger)
    assert ledger.looked([IN_PROGRESS, Batch.of({"id": "unknown"})]) == ledger.saw([IN_PROGRESS])
    assert ledger.looked([ENDED]) is None
    with closing(Database(path_of(ledger))) as other:
        Ledger(other).saw([ENDED])
        Ledger(other).cost("b1", 2.0)
    looked = ledger.looked([ENDED])
    assert looked is not None
    assert looked.known["b1"].cost_usd == 2.0


def test_a_look_waits_for_nobody(ledger: Ledger) -> None:
    made(ledger)
    with closing(sqlite3.connect(path_of(ledger), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert ledger.looked([IN_PROGRESS]) is None
        other.execute("ROLLBACK")
    assert ledger.looked([IN_PROGRESS]) is not None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows moves no file that is open")
def test_a_look_is_at_the_file_that_is_there(ledger: Ledger, tmp_path: Path) -> None:
    made(ledger)
    assert ledger.looked([IN_PROGRESS]) is not None
    away = tmp_path / "away.sqlite"
    shutil.move(path_of(ledger), away)
    assert ledger.looked([IN_PROGRESS]) is None
    begin(ledger, "another")
    found = ledger.looked([IN_PROGRESS])
    assert found is not None
    assert found.known == {}
    shutil.move(away, path_of(ledger))
    assert ledger.looked([IN_PROGRESS]) == ledger.saw([IN_PROGRESS])
    path_of(ledger).write_bytes(b"damaged" * 1_000)
    assert ledger.looked([IN_PROGRESS]) is None
