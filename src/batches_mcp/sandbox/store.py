"""The one door to SQLite: batches and their requests, in one file.

Instants are microseconds since 1970-01-01 UTC. Requests are stored as they were sent, so that results are made while
they are read. Methods that write, or that touch many requests, may take seconds: call them in worker threads.
"""

import sqlite3
import tempfile
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from batches_mcp.sandbox import lifecycle
from batches_mcp.sandbox.lifecycle import Batch, Counts, Ending, Fate, Terms

__all__ = ["StateFileError", "Store"]

# Marks the file as ours, and its layout.
_APPLICATION_ID = 0x6D626174
_LAYOUT = 1
# The keys of a batch's requests are its number times this, plus their index: more than a batch can have (100,000).
_KEYS_PER_BATCH = 1 << 20

_SCHEMA = f"""
BEGIN;
CREATE TABLE intakes (number INTEGER PRIMARY KEY AUTOINCREMENT);
CREATE TABLE batches (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL,
    created_us INTEGER NOT NULL, process_us INTEGER NOT NULL, total INTEGER NOT NULL,
    version TEXT NOT NULL, betas TEXT NOT NULL, user_profile TEXT,
    ends_us INTEGER NOT NULL, processed INTEGER NOT NULL, rest INTEGER NOT NULL,
    succeeded INTEGER NOT NULL, errored INTEGER NOT NULL, canceled INTEGER NOT NULL, expired INTEGER NOT NULL,
    cancel_initiated_us INTEGER, fates BLOB NOT NULL
);
CREATE INDEX newest ON batches (tenant, created_us, number);
CREATE TABLE requests (key INTEGER PRIMARY KEY, request BLOB NOT NULL);
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_LAYOUT};
COMMIT;
"""

_COLUMNS = (
    "number, id, tenant, created_us, process_us, total, version, betas, user_profile, "
    "ends_us, processed, rest, succeeded, errored, canceled, expired, cancel_initiated_us"
)


class StateFileError(Exception):
    """The state file cannot be used: not a sandbox's, of another layout, or not writable."""


class Store:
    """The state of one sandbox. `open` before use, `close` after; safe to use from several threads."""

    def __init__(self, state: Path | None) -> None:
        """`state`: the file; None for one in a temporary folder, removed by `close`."""
        self._state = state
        self._resources = ExitStack()
        self._write_lock = threading.Lock()

    def open(self) -> None:
        """StateFileError if the file cannot be used."""
        with ExitStack() as resources:
            if self._state is None:
                folder = resources.enter_context(tempfile.TemporaryDirectory(prefix="batches-sandbox-"))
                self._path = Path(folder, "state.sqlite")
            else:
                self._path = self._state
            try:
                self._path.touch(mode=0o600)
                self._writer = resources.enter_context(closing(self._connect()))
                self._prepare()
                self._reader = resources.enter_context(closing(self._connect()))
            except (OSError, sqlite3.Error) as error:
                raise StateFileError(f"{self._path}: {error}") from error
            self._resources = resources.pop_all()

    def close(self) -> None:
        with self._write_lock:
            self._resources.close()

    def reserve(self) -> int:
        """A number for a batch whose requests are about to be added; never given twice."""
        with self._writing() as db:
            number = db.execute("INSERT INTO intakes DEFAULT VALUES").lastrowid
        assert number is not None  # noqa: S101 - an INSERT into a rowid table always has one
        return number

    def add_requests(self, number: int, first_index: int, requests: list[bytes]) -> None:
        """Store requests of a reserved batch; nobody sees them before `publish`."""
        first_key = number * _KEYS_PER_BATCH + first_index
        with self._writing() as db:
            db.executemany("INSERT INTO requests VALUES (?, ?)", enumerate(requests, first_key))

    def publish(self, batch: Batch, fates: bytes) -> None:
        """Make a reserved batch and its requests visible."""
        ending = batch.ending
        counts = ending.counts
        values = (
            *(batch.number, batch.id, batch.tenant, batch.created_us, batch.process_us, batch.total),
            *(batch.terms.version, " ".join(sorted(batch.terms.betas)), batch.terms.user_profile),
            *(ending.at_us, ending.processed, ending.rest),
            *(counts.succeeded, counts.errored, counts.canceled, counts.expired),
            *(batch.cancel_initiated_us, fates),
        )
        with self._writing() as db:
            db.execute(
                f"INSERT INTO batches ({_COLUMNS}, fates) VALUES ({', '.join('?' * len(values))})",  # noqa: S608 - constants
                values,
            )
            db.execute("DELETE FROM intakes WHERE number = ?", (batch.number,))

    def discard(self, number: int) -> None:
        """Drop a reservation and the requests added to it."""
        with self._writing() as db:
            _drop(db, number)
            db.execute("DELETE FROM intakes WHERE number = ?", (number,))

    def find(self, tenant: str, batch_id: str) -> Batch | None:
        """A batch of this tenant: one indexed read, a few microseconds."""
        return _find(self._reader, tenant, batch_id)

    def page(self, tenant: str, limit: int, *, after: Batch | None = None, before: Batch | None = None) -> list[Batch]:
        """Up to `limit` batches of this tenant, newest first: those next to `after` (older) or `before` (newer)."""
        cursor, comparison, order = (before, ">", "ASC") if before else (after, "<", "DESC")
        where, values = "", []
        if cursor:
            where, values = f"AND (created_us, number) {comparison} (?, ?)", [cursor.created_us, cursor.number]
        rows = self._reader.execute(
            f"SELECT {_COLUMNS} FROM batches WHERE tenant = ? {where} "  # noqa: S608 - constants
            f"ORDER BY created_us {order}, number {order} LIMIT ?",
            (tenant, *values, limit),
        ).fetchall()
        batches = [_batch(row) for row in rows]
        return batches[::-1] if before else batches

    def cancel(self, tenant: str, batch_id: str, now_us: int) -> Batch | None:
        """Do to a batch what `lifecycle.cancel` does and return it; None if this tenant has no such batch."""
        with self._writing() as db:
            batch = _find(db, tenant, batch_id)
            if batch is None:
                return None
            (fates,) = db.execute("SELECT fates FROM batches WHERE number = ?", (batch.number,)).fetchone()
            canceled = lifecycle.cancel(batch, fates, now_us)
            ending = canceled.ending
            counts = ending.counts
            db.execute(
                "UPDATE batches SET ends_us = ?, processed = ?, rest = ?, succeeded = ?, errored = ?, canceled = ?, "
                "expired = ?, cancel_initiated_us = ? WHERE number = ?",
                (
                    *(ending.at_us, ending.processed, ending.rest),
                    *(counts.succeeded, counts.errored, counts.canceled, counts.expired),
                    *(canceled.cancel_initiated_us, canceled.number),
                ),
            )
            return canceled

    def delete(self, batch: Batch) -> bool:
        """Remove a batch and its requests; False if it is gone already."""
        with self._writing() as db:
            gone = db.execute("DELETE FROM batches WHERE number = ?", (batch.number,)).rowcount == 0
            _drop(db, batch.number)
        return not gone

    def requests(self, batch: Batch, indexes: Iterable[int]) -> Generator[tuple[int, bytes]]:
        """(index, request as sent) for each of `indexes`, from a snapshot that a delete does not disturb.

        Holds a connection of its own until it is exhausted or closed; may be advanced from any thread, one at a time.
        """
        first_key = batch.number * _KEYS_PER_BATCH
        with closing(self._connect()) as db:
            db.execute("BEGIN")
            for index in indexes:
                row = db.execute("SELECT request FROM requests WHERE key = ?", (first_key + index,)).fetchone()
                if row is None:  # Deleted before the snapshot was taken: a cut stream, not one that looks complete.
                    raise LookupError(f"request {index} of {batch.id} is gone")
                yield index, row[0]

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            # A sandbox's state may lose its last moments with the machine, not be damaged: WAL needs no more than this.
            db.execute(f"PRAGMA synchronous = {'OFF' if self._state is None else 'NORMAL'}")
        except sqlite3.Error:
            db.close()
            raise
        return db

    def _prepare(self) -> None:
        db = self._writer
        (application_id,) = db.execute("PRAGMA application_id").fetchone()
        (layout,) = db.execute("PRAGMA user_version").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not tables:
            db.executescript(_SCHEMA)
        elif (application_id, layout) != (_APPLICATION_ID, _LAYOUT):
            raise StateFileError(f"{self._path}: not a state file of this version of the sandbox")
        db.execute("PRAGMA journal_mode = WAL")
        # Creates that were cut off by the end of the process.
        for (number,) in db.execute("SELECT number FROM intakes").fetchall():
            self.discard(number)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._write_lock:
            self._writer.execute("BEGIN IMMEDIATE")
            # Rolls back on any exception.
            with self._writer:
                yield self._writer


def _find(db: sqlite3.Connection, tenant: str, batch_id: str) -> Batch | None:
    query = f"SELECT {_COLUMNS} FROM batches WHERE id = ? AND tenant = ?"  # noqa: S608 - constants
    row = db.execute(query, (batch_id, tenant)).fetchone()
    return None if row is None else _batch(row)


def _drop(db: sqlite3.Connection, number: int) -> None:
    first_key = number * _KEYS_PER_BATCH
    db.execute("DELETE FROM requests WHERE key >= ? AND key < ?", (first_key, first_key + _KEYS_PER_BATCH))


def _batch(row: tuple[Any, ...]) -> Batch:
    number, batch_id, tenant, created_us, process_us, total, version, betas, user_profile = row[:9]
    ends_us, processed, rest, succeeded, errored, canceled, expired, cancel_initiated_us = row[9:]
    counts = Counts(succeeded, errored, canceled, expired)
    return Batch(
        number=number,
        id=batch_id,
        tenant=tenant,
        created_us=created_us,
        process_us=process_us,
        total=total,
        terms=Terms(version, frozenset(betas.split()), user_profile),
        ending=Ending(ends_us, processed, Fate(rest), counts),
        cancel_initiated_us=cancel_initiated_us,
    )
