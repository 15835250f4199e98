"""The SQLite file a sandbox keeps its state in: which file, whether it is ours, and that nobody else uses it."""

import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

__all__ = ["KEYS_PER_BATCH", "StateFile", "StateFileError"]

# Marks the file as ours, and its layout.
_APPLICATION_ID = 0x6D626174
_LAYOUT = 2
# The keys of a batch's requests are its number times this, plus their index: more than a batch can have (100,000).
KEYS_PER_BATCH = 1 << 20

_SCHEMA = f"""
BEGIN;
CREATE TABLE intakes (number INTEGER PRIMARY KEY AUTOINCREMENT);
CREATE TABLE batches (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL,
    created_us INTEGER NOT NULL, process_us INTEGER NOT NULL, total INTEGER NOT NULL,
    version TEXT NOT NULL, betas TEXT NOT NULL, user_profile TEXT,
    ends_us INTEGER NOT NULL, cut_us INTEGER, rest INTEGER NOT NULL,
    succeeded INTEGER NOT NULL, errored INTEGER NOT NULL, canceled INTEGER NOT NULL, expired INTEGER NOT NULL,
    cancel_initiated_us INTEGER, archived_early_us INTEGER,
    fates BLOB NOT NULL, slow_us TEXT NOT NULL
);
CREATE INDEX newest_of_tenant ON batches (tenant, created_us, number);
CREATE INDEX newest ON batches (created_us, number);
CREATE TABLE requests (key INTEGER PRIMARY KEY, request BLOB NOT NULL);
CREATE TABLE deleted (id TEXT PRIMARY KEY, tenant TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE clock (id INTEGER PRIMARY KEY CHECK (id = 1), left_us INTEGER NOT NULL);
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_LAYOUT};
COMMIT;
"""


class StateFileError(Exception):
    """The state file cannot be used: not a sandbox's, of another layout, in use, or not writable."""


class StateFile:
    """The file, from `open` to `close`."""

    def __init__(self, state: Path | None) -> None:
        """`state`: the file; None for one in a temporary folder, removed by `close`."""
        self._state = state
        self._resources = ExitStack()

    def open(self, prepare: Callable[[sqlite3.Connection], None]) -> tuple[sqlite3.Connection, sqlite3.Connection]:
        """(writer, reader), once `prepare` was done with the writer; StateFileError if the file cannot be used."""
        with ExitStack() as resources:
            if self._state is None:
                folder = resources.enter_context(tempfile.TemporaryDirectory(prefix="batches-sandbox-"))
                self._path = Path(folder, "state.sqlite")
            else:
                self._path = self._state
            try:
                if self._state is not None:
                    resources.enter_context(closing(_lock(self._path)))
                self._path.touch(mode=0o600)
                writer = resources.enter_context(closing(self.connect()))
                self._claim(writer)
                prepare(writer)
                reader = resources.enter_context(closing(self.connect()))
            except (OSError, sqlite3.Error) as error:
                raise StateFileError(f"{self._path}: {error}") from error
            self._resources = resources.pop_all()
        return writer, reader

    def close(self) -> None:
        self._resources.close()

    def connect(self) -> sqlite3.Connection:
        """One more connection; the caller closes it."""
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            # A sandbox's state may lose its last moments with the machine, not be damaged: WAL needs no more than this.
            db.execute(f"PRAGMA synchronous = {'OFF' if self._state is None else 'NORMAL'}")
        except sqlite3.Error:
            db.close()
            raise
        return db

    def _claim(self, db: sqlite3.Connection) -> None:
        """Make an empty file ours; StateFileError for any other file that is not."""
        (application_id,) = db.execute("PRAGMA application_id").fetchone()
        (layout,) = db.execute("PRAGMA user_version").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not tables:
            db.executescript(_SCHEMA)
        elif (application_id, layout) != (_APPLICATION_ID, _LAYOUT):
            raise StateFileError(f"{self._path}: not a state file of this version of the sandbox")
        db.execute("PRAGMA journal_mode = WAL")


def _lock(path: Path) -> sqlite3.Connection:
    """An exclusive hold on the state, released by the system even when this process is killed.

    It is a lock on a second, empty file: SQLite's own on the state file are needed for its connections. SQLite is what
    locks in the same way on every platform.
    """
    lock = path.with_name(f"{path.name}.lock")
    if path.is_dir() or not path.parent.is_dir():
        raise StateFileError(f"{path}: not a file in an existing folder")
    db = sqlite3.connect(lock, isolation_level=None, timeout=0, check_same_thread=False)
    try:
        db.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        db.close()
        if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            raise StateFileError(f"{path}: in use by another sandbox") from error
        raise
    return db
