"""Whether the process that began something still lives, shown by a lock that ends with it.

A process id says nothing in another container, and a heartbeat nothing when the clock jumps. SQLite locks files on
every system alike, and the system releases the lock when the process dies, however it dies.
"""

from __future__ import annotations

import math
import os
import sqlite3
import struct
import sys
import threading
import uuid
from contextlib import closing, suppress
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


class FilePresence:
    """One process's sign of life in a folder, from `enter` to `leave`: it ends with the process, and not before."""

    left_s = math.inf

    def __init__(self, folder: Path) -> None:
        self.name = uuid.uuid4().hex
        self._folder = folder
        self._lock: sqlite3.Connection | None = None
        self._entering = threading.Lock()

    def enter(self) -> None:
        """Show that this process lives; more than once is no harm.

        Raises:
            OSError, sqlite3.Error: the folder cannot be used.
        """
        with self._entering:
            if self._lock is None:
                if not _locks_hold(self._folder / f"{self.name}.locktest"):
                    raise OSError(f"file locks in {self._folder} do not keep other processes out")
                path = self._path(self.name)
                path.touch(0o600)
                lock = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
                lock.execute("BEGIN EXCLUSIVE")
                self._lock = lock

    def leave(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None
            self._path(self.name).unlink(missing_ok=True)

    def alive(self, name: str) -> bool:
        """Whether the process with this name has entered, and has neither left nor died."""
        if name == self.name:
            return self._lock is not None
        path = self._path(name)
        if not path.exists():
            return False
        try:
            with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=0)) as db:
                db.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            return True
        return False

    def tidy(self) -> None:
        """Remove the signs of those that died."""
        for path in self._folder.glob("*.alive"):
            if not self.alive(path.stem):
                with suppress(OSError):
                    path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.alive"


def _locks_hold(path: Path) -> bool:
    """Whether a lock on a file here keeps out whoever opens it a second time; on some network mounts none does.

    Raises:
        OSError: the file cannot be made.
    """
    descriptors = [os.open(path, os.O_RDWR | os.O_CREAT, 0o600) for _ in range(2)]
    try:
        try:
            _lock(descriptors[0])
        except OSError:
            return False
        try:
            _lock(descriptors[1])
        except OSError:
            return True
        return False
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
        path.unlink(missing_ok=True)


if sys.platform == "win32":

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

elif hasattr(fcntl, "F_OFD_SETLK"):

    def _lock(descriptor: int) -> None:
        # The kind that SQLite takes is one for all descriptors of a process; these are the same, but for that.
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0))

else:

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
