"""Kept requests: the exact body of every create, since the API never gives requests back.

A body is written before it is sent, as plain text named by its hash, and compressed once it has been sent. A copy that
is damaged counts as one that is missing.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import os
import threading
import uuid
import zlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from batches_mcp.core.state import sync_folder, unusable
from batches_mcp.requests.reading import request_rows, unpacked

log = logging.getLogger(__name__)

_PIECE_BYTES = 1 << 18
# Three quarters of what the slowest level saves, at several times its speed.
_GZIP_LEVEL = 4
_UNFINISHED = ".part"


class _Named(msgspec.Struct):
    custom_id: str


_named = msgspec.json.Decoder(_Named).decode


def custom_id_of(row: bytes) -> str:
    """The custom_id of a request; DecodeError when it has none."""
    return _named(row).custom_id


@dataclass(frozen=True, slots=True)
class Copy:
    """A body that was written down: where, and the hash of its bytes and betas, which names it."""

    path: Path
    name: str
    length_bytes: int


@dataclass(frozen=True, slots=True)
class KeptRequests:
    """The bodies of one account, in a folder of their own."""

    folder: Path

    @property
    def place(self) -> str:
        """How messages call where they are."""
        return str(self.folder)

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """A name for a body that is not decided on yet; whatever has it is removed at the end."""
        path = self.folder / f"{uuid.uuid4().hex}{_UNFINISHED}"
        try:
            yield path
        finally:
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def write(self, path: Path, pieces: Iterable[bytes], betas: str) -> Copy:
        """Write a body to a draft, so that it outlives a power failure.

        Raises:
            CallError: it cannot be written.
        """
        digest, length_bytes = hashlib.sha256(), 0
        try:
            with _private(path) as file:
                for piece in pieces:
                    file.write(piece)
                    digest.update(piece)
                    length_bytes += len(piece)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise unusable(self.folder, error) from error
        return Copy(path, name_of(digest, betas), length_bytes)

    def keep(self, copy: Copy) -> io.BufferedReader:
        """Put a copy in its place and open it.

        Raises:
            CallError: it cannot be put there.
        """
        try:
            path = copy.path.replace(self._plain(copy.name))
            sync_folder(self.folder)
            return path.open("rb")
        except OSError as error:
            raise unusable(self.folder, error) from error

    @contextmanager
    def opened(self, name: str, betas: str) -> Iterator[io.BufferedReader]:
        """A body for reading, compressed or not; `reading.request_rows` takes either.

        Raises:
            FileNotFoundError: it is not kept, or no longer, or what is there is not what was kept.
        """
        for path in (self._plain(name), self._packed(name)):
            with suppress(FileNotFoundError), path.open("rb") as file:
                if _is_intact(file, name, betas):
                    file.seek(0)
                    yield file
                    return
        raise FileNotFoundError(self._plain(name))

    def custom_ids(self, name: str, betas: str) -> Iterator[str]:
        """The custom_ids of a body.

        Raises:
            FileNotFoundError: see `opened`.
        """
        with self.opened(name, betas) as file:
            for _, row in request_rows(file):
                if isinstance(row, bytes):
                    yield custom_id_of(row)

    def matches(self, name: str, betas: str, custom_ids: set[str]) -> int:
        """How many of the ids are those of requests of a body.

        Raises:
            FileNotFoundError: see `opened`.
        """
        return len(custom_ids.intersection(self.custom_ids(name, betas)))

    def compress(self, name: str, stop: threading.Event) -> None:
        """Compress a body; without room for that, and once `stop` is set, it stays as it is."""
        with self.draft() as unfinished:
            try:
                if self.pack(name, unfinished, stop):
                    unfinished.replace(self._packed(name))
                    sync_folder(self.folder)
                    self._plain(name).unlink()
            except OSError as error:
                log.debug("the copy %s stays uncompressed: %s", name, error)

    def pack(self, name: str, path: Path, stop: threading.Event | None = None) -> bool:
        """Write a body compressed to a file; false when `stop` was set before its end.

        Raises:
            OSError: it cannot be read or written.
        """
        with (
            self._plain(name).open("rb") as source,
            _private(path) as target,
            gzip.GzipFile("", "wb", _GZIP_LEVEL, target, mtime=0) as archive,
        ):
            while piece := source.read(_PIECE_BYTES):
                if stop is not None and stop.is_set():
                    return False
                archive.write(piece)
            archive.close()
            target.flush()
            os.fsync(target.fileno())
        return True

    def forget(self, name: str) -> None:
        for path in (self._plain(name), self._packed(name)):
            with suppress(OSError):  # Windows does not remove what is being read
                path.unlink(missing_ok=True)

    def any_since(self, time_s: float) -> bool:
        """Whether there is a copy that was made since then (Unix time)."""
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):  # another process has removed it just now
                if path.suffix != _UNFINISHED and path.stat().st_mtime > time_s:
                    return True
        return False

    def uncompressed(self) -> list[str]:
        """The names of the copies that are still to be compressed."""
        return [path.stem for path in self.folder.glob("*.json")]

    def tidy(self, wanted: Collection[str], before_s: float) -> None:
        """Remove what no create refers to and what a process that died left unfinished, if older than `before_s`."""
        for path in self.folder.iterdir():
            if path.name.partition(".")[0] not in wanted:
                with suppress(OSError):
                    if path.stat().st_mtime < before_s:
                        path.unlink()

    def _plain(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _packed(self, name: str) -> Path:
        return self.folder / f"{name}.json.gz"


def name_of(digest: hashlib._Hash, betas: str) -> str:
    """The name of a body: the hash of its bytes, of which `digest` is, and of its betas."""
    digest = digest.copy()
    digest.update(b"\0" + betas.encode())
    return digest.hexdigest()


def _is_intact(file: io.BufferedReader, name: str, betas: str) -> bool:
    """Whether a copy is what its name says; power failures leave empty files, halves and zeros."""
    digest = hashlib.sha256()
    try:
        source = unpacked(file)
        while piece := source.read(_PIECE_BYTES):
            digest.update(piece)
    except (OSError, EOFError, zlib.error):
        return False
    return name_of(digest, betas) == name


@contextmanager
def _private(path: Path) -> Iterator[IO[bytes]]:
    """A new file that only its owner can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o600)
    with io.BufferedWriter(io.FileIO(descriptor, "wb")) as file:
        yield file
