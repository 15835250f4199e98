"""The body of a create as it was received: on disk, because it may be large."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

_PIECE_BYTES = 1 << 18


@dataclass(slots=True)
class Received:
    """A file without a name that is gone when it is closed; `pieces` can be read again and again."""

    file: io.BufferedRandom
    length: int = 0

    def add(self, piece: bytes) -> None:
        self.file.write(piece)
        self.length += len(piece)

    def pieces(self) -> Iterator[bytes]:
        self.file.seek(0)
        while piece := self.file.read(_PIECE_BYTES):
            yield piece


def received(folder: Path) -> Received:
    """An empty one, to be added to.

    Raises:
        OSError: the folder cannot hold it.
    """
    return Received(TemporaryFile(dir=folder))
