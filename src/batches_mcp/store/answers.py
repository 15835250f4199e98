"""Which rows of an account have an answer, by what they asked: so that nothing is paid a second time.

One SQLite file beside the ledger, shared by processes. It holds no answers, only where they are: in which batch, and
under which custom_id. What asks the same several times has as many answers, and each is given to one row of an input.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from batches_mcp.api.batch import RESULTS_KEPT_S
from batches_mcp.api.body import Frame
from batches_mcp.core.state import state_unusable, unusable

ANSWERS = "answers.sqlite"
# SQLite waits so long for another process's transaction.
_BUSY_S = 10.0
_DIGEST_BYTES = 16
# A job that takes an answer may read it as late as this after it began: a batch takes up to a day.
_MARGIN_S = 2 * 86_400.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS batches (number INTEGER PRIMARY KEY, batch_id TEXT NOT NULL UNIQUE, created_s REAL NOT NULL);
CREATE TABLE IF NOT EXISTS answers (
  number INTEGER PRIMARY KEY, digest BLOB NOT NULL, batch INTEGER NOT NULL, custom_id TEXT NOT NULL, stop_reason TEXT
);
CREATE INDEX IF NOT EXISTS answers_digest ON answers (digest);
CREATE INDEX IF NOT EXISTS answers_batch ON answers (batch)
"""
# The latest answer that no row of this input has been given yet.
_NEXT = """
SELECT answers.number, batch_id, custom_id, stop_reason FROM answers JOIN batches ON batches.number = batch
WHERE digest = :digest AND created_s > :since_s
AND answers.number < coalesce((SELECT number FROM temp.given WHERE digest = :digest), :most)
ORDER BY answers.number DESC LIMIT 1
"""
_MOST = 2**63 - 1


class Answered(NamedTuple):
    """Where the answer to a row is."""

    batch_id: str
    custom_id: str


class _Asked(msgspec.Struct, gc=False):
    custom_id: str
    params: Any


_asked = msgspec.json.Decoder(_Asked).decode
_sorted = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True, slots=True)
class Digests:
    """What stands for the params of a row, in creates that send the same around their requests."""

    around: bytes

    @classmethod
    def of(cls, around: Frame) -> Digests:
        betas = ",".join(sorted({beta.strip() for beta in around.beta.split(",")}))
        parts = (around.version.encode(), betas.encode(), around.opening, around.closing)
        return cls(b"\0".join(hashlib.sha256(part).digest() for part in parts))

    def of_row(self, row: bytes) -> tuple[str, bytes] | None:
        """The custom_id of a request and the digest of its params; None for one that msgspec cannot read."""
        try:
            asked = _asked(row)
            return asked.custom_id, hashlib.sha256(self.around + _sorted(asked.params)).digest()[:_DIGEST_BYTES]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None


@dataclass(frozen=True, slots=True)
class Answers:
    """The file of an account. Every method raises StateUnusable when the file cannot be used."""

    path: Path

    def has(self, batch_id: str) -> bool:
        """Whether the answers of a batch were noted."""
        with self._opened() as db:
            return bool(db.execute("SELECT 1 FROM batches WHERE batch_id = ?", (batch_id,)).fetchall())

    def note(self, batch_id: str, created_s: float, answers: Iterable[tuple[bytes, str, str | None]]) -> None:
        """Note the answers of a batch: for each the digest, the custom_id and the stop_reason, the last one first."""
        with self._opened() as db:
            db.execute("BEGIN IMMEDIATE")
            insert = "INSERT OR IGNORE INTO batches (batch_id, created_s) VALUES (?, ?)"
            added = db.execute(insert, (batch_id, created_s))
            if added.rowcount:
                rows = ((added.lastrowid, *answer) for answer in answers)
                db.executemany("INSERT INTO answers (batch, digest, custom_id, stop_reason) VALUES (?, ?, ?, ?)", rows)
            db.execute("COMMIT")

    def forget(self, batch_id: str) -> None:
        """The results of a batch are gone."""
        self._forget("batch_id = ?", batch_id)

    def tidy(self, now_s: float) -> None:
        """Drop the answers that the API no longer keeps at `now_s` (Unix time)."""
        self._forget("created_s < ?", now_s - RESULTS_KEPT_S)

    @contextmanager
    def given(self, now_s: float) -> Iterator[Given]:
        """The answers there are, to be given to the rows of one input; those that are soon gone are left out."""
        with self._opened() as db:
            db.execute("CREATE TEMP TABLE given (digest BLOB PRIMARY KEY, number INTEGER NOT NULL)")
            db.execute("BEGIN")
            yield Given(db, now_s - RESULTS_KEPT_S + _MARGIN_S)
            db.execute("ROLLBACK")

    def _forget(self, which: str, value: str | float) -> None:
        if not self.path.exists():
            return
        with self._opened() as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute(f"DELETE FROM answers WHERE batch IN (SELECT number FROM batches WHERE {which})", (value,))  # noqa: S608
            db.execute(f"DELETE FROM batches WHERE {which}", (value,))  # noqa: S608
            db.execute("COMMIT")

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            if not self.path.exists():
                self.path.touch(0o600)
            with closing(sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)) as db:
                db.execute("PRAGMA journal_mode = WAL")
                if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'answers_batch'").fetchall():
                    for statement in _SCHEMA.split(";"):
                        db.execute(statement)
                yield db
        except sqlite3.Error as error:
            raise state_unusable(
                f"{self.path}, which tells the rows that were answered before, cannot be used: {error}."
            ) from error
        except OSError as error:
            raise unusable(self.path, error) from error


@dataclass(frozen=True, slots=True)
class Given:
    """The answers of an account while one input is read; none is given twice."""

    db: sqlite3.Connection
    since_s: float

    def next(self, digest: bytes, unwanted: Collection[str], without: Collection[str]) -> Answered | None:
        """An answer to what has this digest, in none of the `unwanted` batches, and not with a stop_reason `without`.

        None when there is none, or none any more.
        """
        query = {"digest": digest, "since_s": self.since_s, "most": _MOST}
        while found := self.db.execute(_NEXT, query).fetchone():
            number, batch_id, custom_id, stop_reason = found
            self.db.execute("INSERT OR REPLACE INTO temp.given VALUES (?, ?)", (digest, number))
            if batch_id not in unwanted and stop_reason not in without:
                return Answered(batch_id, custom_id)
        return None
