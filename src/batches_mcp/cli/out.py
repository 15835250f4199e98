"""OUT: where the results of a run go. Written whole or not at all, and never over what nobody has any more."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO, Literal, NamedTuple

from batches_mcp.cli.startup import Ready
from batches_mcp.core.errors import ServeError, StateUnusable, UsageError
from batches_mcp.core.settings import user_state_folder
from batches_mcp.core.state import StateFolder, sync_folder
from batches_mcp.job.intake import JobFolder
from batches_mcp.job.written import Found, find, note, written

# What embedded sandboxes answered, in the state folder.
_SANDBOXES = "sandboxes"
_MORE = "name another OUT, or add --overwrite"


class Size(NamedTuple):
    """How much is written: rows, and how many of them succeeded."""

    rows: int
    answers: int


@dataclass(slots=True)
class Out:
    """The OUT of a job that is kept in `folder`; `overwrite` lets it replace whatever is there.

    Without it, OUT replaces what this job wrote there itself, and what an earlier one wrote that `asked` the same of
    the rows of `source`, unless that has more. `kept` is what was left there in the end, because it has more. What an
    embedded sandbox answered makes room for anything; it is noted in the folder `sandboxes`, for the state of such a
    run, which is `in_sandbox`, is thrown away.
    """

    name: str
    folder: JobFolder
    overwrite: bool
    sandboxes: JobFolder
    in_sandbox: bool = False
    source: str | None = None
    asked: str = ""
    kept: Found | None = None

    @property
    def kind(self) -> Literal["jsonl", "csv"]:
        return "csv" if self.name.lower().endswith(".csv") else "jsonl"

    def check(self, rows: int) -> None:
        """That nothing is there that so many rows may not replace.

        Raises:
            UsageError: something is.
        """
        if self.overwrite or _streamed(self.name) or not os.path.lexists(self.name):
            return
        found = self._there()
        if problem := self._in_the_way(found, rows):
            raise UsageError(f"{self.name} {problem}; {_MORE}")

    @contextmanager
    def writing(self, size: Callable[[], Size]) -> Iterator[BinaryIO]:
        """The file to write; it takes its place when the block ends, and nothing is left of it when that fails.

        `size` tells how much was written: what has more stays, and is `kept`.

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
                yield from self._placed(Path(os.path.realpath(self.name)), size)
        except BrokenPipeError as error:
            # Nothing more goes there, not even what Python writes out at its own end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise ServeError(f"OUT: {self.name}: the reader closed the pipe") from error
        except OSError as error:
            raise ServeError(
                f"OUT: {self.name} cannot be written: {error.strerror or error}. No result is lost: once it can be "
                "written, the same command does so, and sends nothing again"
            ) from error

    def _placed(self, out: Path, size: Callable[[], Size]) -> Iterator[BinaryIO]:
        unfinished = out.with_name(f".{out.name}.{token_hex(4)}.part")
        try:
            with unfinished.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            rows, answers = size()
            found = self._there()
            if found and self._has_more(found, rows, answers):
                self.kept = found
                return
            self.check(rows)
            # Noted first, so that a run that is killed in between still knows its own.
            latest = written(unfinished, out, rows=rows, answers=answers, source=self.source, asked=self.asked)
            note(self.folder, latest)
            unfinished.replace(out)
            with suppress(OSError):  # it is there, if only until a power failure
                sync_folder(out.parent)
            note(self.folder, latest)  # another process with this job may have noted its own at the same time
            if self.in_sandbox:
                with suppress(StateUnusable):  # a sandbox needs no state folder
                    StateFolder(self.sandboxes.path).folder()
                    note(self.sandboxes, latest)
        finally:
            unfinished.unlink(missing_ok=True)

    def _there(self) -> Found | None:
        path = Path(self.name)
        return find(self.folder, self.sandboxes, path, self.source, self.asked) if path.exists() else None

    def _in_the_way(self, found: Found | None, rows: int) -> str:
        """Why what is there may not be replaced by so many rows; empty when it may."""
        if found is None:
            return "exists, and batches-mcp did not write it"
        if found.edited:
            return "was changed after batches-mcp wrote it"
        there = found.written
        if found.own or found.made_up:
            return ""
        if there.source is None or self.source is None:
            return f"has the results of another run, of {there.source or 'standard input'}"
        if there.source != self.source:
            return f"has the results of another FILE, {there.source}"
        if there.asked != self.asked:
            return "has the answers to another prompt, model or template"
        if there.rows > rows:
            return f"has {there.rows:,} rows of an earlier run, and this one has {rows:,}"
        return ""

    def _has_more(self, found: Found, rows: int, answers: int) -> bool:
        if found.made_up:
            return False
        if found.own:
            return found.written.rows > rows
        mine = not (self.overwrite or self._in_the_way(found, found.written.rows))
        return mine and (found.written.rows > rows or found.written.answers > answers)


def sandbox_notes(prepared: Ready) -> JobFolder:
    """Where it is noted what embedded sandboxes answered: in the state folder of runs without one."""
    return JobFolder(StateFolder(prepared.batch.state_dir or user_state_folder()).path / _SANDBOXES)


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
        raise UsageError(f"{flag}: {path.parent} is not a folder that can be written to")
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
