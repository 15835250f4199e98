"""The ledger of an account: every create that was begun, and what became of it. One SQLite file, shared by processes.

The row of a create is its lock as well: whoever wrote it, or took it over from a process that died, is its `owner`, and
alone may send it or look for its batch. All writing is in short transactions, each done wholly or not at all.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from batches_mcp import result
from batches_mcp.batch.create.entry import KEPT_DAYS, Begun, Busy, Claim, Draft, Entry, Made, OverCap, State, Unsettled
from batches_mcp.errors import ErrorReport, Retry, StateUnusable
from batches_mcp.state import unusable

_DAY_S = 86_400.0
# The same content within this time is taken for a mistake, and costs within it count against the cap.
_RECENT_S = _DAY_S
# SQLite waits so long for another process's transaction; ours take milliseconds.
_BUSY_S = 10.0
_PAUSE_S = 0.02
_VERSION = 1


_UNSETTLED = f"state IN ('{State.SENDING}', '{State.AMBIGUOUS}')"
_MADE = f"state IN ('{State.ACCEPTED}', '{State.ADOPTED}')"
_WANTED = f"NOT deleted AND ({_MADE} OR {_UNSETTLED})"


_COLUMNS = ", ".join(field.name for field in fields(Entry))
_DRAFT = ", ".join(field.name for field in fields(Draft))
_SCHEMA = f"""
CREATE TABLE creates (
  key INTEGER PRIMARY KEY, content TEXT NOT NULL, rows INTEGER NOT NULL, body_bytes INTEGER NOT NULL,
  source TEXT, label TEXT, part INTEGER, parent TEXT, betas TEXT NOT NULL, estimate_usd REAL,
  state TEXT NOT NULL, owner TEXT, started_s REAL NOT NULL, since_s REAL,
  batch_id TEXT, batch TEXT, cost_usd REAL,
  confirmed INTEGER NOT NULL DEFAULT 0, told INTEGER NOT NULL DEFAULT 0, deleted INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX creates_content ON creates (content);
CREATE INDEX creates_batch_id ON creates (batch_id);
PRAGMA user_version = {_VERSION};
"""


@dataclass(frozen=True, slots=True)
class Ledger:
    """One ledger file. Every method is one transaction, and raises StateUnusable when the file cannot be used."""

    path: Path

    def claim(
        self,
        draft: Draft,
        owner: str,
        now_s: float,
        alive: Callable[[str], bool],
        *,
        again: bool = False,
        attach: bool = False,
        looked: frozenset[int] = frozenset(),
        cap_usd: float | None = None,
    ) -> Claim:
        """Begin a create, unless something stands against it.

        A retry is not the same as its parent, nor as what came before that, even if it is of all the parent's requests.
        To `attach` is to take the batch there is of the same content and parent, however old, if it was not deleted.
        `again` lets the same content be sent a second time; entries whose batch was `looked` for in vain no longer
        stand in the way of that, nor do those of which there was none in any case. With `cap_usd`, what the create may
        cost is reserved in the same transaction.
        """
        with self._transaction() as db:
            recent_s = now_s - _RECENT_S
            for entry in _doubtful(db, draft.content, recent_s):
                if entry.owner is not None and alive(entry.owner):
                    return Busy(entry)
                if entry.key not in looked or not (again or entry.state is State.NONE_FOUND):
                    values = (State.AMBIGUOUS, owner, entry.key)
                    db.execute("UPDATE creates SET state = ?, owner = ? WHERE key = ?", values)
                    return Unsettled(entry)
            if attach:
                made = _standing(db, draft.content, draft.parent)
            else:
                later = "key > (SELECT coalesce(max(key), 0) FROM creates WHERE batch_id = ?)"
                condition = f"content = ? AND {_MADE} AND started_s > ? AND {later} ORDER BY key DESC"
                made = _entries(db, condition, draft.content, recent_s, draft.parent)
            if made and not again:
                return Made(made[0])
            if cap_usd is not None:
                unknown = f"started_s > ? AND cost_usd IS NULL AND estimate_usd IS NULL AND ({_MADE} OR {_UNSETTLED})"
                if found := _entries(db, unknown, recent_s):
                    return OverCap(unknown=found[0])
                spent_usd = _spent_usd(db, recent_s)
                if spent_usd + (draft.estimate_usd or 0.0) > cap_usd:
                    return OverCap(spent_usd)
            values = (*(getattr(draft, field.name) for field in fields(Draft)), State.SENDING, owner, now_s)
            marks = ", ".join("?" * len(values))
            key = db.execute(f"INSERT INTO creates ({_DRAFT}, state, owner, started_s) VALUES ({marks})", values)  # noqa: S608
            return Begun(_entries(db, "key = ?", key.lastrowid)[0])

    def accepted(self, key: int, batch: Mapping[str, Any]) -> None:
        """The upstream answered with a batch. Whichever entry had adopted that one was wrong."""
        with self._transaction() as db:
            db.execute(
                f"UPDATE creates SET {_DISOWNED} WHERE batch_id = ? AND key != ? AND state = '{State.ADOPTED}'",  # noqa: S608
                (batch["id"], key),
            )
            _settle(db, key, State.ACCEPTED, batch, confirmed=True)

    def adopted(self, key: int, batch: Mapping[str, Any], *, confirmed: bool) -> bool:
        """A batch was found that seems to be an entry's; false when it has become known as another's."""
        with self._transaction() as db:
            if _entries(db, "batch_id = ? AND key != ?", batch["id"], key):
                return False
            _settle(db, key, State.ADOPTED, batch, confirmed=confirmed)
            return True

    def settled(self, key: int, state: State) -> None:
        """No batch of an entry is known, for a reason that `state` tells."""
        with self._transaction() as db:
            db.execute("UPDATE creates SET state = ?, owner = NULL WHERE key = ?", (state, key))

    def confirmed(self, key: int) -> None:
        with self._transaction() as db:
            db.execute("UPDATE creates SET confirmed = 1 WHERE key = ?", (key,))

    def disowned(self, key: int) -> None:
        """The batch that was adopted is another's."""
        with self._transaction() as db:
            db.execute(f"UPDATE creates SET {_DISOWNED} WHERE key = ?", (key,))  # noqa: S608

    def told(self, key: int) -> None:
        with self._transaction() as db:
            db.execute("UPDATE creates SET told = 1 WHERE key = ?", (key,))

    def since(self, key: int, since_s: float) -> None:
        with self._transaction() as db:
            db.execute("UPDATE creates SET since_s = ? WHERE key = ?", (since_s, key))

    def saw(self, batches: Iterable[Mapping[str, Any]]) -> list[Entry]:
        """Learn how batches are now; the known ones that were adopted and are not confirmed yet are returned."""
        shown = [{"batch": result.encode(batch), "id": batch["id"]} for batch in batches]
        with self._transaction() as db:
            # What has not changed is not written, which would cost each look some milliseconds.
            change = "UPDATE creates SET batch = :batch WHERE batch_id = :id AND batch IS NOT :batch AND NOT deleted"
            db.executemany(change, shown)
            ids = {each["id"] for each in shown}
            unconfirmed = _entries(db, f"state = '{State.ADOPTED}' AND NOT confirmed")
            return [entry for entry in unconfirmed if entry.batch_id in ids]

    def cost(self, batch_id: str, cost_usd: float) -> None:
        """Learn what a batch really cost."""
        with self._transaction() as db:
            db.execute("UPDATE creates SET cost_usd = ? WHERE batch_id = ?", (cost_usd, batch_id))

    def deleted(self, batch_id: str) -> str | None:
        """Learn that a batch is gone; its content is returned."""
        with self._transaction() as db:
            db.execute("UPDATE creates SET deleted = 1 WHERE batch_id = ?", (batch_id,))
            return next((entry.content for entry in _entries(db, "batch_id = ?", batch_id)), None)

    def wanted(self, content: str) -> bool:
        """Whether there is, or may be, a batch of a content."""
        with self._transaction() as db:
            return bool(_entries(db, f"content = ? AND {_WANTED}", content))

    def find(self, batch_id: str) -> Entry | None:
        with self._transaction() as db:
            return next(iter(_entries(db, "batch_id = ?", batch_id)), None)

    def standing(self, content: str) -> Entry | None:
        """The latest batch of a content that is no retry, and was not deleted."""
        with self._transaction() as db:
            return next(iter(_standing(db, content, None)), None)

    def entries(self) -> list[Entry]:
        """All of them, newest first."""
        with self._transaction() as db:
            return _entries(db, "1 ORDER BY key DESC")

    def known(self, batch_ids: Iterable[str]) -> set[str]:
        """Those of the batches that are an entry's."""
        with self._transaction() as db:
            return {each for each in batch_ids if _entries(db, "batch_id = ?", each)}

    def rivals(self, entry: Entry) -> int:
        """How many other unsettled creates are of the same size, so that a batch of that size may be theirs."""
        with self._transaction() as db:
            return len(_entries(db, f"rows = ? AND key != ? AND {_UNSETTLED}", entry.rows, entry.key))

    def left_behind(self, owner: str, alive: Callable[[str], bool]) -> list[Entry]:
        """Take over what processes that died left unsettled."""
        with self._transaction() as db:
            found = [
                entry
                for entry in _entries(db, f"owner IS NOT NULL AND {_UNSETTLED} ORDER BY key")
                if entry.owner is not None and not alive(entry.owner)
            ]
            db.executemany("UPDATE creates SET owner = ? WHERE key = ?", [(owner, entry.key) for entry in found])
            return found

    def released(self, key: int) -> None:
        """Give an entry that is still unsettled to whoever wants to look next."""
        with self._transaction() as db:
            db.execute(
                f"UPDATE creates SET state = ?, owner = NULL WHERE key = ? AND {_UNSETTLED}",  # noqa: S608
                (State.AMBIGUOUS, key),
            )

    def prune(self, now_s: float) -> set[str]:
        """Drop entries older than results are kept; the contents that are still wanted are returned."""
        with self._transaction() as db:
            before_s = now_s - KEPT_DAYS * _DAY_S
            db.execute(f"DELETE FROM creates WHERE started_s < ? AND NOT {_UNSETTLED}", (before_s,))  # noqa: S608
            return {entry.content for entry in _entries(db, _WANTED)}

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(self._begin()) as db:
                _upgrade(db, self.path)
                yield db
                db.execute("COMMIT")
        except sqlite3.Error as error:
            raise _unusable(self.path, error) from error
        except OSError as error:
            raise unusable(self.path, error) from error

    def _begin(self) -> sqlite3.Connection:
        """A connection with a transaction begun."""
        if not self.path.exists():
            self.path.touch(0o600)
        # SQLite does not wait when another process is just opening or leaving the file: so we do.
        deadline_s = time.monotonic() + _BUSY_S
        while True:
            db = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
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


_DISOWNED = (
    f"state = '{State.AMBIGUOUS}', owner = NULL, batch_id = NULL, batch = NULL, cost_usd = NULL, "
    "confirmed = 0, told = 0, deleted = 0"
)


def _entries(db: sqlite3.Connection, condition: str, *values: Any) -> list[Entry]:
    cursor = db.execute(f"SELECT {_COLUMNS} FROM creates WHERE {condition}", values)  # noqa: S608 - our own text
    return [_entry(dict(zip((each[0] for each in cursor.description), row, strict=True))) for row in cursor]


def _standing(db: sqlite3.Connection, content: str, parent: str | None) -> list[Entry]:
    condition = f"content = ? AND parent IS ? AND NOT deleted AND {_MADE} ORDER BY key DESC"
    return _entries(db, condition, content, parent)


def _entry(row: dict[str, Any]) -> Entry:
    flags = {name: bool(row[name]) for name in ("confirmed", "told", "deleted")}
    return Entry(**{**row, **flags, "state": State(row["state"])})


def _doubtful(db: sqlite3.Connection, content: str, recent_s: float) -> list[Entry]:
    """The creates of a content that may have made a batch: it may even be listed later than anybody looked for it."""
    made = f"SELECT coalesce(max(key), 0) FROM creates WHERE content = ? AND {_MADE}"  # noqa: S608 - our own text
    none_found = f"state = '{State.NONE_FOUND}' AND started_s > ? AND key > ({made})"
    return _entries(db, f"content = ? AND ({_UNSETTLED} OR {none_found}) ORDER BY key", content, recent_s, content)


def _settle(db: sqlite3.Connection, key: int, state: State, batch: Mapping[str, Any], *, confirmed: bool) -> None:
    db.execute(
        "UPDATE creates SET state = ?, owner = NULL, batch_id = ?, batch = ?, confirmed = ? WHERE key = ?",
        (state, batch["id"], result.encode(batch), confirmed, key),
    )


def _spent_usd(db: sqlite3.Connection, since_s: float) -> float:
    [(spent_usd,)] = db.execute(
        "SELECT coalesce(sum(coalesce(cost_usd, estimate_usd, 0)), 0) FROM creates "  # noqa: S608
        f"WHERE started_s > ? AND ({_MADE} OR {_UNSETTLED})",
        (since_s,),
    )
    return float(spent_usd)


def _upgrade(db: sqlite3.Connection, path: Path) -> None:
    """Make the table where there is none.

    Raises:
        StateUnusable: a later version of this program made it.
    """
    [(version,)] = db.execute("PRAGMA user_version")
    if version == 0:
        for statement in _SCHEMA.split(";"):
            db.execute(statement)
    elif version != _VERSION:
        message = f"the ledger {path} was made by a later version of batches-mcp, so nothing was sent."
        next_step = "Tell the user to use that version, or another --state-dir."
        raise StateUnusable(ErrorReport("state_unusable", message, next_step))


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 for an error that is not SQLite's own."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _is_busy(error: sqlite3.Error) -> bool:
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _unusable(path: Path, error: sqlite3.Error) -> StateUnusable:
    next_step = "Tell the user to make room or give access there, or to start the server with another --state-dir."
    retry = Retry.USELESS
    match _code(error):
        case sqlite3.SQLITE_FULL:
            problem = "there is no room left"
        case _ if _is_busy(error):
            problem = f"another process has been writing to it for {_BUSY_S:g} s"
            next_step, retry = "Wait a little, then call again.", Retry.HELPS
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            problem = "the file is damaged"
            next_step = (
                "Tell the user to move that file away; what it held is then unknown here, so that batches of the last "
                "days must be looked up in the list before anything is sent again."
            )
        case _:
            problem = str(error)
    return StateUnusable(
        ErrorReport("state_unusable", f"the ledger {path} cannot be used: {problem}.", next_step, retry)
    )
