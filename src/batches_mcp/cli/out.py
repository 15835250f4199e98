"""OUT: where the results of a run go. Written whole or not at all, and never over the results of another job."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO, Literal

from batches_mcp.core.errors import ServeError, UsageError
from batches_mcp.job.intake import JobFolder

# What a job wrote, in its folder: the latest few `[path, bytes, time of change in ns, rows]`.
_WRITTEN = "out.json"
_MOST_WRITTEN = 10


@dataclass(frozen=True, slots=True)
class Out:
    """The OUT of a job that is kept in `folder`; `overwrite` lets it replace what this job did not write."""

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
    def writing(self, rows: Callable[[], int]) -> Iterator[BinaryIO]:
        """The file to write; it takes its place when the block ends, and nothing is left of it when that fails.

        `rows` tells how many were written: those that this job wrote there before are not replaced by fewer.

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
                yield from self._placed(Path(os.path.realpath(self.name)), rows)
        except BrokenPipeError as error:
            # Nothing more goes there, not even what Python writes out at its own end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise ServeError(f"OUT: {self.name}: the reader closed the pipe") from error
        except OSError as error:
            raise ServeError(
                f"OUT: {self.name} cannot be written: {error.strerror or error}. No result is lost: once it can be "
                "written, the same command does so, and sends nothing again"
            ) from error

    def rows_there(self) -> int:
        """How many rows OUT has, if this job wrote it; else 0."""
        if _streamed(self.name) or not Path(self.name).exists():
            return 0
        there = _identity(Path(self.name))
        return self._written().get(there, 0)

    def _placed(self, out: Path, rows: Callable[[], int]) -> Iterator[BinaryIO]:
        unfinished = out.with_name(f".{out.name}.{token_hex(4)}.part")
        try:
            with unfinished.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            self.check()
            if rows() < self.rows_there():
                return
            # Written down first, so that a run that is killed in between still knows its own.
            _, size_bytes, changed_ns = _identity(unfinished)
            latest = [str(out), size_bytes, changed_ns, rows()]
            self._note(latest)
            unfinished.replace(out)
            _settle(out.parent)
            if latest not in self._latest():  # another process with this job wrote down its own at the same time
                self._note(latest)
        finally:
            unfinished.unlink(missing_ok=True)

    def _written(self) -> dict[tuple[str, int, int], int]:
        """What this job wrote, by path, size and time of change; how many rows, 0 where that was not noted."""
        return {(name, size_bytes, changed_ns): sum(rows) for name, size_bytes, changed_ns, *rows in self._latest()}

    def _note(self, latest: list[Any]) -> None:
        self.folder.write(_WRITTEN, [*self._latest()[1 - _MOST_WRITTEN :], latest])

    def _latest(self) -> list[Any]:
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
        example = path / f"{Path(source.removesuffix('.gz')).stem}.results{''.join(Path(source).suffixes[:1])}"
        raise UsageError(
            f"{flag}: {name} is a folder; name a file in it" + (f", such as {example}" if source != "-" else "")
        )
    parent = path.resolve().parent
    if not _streamed(name) and not (parent.is_dir() and os.access(parent, os.W_OK)):
        raise UsageError(f"{flag}: {path.parent} is no folder that can be written to")
    if source != "-" and path.exists() and path.samefile(source):
        raise UsageError(f"{flag}: {name} is FILE itself")


def replace_text(flag: str, path: Path, text: str) -> None:
    """Write a small file, whole or not at all.

    Raises:
        ServeError: it cannot be written.
    """
    with replacing(flag, path) as file:
        file.write(text.encode())


@contextmanager
def replacing(flag: str, path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes its place when the block ends, and of which nothing is left when that fails.

    Raises:
        ServeError: it cannot be written.
    """
    unfinished = path if _streamed(str(path)) else path.with_name(f".{path.name}.{token_hex(4)}.part")
    try:
        with unfinished.open("wb") as file:
            yield file
        if unfinished != path:
            unfinished.replace(path)
    except OSError as error:
        raise ServeError(
            f"{flag}: {path} cannot be written: {error.strerror or error}. No result is lost: once it can be written, "
            "the same command does so, and sends nothing again"
        ) from error
    finally:
        if unfinished != path:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)


def _streamed(name: str) -> bool:
    """Whether what is written goes to standard output, a pipe or a device, which nothing can be renamed to."""
    return name == "-" or (Path(name).exists() and not Path(name).is_file())


def _identity(path: Path) -> tuple[str, int, int]:
    found = path.stat()
    return os.path.realpath(path), found.st_size, found.st_mtime_ns


def _settle(folder: Path) -> None:
    """See to it that a rename outlasts a loss of power."""
    with suppress(OSError):  # Windows opens no folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
