"""The door to the state folder: what outlives a call, in files that only their owner can read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from batches_mcp.errors import ErrorReport, StateUnusable

_OWNER_ONLY = 0o700
_BUFFER_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class StateFolder:
    """A folder that need not exist before something is kept in it."""

    path: Path

    def folder(self, *names: str) -> Path:
        """A folder in it, made if need be.

        Raises:
            StateUnusable: it cannot be made or written to.
        """
        folder = self.path.joinpath(*names)
        try:
            folder.mkdir(_OWNER_ONLY, parents=True, exist_ok=True)
            for each in [folder, *folder.parents][: len(names) + 1]:
                if each.stat().st_mode & ~_OWNER_ONLY & 0o777:
                    each.chmod(_OWNER_ONLY)
        except OSError as error:
            raise unusable(folder, error) from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise unusable(folder, PermissionError("it cannot be written to"))
        return folder


def create(path: Path) -> BinaryIO:
    """A new file that only its owner can read, opened for writing.

    Raises:
        OSError: it cannot be made, or is there already.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    return os.fdopen(descriptor, "wb", _BUFFER_BYTES)


def sync_folder(path: Path) -> None:
    """See to it that the names of the files in a folder outlive a power failure; Windows has no such call.

    Raises:
        OSError: the disk cannot be written to.
    """
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unusable(path: Path, error: OSError) -> StateUnusable:
    """The error for something in the state folder that cannot be made, read or written."""
    report = ErrorReport(
        "state_unusable",
        f"the server keeps its state in {path}, which it cannot use: {error.strerror or error}.",
        "Tell the user to make room or give access there, or to start the server with another --state-dir.",
    )
    return StateUnusable(report)
