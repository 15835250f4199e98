"""The one door to the state: batches and their requests.

Instants are microseconds since 1970-01-01 UTC. Requests are stored as they were sent, so that results are made while
they are read. Methods that write, or that touch many requests, may take seconds: call them in worker threads.
"""

import json
import sqlite3
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from enum import Enum, auto
from pathlib import Path
from typing import Any

from batches_mcp.sandbox.lifecycle import Batch, Counts, Ending, Fate, Terms, Work
from batches_mcp.sandbox.statefile import KEYS_PER_BATCH, StateFile

__all__ = ["Absence", "Store"]

_COLUMNS = (
    "number, id, tenant, created_us, process_us, total, version, betas, user_profile, ends_us, cut_us, rest, "
    "succeeded, errored, canceled, expired, cancel_initiated_us, archived_early_us"
)


class Absence(Enum):
    """Why a tenant has no batch of an id."""

    UNKNOWN = auto()
    FOREIGN = auto()
    DELETED = auto()


class Store:
    """The state of one sandbox. `open` before use, `close` after; safe to use from several threads."""

    def __init__(self, state: Path | None) -> None:
        """`state`: the file; None for one in a temporary folder, removed by `close`."""
        self._file = StateFile(state)
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()

    def open(self) -> None:
        """StateFileError if the file cannot be used."""
        self._writer, self._reader = self._file.open(_tidy)

    def close(self) -> None:
        with self._write_lock:
            self._file.close()

    def reserve(self) -> int:
        """A number for a batch whose requests are about to be added; never given twice."""
        with self._writing() as db:
            number = db.execute("INSERT INTO intakes DEFAULT VALUES").lastrowid
        assert number is not None  # noqa: S101 - an INSERT into a rowid table always has one
        return number

    def add_requests(self, number: int, first_index: int, requests: list[bytes]) -> None:
        """Store requests of a reserved batch; nobody sees them before `publish`."""
        first_key = number * KEYS_PER_BATCH + first_index
        with self._writing() as db:
            db.executemany("INSERT INTO requests VALUES (?, ?)", enumerate(requests, first_key))

    def publish(self, batch: Batch, work: Work, *, max_queued: int | None = None) -> bool:
        """Make a reserved batch visible; False when its tenant would have more than `max_queued` requests unended."""
        values = _values(batch)
        marks = ", ".join("?" * (len(values) + 2))
        with self._writing() as db:
            if max_queued is not None:
                (queued,) = db.execute(
                    "SELECT coalesce(sum(total), 0) FROM batches WHERE tenant = ? AND ends_us > ?",
                    (batch.tenant, batch.created_us),
                ).fetchone()
                if queued + batch.total > max_queued:
                    return False
            db.execute(
                f"INSERT INTO batches ({_COLUMNS}, fates, slow_us) VALUES ({marks})",  # noqa: S608 - constants
                (*values, work.fates, json.dumps(list(work.slow_us.items()))),
            )
            db.execute("DELETE FROM intakes WHERE number = ?", (batch.number,))
        return True

    def discard(self, number: int) -> None:
        """Drop a reservation and the requests added to it."""
        with self._writing() as db:
            _discard(db, number)

    def find(self, tenant: str, batch_id: str) -> Batch | None:
        """A batch of this tenant: one indexed read, a few microseconds."""
        with self._reading() as db:
            batch = _find(db, batch_id)
        return batch if batch is not None and batch.tenant == tenant else None

    def of_anybody(self, batch_id: str) -> Batch | None:
        """A batch, whoever's it is."""
        with self._reading() as db:
            return _find(db, batch_id)

    def absence(self, tenant: str, batch_id: str) -> Absence:
        """Why `find` found nothing."""
        with self._reading() as db:
            if _find(db, batch_id):
                return Absence.FOREIGN
            deleted = db.execute("SELECT 1 FROM deleted WHERE id = ? AND tenant = ?", (batch_id, tenant)).fetchone()
        return Absence.DELETED if deleted else Absence.UNKNOWN

    def page(self, tenant: str, limit: int, *, after: Batch | None = None, before: Batch | None = None) -> list[Batch]:
        """Up to `limit` batches of this tenant, newest first: those next to `after` (older) or `before` (newer)."""
        cursor, comparison, order = (before, ">", "ASC") if before else (after, "<", "DESC")
        where, values = "", []
        if cursor:
            where, values = f"AND (created_us, number) {comparison} (?, ?)", [cursor.created_us, cursor.number]
        query = (
            f"SELECT {_COLUMNS} FROM batches WHERE tenant = ? {where} "  # noqa: S608 - constants
            f"ORDER BY created_us {order}, number {order} LIMIT ?"
        )
        with self._reading() as db:
            rows = db.execute(query, (tenant, *values, limit)).fetchall()
        batches = [_batch(row) for row in rows]
        return batches[::-1] if before else batches

    def newest(self, limit: int) -> list[Batch]:
        """Batches of all tenants, newest first."""
        query = f"SELECT {_COLUMNS} FROM batches ORDER BY created_us DESC, number DESC LIMIT ?"  # noqa: S608 - constants
        with self._reading() as db:
            rows = db.execute(query, (limit,)).fetchall()
        return [_batch(row) for row in rows]

    def total(self) -> int:
        """How many batches there are."""
        with self._reading() as db:
            (total,) = db.execute("SELECT count(*) FROM batches").fetchone()
        return int(total)

    def work(self, batch: Batch) -> Work:
        """What a batch's requests come to."""
        with self._reading() as db:
            return _work(db, batch)

    def change(
        self, batch_id: str, change: Callable[[Batch, Work], Batch], *, tenant: str | None = None
    ) -> tuple[Batch, Batch] | None:
        """Replace a batch by what `change` makes of it and return (before, after); None if there is no such batch.

        tenant: whose batch it must be; None for anybody's.
        """
        with self._writing() as db:
            before = _find(db, batch_id)
            if before is None or tenant not in (None, before.tenant):
                return None
            after = change(before, _work(db, before))
            columns = ", ".join(f"{column} = ?" for column in _COLUMNS.split(", "))
            db.execute(
                f"UPDATE batches SET {columns} WHERE number = ?",  # noqa: S608 - constants
                (*_values(after), before.number),
            )
        return before, after

    def delete(self, batch: Batch) -> bool:
        """Remove a batch and its requests; False if it is gone already."""
        with self._writing() as db:
            gone = db.execute("DELETE FROM batches WHERE number = ?", (batch.number,)).rowcount == 0
            _drop(db, batch.number)
            db.execute("INSERT OR REPLACE INTO deleted VALUES (?, ?)", (batch.id, batch.tenant))
        return not gone

    def clear(self) -> None:
        """Remove everything but what is arriving.

        Unless something is, numbers begin anew, so that the same calls have the same results.
        """
        with self._writing() as db:
            for (number,) in db.execute("SELECT number FROM batches").fetchall():
                _drop(db, number)
            for table in ("batches", "deleted", "clock"):
                db.execute(f"DELETE FROM {table}")  # noqa: S608 - constants
            db.execute("DELETE FROM sqlite_sequence WHERE NOT EXISTS (SELECT 1 FROM intakes)")

    def leave_at(self, now_us: int) -> None:
        """Remember the time; see `left_us`."""
        with self._writing() as db:
            db.execute("INSERT OR REPLACE INTO clock VALUES (1, ?)", (now_us,))

    def left_us(self) -> int:
        """The last time it was told, or that stands in a batch: time must not be earlier when a state is used again."""
        query = """
            SELECT max(coalesce((SELECT left_us FROM clock), 0), coalesce((SELECT max(created_us) FROM batches), 0),
                       coalesce((SELECT max(cancel_initiated_us) FROM batches), 0))
        """
        with self._reading() as db:
            (left_us,) = db.execute(query).fetchone()
        return int(left_us)

    def requests(self, batch: Batch, indexes: Iterable[int]) -> Generator[tuple[int, bytes]]:
        """(index, request as sent) for each of `indexes`, from a snapshot that a delete does not disturb.

        Holds a connection of its own until it is exhausted or closed; may be advanced from any thread, one at a time.
        """
        first_key = batch.number * KEYS_PER_BATCH
        with closing(self._file.connect()) as db:
            db.execute("BEGIN")
            for index in indexes:
                row = db.execute("SELECT request FROM requests WHERE key = ?", (first_key + index,)).fetchone()
                if row is None:  # Deleted before the snapshot was taken: a cut stream, not one that looks complete.
                    raise LookupError(f"request {index} of {batch.id} is gone")
                yield index, row[0]

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        # Python's statement cache is not made for two threads that run the same statement at once.
        with self._read_lock:
            yield self._reader

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._write_lock:
            self._writer.execute("BEGIN IMMEDIATE")
            # Rolls back on any exception.
            with self._writer:
                yield self._writer


def _tidy(db: sqlite3.Connection) -> None:
    """Drop creates that were cut off by the end of the process."""
    for (number,) in db.execute("SELECT number FROM intakes").fetchall():
        _discard(db, number)


def _discard(db: sqlite3.Connection, number: int) -> None:
    _drop(db, number)
    db.execute("DELETE FROM intakes WHERE number = ?", (number,))


def _drop(db: sqlite3.Connection, number: int) -> None:
    first_key = number * KEYS_PER_BATCH
    db.execute("DELETE FROM requests WHERE key >= ? AND key < ?", (first_key, first_key + KEYS_PER_BATCH))


def _find(db: sqlite3.Connection, batch_id: str) -> Batch | None:
    row = db.execute(f"SELECT {_COLUMNS} FROM batches WHERE id = ?", (batch_id,)).fetchone()  # noqa: S608 - constants
    return None if row is None else _batch(row)


def _work(db: sqlite3.Connection, batch: Batch) -> Work:
    row = db.execute("SELECT fates, slow_us FROM batches WHERE number = ?", (batch.number,)).fetchone()
    return Work(b"", {}) if row is None else Work(row[0], dict(json.loads(row[1])))


def _values(batch: Batch) -> tuple[object, ...]:
    """The columns of a batch, in the order of `_COLUMNS`."""
    ending = batch.ending
    counts = ending.counts
    return (
        *(batch.number, batch.id, batch.tenant, batch.created_us, batch.process_us, batch.total),
        *(batch.terms.version, " ".join(sorted(batch.terms.betas)), batch.terms.user_profile),
        *(ending.at_us, ending.cut_us, ending.rest),
        *(counts.succeeded, counts.errored, counts.canceled, counts.expired),
        *(batch.cancel_initiated_us, batch.archived_early_us),
    )


def _batch(row: tuple[Any, ...]) -> Batch:
    number, batch_id, tenant, created_us, process_us, total, version, betas, user_profile = row[:9]
    ends_us, cut_us, rest, succeeded, errored, canceled, expired, cancel_initiated_us, archived_early_us = row[9:]
    counts = Counts(succeeded, errored, canceled, expired)
    return Batch(
        number=number,
        id=batch_id,
        tenant=tenant,
        created_us=created_us,
        process_us=process_us,
        total=total,
        terms=Terms(version, frozenset(betas.split()), user_profile),
        ending=Ending(ends_us, cut_us, Fate(rest), counts),
        cancel_initiated_us=cancel_initiated_us,
        archived_early_us=archived_early_us,
    )
