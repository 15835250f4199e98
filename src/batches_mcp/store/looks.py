"""Looks into the file of a ledger from the event loop, which may not wait.

A thread would have to be waited for: beside a busy event loop each of its steps takes until the interpreter changes
threads, which is 5 ms.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Found = TypeVar("Found")

# Connections of a process that this one was forked from, which must not even be closed here:
# https://sqlite.org/howtocorrupt.html#_carrying_an_open_database_connection_across_a_fork_
OF_PARENTS: list[sqlite3.Connection | None] = []


def identity(path: Path) -> tuple[int, int] | None:
    """Which file is at a path; None when there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


class Looks:
    """A connection to the file at a path that writes nothing and waits for nobody: opened when first needed, and kept.

    It is used by one thread at a time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._process = os.getpid()

    def look(self, version: int, read: Callable[[sqlite3.Connection], Found]) -> Found | None:
        """What `read` finds in tables of this version; None when that takes waiting, or writing, or there are none."""
        try:
            db = self._connected()
            if db is None:
                return None
            db.execute("BEGIN")
            try:
                [(found,)] = db.execute("PRAGMA user_version")
                return read(db) if found == version else None
            finally:
                db.execute("ROLLBACK")
        except (sqlite3.Error, OSError):
            self.close()
            return None

    def close(self) -> None:
        """Let go of the file; the next look opens it anew."""
        db, self._db = self._db, None
        if db is not None and self._process == os.getpid():
            db.close()

    def _connected(self) -> sqlite3.Connection | None:
        if self._process != os.getpid():
            OF_PARENTS.append(self._db)
            self._db, self._process = None, os.getpid()
        file = identity(self._path)
        if file != self._file:
            self.close()
        if self._db is None and file is not None:
            uri = f"{self._path.absolute().as_uri()}?mode=ro"
            self._db = sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None, check_same_thread=False)
            self._file = file
        return self._db
