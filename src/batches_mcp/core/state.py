"""The door to the state folder: what outlives a call, in files that only their owner can read."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from batches_mcp.core.errors import ErrorReport, StateUnusable, UsageError

_OWNER_ONLY = 0o700
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_BUFFER_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class StateFolder:
    """A folder that need not exist before something is kept in it; its path is made absolute, and `~` expanded.

    Raises:
        UsageError: there is no such user as the path begins with.
    """

    path: Path

    def __post_init__(self) -> None:
        try:
            path = self.path.expanduser()
        except RuntimeError as error:
            raise UsageError(f"--state-dir {self.path}: there is no such user") from error
        # Whoever changes the working directory later, and SQLite's URIs, are to find the same folder.
        object.__setattr__(self, "path", path.absolute())

    @property
    def others_may_write(self) -> bool:
        """Whether it is there, and others than its owner may make files in it."""
        try:
            return os.name == "posix" and bool(self.path.stat().st_mode & _OTHERS_WRITE)
        except OSError:
            return False

    def folder(self, *names: str) -> Path:
        """A folder in it, made if need be, for its owner only. What was there before it keeps its mode.

        Raises:
            StateUnusable: it cannot be made or written to.
        """
        folder = self.path.joinpath(*names)
        try:
            _make(folder)
            for each in [folder, *folder.parents][: len(names)]:
                if each.stat().st_mode & ~_OWNER_ONLY & 0o777:
                    each.chmod(_OWNER_ONLY)
        except OSError as error:
            raise unusable(folder, error) from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise unusable(folder, PermissionError("it cannot be written to"))
        return folder


def check_writable(state: StateFolder) -> None:
    """See that something can be kept in a state folder, by keeping a byte for a moment; one caller at a time.

    Raises:
        StateUnusable: nothing can be kept there.
    """
    path = state.folder() / f"ready.{os.getpid()}"
    try:
        path.unlink(missing_ok=True)
        with create(path) as file:
            file.write(b"1")
        path.unlink()
    except OSError as error:
        raise unusable(state.path, error) from error


def _make(folder: Path) -> None:
    """Make a folder and those that it is in, as far as they are not there, each for its owner only."""
    try:
        folder.mkdir(_OWNER_ONLY, exist_ok=True)
    except FileNotFoundError:
        if folder.parent == folder:  # a drive that is not there
            raise
        _make(folder.parent)
        folder.mkdir(_OWNER_ONLY, exist_ok=True)


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
    return state_unusable(f"the server keeps its state in {path}, which it cannot use: {error.strerror or error}.")


def state_unusable(message: str) -> StateUnusable:
    """The error for a state folder that lacks room or access, or something like it."""
    report = ErrorReport(
        "state_unusable",
        message,
        "Tell the user to make room or give access there, or to start the server with another --state-dir.",
        at_shell="Make room or give access there, or name another folder with --state-dir.",
    )
    return StateUnusable(report)
