"""Kept requests: the exact body of every create, since the API never gives requests back.

A body is written before it is sent, as plain text named by its content, and compressed once it has been sent.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import threading
import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from batches_mcp.batch.requests.reading import request_rows
from batches_mcp.state import unusable

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
    """A body that was written down: where, and its `content`, by which the same is known again."""

    path: Path
    content: str
    length_bytes: int


@dataclass(frozen=True, slots=True)
class KeptRequests:
    """The bodies of one account, in a folder of their own."""

    folder: Path

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
        """Write a body to a draft; other `betas` make the same body another content.

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
        except OSError as error:
            raise unusable(self.folder, error) from error
        digest.update(b"\0" + betas.encode())
        return Copy(path, digest.hexdigest(), length_bytes)

    def keep(self, copy: Copy) -> io.BufferedReader:
        """Put a copy in its place and open it.

        Raises:
            CallError: it cannot be put there.
        """
        try:
            path = copy.path.replace(self._plain(copy.content))
            return path.open("rb")
        except OSError as error:
            raise unusable(self.folder, error) from error

    @contextmanager
    def opened(self, content: str) -> Iterator[io.BufferedReader]:
        """A body for reading, compressed or not; `reading.request_rows` takes either.

        Raises:
            FileNotFoundError: it is not kept, or no longer.
        """
        try:
            file = self._plain(content).open("rb")
        except FileNotFoundError:
            file = self._packed(content).open("rb")
        with file:
            yield file

    def foreign(self, content: str, custom_ids: Iterable[str]) -> bool:
        """Whether one of the ids is in no request of this body.

        Raises:
            FileNotFoundError: the body is not kept.
        """
        left = set(custom_ids)
        with self.opened(content) as file:
            for _, row in request_rows(file):
                if not left:
                    break
                if isinstance(row, bytes):
                    left.discard(custom_id_of(row))
        return bool(left)

    def compress(self, content: str, stop: threading.Event) -> None:
        """Compress a body; without room for that, and once `stop` is set, it stays as it is."""
        plain, packed = self._plain(content), self._packed(content)
        unfinished = packed.with_suffix(_UNFINISHED)
        try:
            with (
                plain.open("rb") as source,
                _private(unfinished) as target,
                gzip.GzipFile("", "wb", _GZIP_LEVEL, target, mtime=0) as archive,
            ):
                while piece := source.read(_PIECE_BYTES):
                    if stop.is_set():
                        raise InterruptedError
                    archive.write(piece)
            unfinished.replace(packed)
            plain.unlink()
        except OSError:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)

    def forget(self, content: str) -> None:
        for path in (self._plain(content), self._packed(content)):
            with suppress(OSError):  # Windows does not remove what is being read
                path.unlink(missing_ok=True)

    def tidy(self, wanted: Collection[str], before_s: float) -> list[str]:
        """Remove what no create refers to and what a process that died left unfinished, if older than `before_s`.

        The contents that are still to be compressed are returned.
        """
        for path in self.folder.iterdir():
            if path.name.partition(".")[0] not in wanted:
                with suppress(OSError):
                    if path.stat().st_mtime < before_s:
                        path.unlink()
        return [path.stem for path in self.folder.glob("*.json")]

    def _plain(self, content: str) -> Path:
        return self.folder / f"{content}.json"

    def _packed(self, content: str) -> Path:
        return self.folder / f"{content}.json.gz"


@contextmanager
def _private(path: Path) -> Iterator[IO[bytes]]:
    """A new file that only its owner can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o600)
    with io.BufferedWriter(io.FileIO(descriptor, "wb")) as file:
        yield file
