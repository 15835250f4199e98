"""Files of others, replaced whole or not at all, by one process at a time."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from batches_mcp.core.state import sync_folder

OWNER_ONLY_FILE = 0o600
OWNER_ONLY_FOLDER = 0o700
# Windows lets no file be replaced while a program has it open, which hosts and scanners do for moments only.
_TRIES, _PAUSE_S = 10, 0.1


def read(path: Path) -> bytes | None:
    """The file's bytes; None when there is no such file.

    Raises:
        OSError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def digest(content: bytes | None) -> str | None:
    """The SHA-256 of a file's bytes, in hex; None for a file that is not there."""
    return None if content is None else hashlib.sha256(content).hexdigest()


def private_folder(folder: Path) -> None:
    """Make a folder, and those it stands in, for their owner only; one that is there stays as it is.

    Raises:
        OSError: it cannot be made.
    """
    for each in [*reversed(folder.parents), folder]:
        if not each.exists():
            each.mkdir(OWNER_ONLY_FOLDER, exist_ok=True)


def replace(path: Path, content: bytes, sleep: Callable[[float], None] = time.sleep) -> None:
    """Put `content` in the place of the file, atomically. A link stays a link, and mode and owner stay as they are.

    A new file, and a new folder for it, can be read by their owner only. A file that cannot be replaced at this moment,
    as on Windows one that a program has open, is tried again for a second.

    Raises:
        OSError: it cannot be written; the old file is then untouched.
    """
    target = path.resolve()
    private_folder(target.parent)
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".new", dir=target.parent)
    fresh = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            _keep_access(target, fresh)
        for left in reversed(range(_TRIES)):
            try:
                fresh.replace(target)
                break
            except PermissionError:
                if not left:
                    raise
                sleep(_PAUSE_S)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def _keep_access(old: Path, new: Path) -> None:
    found = old.stat()
    new.chmod(found.st_mode & 0o7777)
    if sys.platform != "win32" and (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
        with suppress(PermissionError):
            os.chown(new, found.st_uid, found.st_gid)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`; another process that wants it waits until then, or until this process is dead.

    Raises:
        OSError: the lock file cannot be made.
    """
    private_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, OWNER_ONLY_FILE)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)  # which releases the lock


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        while True:
            with suppress(OSError):  # which it raises after ten seconds of waiting
                msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
                return

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
