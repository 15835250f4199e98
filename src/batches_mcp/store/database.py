"""The file that a ledger is kept in: its table, transactions on it, and what its errors mean."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from batches_mcp.core.errors import ErrorReport, Retry, StateUnusable
from batches_mcp.core.limits import LIMITS
from batches_mcp.core.state import state_unusable, unusable
from batches_mcp.store.entry import DAY_S, Entry, State
from batches_mcp.store.looks import OF_PARENTS, Found, Looks, identity
from batches_mcp.store.team_tables import IN_A_FILE, JOBS_IN_A_FILE

_PAUSE_S = 0.02
_VERSION = 5

_COLUMNS = ", ".join(field.name for field in fields(Entry))
SCHEMA = """
CREATE TABLE creates (
  key INTEGER PRIMARY KEY, content TEXT NOT NULL, body TEXT NOT NULL, rows INTEGER NOT NULL,
  body_bytes INTEGER NOT NULL, source TEXT, label TEXT, part INTEGER, parts INTEGER, source_hash TEXT, parent TEXT,
  betas TEXT NOT NULL, estimate_usd DOUBLE PRECISION, state TEXT NOT NULL, owner TEXT,
  started_s DOUBLE PRECISION NOT NULL, since_s DOUBLE PRECISION NOT NULL, newest_id TEXT, sent_s DOUBLE PRECISION,
  batch_id TEXT, batch TEXT, cost_usd DOUBLE PRECISION, principal TEXT, client TEXT, team TEXT,
  told BOOLEAN NOT NULL DEFAULT FALSE, deleted BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE INDEX creates_content ON creates (content);
CREATE INDEX creates_body ON creates (body);
CREATE INDEX creates_batch_id ON creates (batch_id)
"""
# In version 1 a content was the name of its copy, and a batch that was adopted unseen stood as adopted.
_FROM_1 = f"""
ALTER TABLE creates RENAME TO creates_1;
DROP INDEX creates_content;
DROP INDEX creates_batch_id;
{SCHEMA};
INSERT INTO creates (key, content, body, rows, body_bytes, source, label, part, parent, betas, estimate_usd, state,
  owner, started_s, since_s, sent_s, batch_id, batch, cost_usd, told, deleted)
  SELECT key, content, content, rows, body_bytes, source, label, part, parent, betas, estimate_usd,
  CASE WHEN state = '{State.SENDING}' OR (state = '{State.ADOPTED}' AND NOT confirmed) THEN '{State.AMBIGUOUS}'
  ELSE state END, owner, started_s, coalesce(since_s, started_s - {DAY_S}), started_s, batch_id, batch, cost_usd, told,
  deleted FROM creates_1;
DROP TABLE creates_1
"""  # noqa: S608 - our own text
_FROM_2 = """
ALTER TABLE creates ADD COLUMN principal TEXT;
ALTER TABLE creates ADD COLUMN client TEXT;
ALTER TABLE creates ADD COLUMN team TEXT
"""
_UPGRADES = {
    version: f"{tables};{JOBS_IN_A_FILE}"
    for version, tables in {
        0: f"{SCHEMA};{IN_A_FILE}",
        1: f"{_FROM_1};{IN_A_FILE}",
        2: f"{_FROM_2};{IN_A_FILE}",
        3: IN_A_FILE,
        4: "SELECT 1",
    }.items()
}


class Database:
    """The file of a ledger, and one connection to it: opened when first needed, kept, and used by one thread at a time.

    A connection that had any trouble is not kept, nor one to a file that is no longer the one at `path`, or that has a
    write-ahead log.
    """

    def __init__(self, path: Path, busy_s: float = LIMITS.busy_s) -> None:
        self.path, self._busy_s = path, busy_s
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._turn = threading.Lock()
        self._process = os.getpid()
        self._looks = Looks(path)

    @property
    def name(self) -> str:
        return str(self.path)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction on the file, which is made if need be; what is done in it is done wholly or not at all.

        Raises:
            StateUnusable: the file cannot be used.
        """
        try:
            with self._alone():
                try:
                    db = self._begin()
                    _upgrade(db, self.path)
                    yield db
                    db.execute("COMMIT")
                    if db.execute("PRAGMA journal_mode").fetchone() == ("wal",):
                        self._disconnect()
                except BaseException:
                    self._disconnect()
                    raise
        except sqlite3.Error as error:
            raise _unusable(self.path, self._busy_s, _code(error), str(error)) from error
        except OSError as error:
            raise unusable(self.path, error) from error

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """As `transaction`: in this file whoever reads keeps the others from writing anyway."""
        return self.transaction()

    def look(self, read: Callable[[sqlite3.Connection], Found]) -> Found | None:
        """What `read` finds without waiting, for the event loop; None when that takes waiting."""
        return self._looks.look(_VERSION, read)

    def close(self) -> None:
        """Let go of the file; the next transaction opens it anew."""
        self._looks.close()
        with self._alone():
            self._disconnect()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While no other thread has its turn."""
        if self._process != os.getpid():
            OF_PARENTS.append(self._db)
            self._db, self._turn, self._process = None, threading.Lock(), os.getpid()
        if not self._turn.acquire(timeout=self._busy_s):
            raise _unusable(self.path, self._busy_s, sqlite3.SQLITE_BUSY)
        try:
            yield
        finally:
            self._turn.release()

    def _begin(self) -> sqlite3.Connection:
        """The connection, with a transaction begun."""
        # SQLite does not wait when another process is just opening or leaving the file: so we do.
        deadline_s = time.monotonic() + self._busy_s
        while True:
            try:
                db = self._connected()
                db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                self._disconnect()
                if not _is_busy(_code(error)) or time.monotonic() > deadline_s:
                    raise
                time.sleep(_PAUSE_S)
                continue
            if self._file == identity(self.path):
                return db
            # It was moved away or removed: nobody would ever see what is written to it.
            self._disconnect()
            if time.monotonic() > deadline_s:
                raise OSError("it is replaced again and again")

    def _connected(self) -> sqlite3.Connection:
        if self._db is None:
            if not self.path.exists():
                self.path.touch(0o600)
            self._file = identity(self.path)
            self._db = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
            # Every transaction writes or may, so that a write-ahead log would let nobody read meanwhile; and it would
            # keep what was written out of the file, which can be copied or moved away as long as we are connected.
            with suppress(sqlite3.OperationalError):  # an earlier version has the file open, which turns it on
                self._db.execute("PRAGMA journal_mode = TRUNCATE")
            self._db.execute(f"PRAGMA busy_timeout = {self._busy_s * 1_000:.0f}")
            # A create that was paid must not be forgotten, not even when the power fails.
            self._db.execute("PRAGMA synchronous = FULL")
        return self._db

    def _disconnect(self) -> None:
        """Close the connection, which ends its transaction with nothing done."""
        db, self._db = self._db, None
        if db is not None:
            db.close()


def insert(db: sqlite3.Connection, **values: Any) -> Entry:
    """A new row, whose key is the next after those there are: nobody else writes meanwhile."""
    [(key,)] = db.execute("SELECT coalesce(max(key), 0) + 1 FROM creates")
    columns, marks = ", ".join(values), ", ?" * len(values)
    db.execute(f"INSERT INTO creates (key, {columns}) VALUES (?{marks})", (key, *values.values()))  # noqa: S608 - our own names
    [entry] = select(db, "key = ?", key)
    return entry


def update(db: sqlite3.Connection, key: int, **values: Any) -> None:
    changes = ", ".join(f"{name} = ?" for name in values)
    db.execute(f"UPDATE creates SET {changes} WHERE key = ?", (*values.values(), key))  # noqa: S608 - our own names


def select(db: sqlite3.Connection, condition: str, *values: Any) -> list[Entry]:
    cursor = db.execute(f"SELECT {_COLUMNS} FROM creates WHERE {condition}", values)  # noqa: S608 - our own text
    return [_entry(dict(zip((each[0] for each in cursor.description), row, strict=True))) for row in cursor]


def _entry(row: dict[str, Any]) -> Entry:
    flags = {name: bool(row[name]) for name in ("told", "deleted")}
    return Entry(**{**row, **flags, "state": State(row["state"])})


def _upgrade(db: sqlite3.Connection, path: Path) -> None:
    """Make the table where there is none, or bring it to this version.

    Raises:
        StateUnusable: a later version of this program made it.
    """
    [(version,)] = db.execute("PRAGMA user_version")
    if version in _UPGRADES:
        for statement in _UPGRADES[version].split(";"):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {_VERSION}")
    elif version != _VERSION:
        message = f"the ledger {path} was made by a later version of batches-mcp, so nothing was sent."
        next_step = "Tell the user to use that version, or another --state-dir."
        at_shell = "Use that version, or another --state-dir."
        raise StateUnusable(ErrorReport("state_unusable", message, next_step, at_shell=at_shell))


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 for an error that is not SQLite's own."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _is_busy(code: int) -> bool:
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _unusable(path: Path, busy_s: float, code: int, found: str = "") -> StateUnusable:
    """The error for one of SQLite's, of which `found` is the text."""
    message = f"the ledger {path} cannot be used"
    match code:
        case sqlite3.SQLITE_FULL:
            return state_unusable(f"{message}: there is no room left.")
        case _ if _is_busy(code):
            report = ErrorReport(
                "state_unusable",
                f"{message}: another process has been writing to it for {busy_s:g} s.",
                "Wait a little, then call again.",
                Retry.HELPS,
                at_shell="Wait a little, then give the same command again.",
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            away = (
                "that file away; what it held is then unknown here, so that batches of the last days must be looked up "
                "in the list before anything is sent again."
            )
            report = ErrorReport(
                "state_unusable",
                f"{message}: the file is damaged.",
                f"Tell the user to move {away}",
                at_shell=f"Move {away}",
            )
        case _:
            return state_unusable(f"{message}: {found}.")
    return StateUnusable(report)
