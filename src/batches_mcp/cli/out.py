"""OUT: where the results of a run go. Written whole or not at all, and never over the results of another job."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO, Literal

from batches_mcp.batch.job.intake import JobFolder
from batches_mcp.errors import ServeError, UsageError

# What a job wrote, in its folder: the latest few `[path, bytes, time of change in ns]`.
_WRITTEN = "out.json"
_MOST_WRITTEN = 10


@dataclass(frozen=True, slots=True)
class Out:
    """The OUT of a job that is kept in `folder`."""

    name: str
    folder: JobFolder
    overwrite: bool

    @property
    def kind(self) -> Literal["jsonl", "csv"]:
        return "csv" if self.name.lower().endswith(".csv") else "jsonl"

    def check(self) -> None:
        """That nothing is there, or what this very job wrote.

        Raises:
            UsageError: something else is.
        """
        if self.overwrite or _streamed(self.name) or not os.path.lexists(self.name):
            return
        if _identity(Path(self.name)) not in self._written():
            raise UsageError(f"{self.name} exists, and this job did not write it; name another OUT, or add --overwrite")

    @contextmanager
    def writing(self) -> Iterator[BinaryIO]:
        """The file to write; it takes its place when the block ends, and nothing is left of it when that fails.

        Raises:
            ServeError: it cannot be written.
        """
        try:
            if self.name == "-":
                yield sys.stdout.buffer
                sys.stdout.buffer.flush()
            elif _streamed(self.name):
                with Path(self.name).open("wb") as file:
                    yield file
            else:
                yield from self._placed(Path(os.path.realpath(self.name)))
        except BrokenPipeError as error:
            # Nothing more goes there, not even what Python writes out at its own end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise ServeError(f"OUT: {self.name}: whoever was to read it has gone") from error
        except OSError as error:
            raise ServeError(f"OUT: {self.name} cannot be written: {error.strerror or error}") from error

    def _placed(self, out: Path) -> Iterator[BinaryIO]:
        unfinished = out.with_name(f".{out.name}.{token_hex(4)}.part")
        try:
            with unfinished.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            self.check()
            # Written down first, so that a run that is killed in between still knows its own.
            _, size_bytes, changed_ns = _identity(unfinished)
            self.folder.write(_WRITTEN, [*self._written()[1 - _MOST_WRITTEN :], [str(out), size_bytes, changed_ns]])
            unfinished.replace(out)
            _settle(out.parent)
        finally:
            unfinished.unlink(missing_ok=True)

    def _written(self) -> list[list[str | int]]:
        return self.folder.read(_WRITTEN) or []


def check_place(flag: str, name: str, source: str) -> None:
    """That a file can be written there, before anything is sent; `source` must not be it.

    Raises:
        UsageError: it cannot.
    """
    if name == "-":
        return
    path = Path(name)
    if path.is_dir():
        raise UsageError(f"{flag}: {name} is a folder")
    if not _streamed(name) and not os.access(path.resolve().parent, os.W_OK):
        raise UsageError(f"{flag}: {path.parent} is no folder that can be written to")
    if source != "-" and path.exists() and path.samefile(source):
        raise UsageError(f"{flag}: {name} is FILE itself")


def _streamed(name: str) -> bool:
    """Whether what is written goes to standard output, a pipe or a device, which nothing can be renamed to."""
    return name == "-" or (Path(name).exists() and not Path(name).is_file())


def _identity(path: Path) -> list[str | int]:
    found = path.stat()
    return [os.path.realpath(path), found.st_size, found.st_mtime_ns]


def _settle(folder: Path) -> None:
    """See to it that a rename outlasts a loss of power."""
    with suppress(OSError):  # Windows opens no folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
