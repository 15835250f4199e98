"""The file that a ledger is kept in: its table, transactions on it, and what its errors mean."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from batches_mcp.core.errors import ErrorReport, Retry, StateUnusable
from batches_mcp.core.state import state_unusable, unusable
from batches_mcp.store.entry import Draft, Entry, State

_DAY_S = 86_400.0
# SQLite waits so long for another process's transaction; ours take milliseconds.
_BUSY_S = 10.0
_PAUSE_S = 0.02
_VERSION = 2

_COLUMNS = ", ".join(field.name for field in fields(Entry))
DRAFT_COLUMNS = ", ".join(field.name for field in fields(Draft))
_SCHEMA = f"""
CREATE TABLE creates (
  key INTEGER PRIMARY KEY, content TEXT NOT NULL, body TEXT NOT NULL, rows INTEGER NOT NULL,
  body_bytes INTEGER NOT NULL, source TEXT, label TEXT, part INTEGER, parts INTEGER, source_hash TEXT, parent TEXT,
  betas TEXT NOT NULL, estimate_usd REAL, state TEXT NOT NULL, owner TEXT, started_s REAL NOT NULL,
  since_s REAL NOT NULL, newest_id TEXT, sent_s REAL, batch_id TEXT, batch TEXT, cost_usd REAL,
  told INTEGER NOT NULL DEFAULT 0, deleted INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX creates_content ON creates (content);
CREATE INDEX creates_body ON creates (body);
CREATE INDEX creates_batch_id ON creates (batch_id);
PRAGMA user_version = {_VERSION}
"""
# In version 1 a content was the name of its copy, and a batch that was adopted unseen stood as adopted.
_FROM_1 = f"""
ALTER TABLE creates RENAME TO creates_1;
DROP INDEX creates_content;
DROP INDEX creates_batch_id;
{_SCHEMA};
INSERT INTO creates (key, content, body, rows, body_bytes, source, label, part, parent, betas, estimate_usd, state,
  owner, started_s, since_s, sent_s, batch_id, batch, cost_usd, told, deleted)
  SELECT key, content, content, rows, body_bytes, source, label, part, parent, betas, estimate_usd,
  CASE WHEN state = '{State.SENDING}' OR (state = '{State.ADOPTED}' AND NOT confirmed) THEN '{State.AMBIGUOUS}'
  ELSE state END, owner, started_s, coalesce(since_s, started_s - {_DAY_S}), started_s, batch_id, batch, cost_usd, told,
  deleted FROM creates_1;
DROP TABLE creates_1
"""  # noqa: S608 - our own text


@contextmanager
def transaction(path: Path) -> Iterator[sqlite3.Connection]:
    """A transaction on the file at `path`, which is made if need be; what is done in it is done wholly or not at all.

    Raises:
        StateUnusable: the file cannot be used.
    """
    try:
        with closing(_begin(path)) as db:
            _upgrade(db, path)
            yield db
            db.execute("COMMIT")
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
    except OSError as error:
        raise unusable(path, error) from error


def _begin(path: Path) -> sqlite3.Connection:
    """A connection with a transaction begun."""
    if not path.exists():
        path.touch(0o600)
    # SQLite does not wait when another process is just opening or leaving the file: so we do.
    deadline_s = time.monotonic() + _BUSY_S
    while True:
        db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            # A create that was paid must not be forgotten, not even when the power fails.
            db.execute("PRAGMA synchronous = FULL")
            db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            db.close()
            if not _is_busy(error) or time.monotonic() > deadline_s:
                raise
            time.sleep(_PAUSE_S)
        except BaseException:
            db.close()
            raise
        else:
            return db


def update(db: sqlite3.Connection, key: int, **values: Any) -> None:
    changes = ", ".join(f"{name} = :{name}" for name in values)
    db.execute(f"UPDATE creates SET {changes} WHERE key = :key", {**values, "key": key})  # noqa: S608 - our own names


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
    if version in (0, 1):
        for statement in (_FROM_1 if version else _SCHEMA).split(";"):
            db.execute(statement)
    elif version != _VERSION:
        message = f"the ledger {path} was made by a later version of batches-mcp, so nothing was sent."
        next_step = "Tell the user to use that version, or another --state-dir."
        at_shell = "Use that version, or another --state-dir."
        raise StateUnusable(ErrorReport("state_unusable", message, next_step, at_shell=at_shell))


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 for an error that is not SQLite's own."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _is_busy(error: sqlite3.Error) -> bool:
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _unusable(path: Path, error: sqlite3.Error) -> StateUnusable:
    message = f"the ledger {path} cannot be used"
    match _code(error):
        case sqlite3.SQLITE_FULL:
            return state_unusable(f"{message}: there is no room left.")
        case _ if _is_busy(error):
            report = ErrorReport(
                "state_unusable",
                f"{message}: another process has been writing to it for {_BUSY_S:g} s.",
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
            return state_unusable(f"{message}: {error}.")
    return StateUnusable(report)
