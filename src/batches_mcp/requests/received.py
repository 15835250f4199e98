"""The body of a create as it is received: on disk, because it may be large."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO


@dataclass(slots=True)
class Received:
    """A body that is written to an open file at `path`, with the hash of its bytes."""

    path: Path
    file: BinaryIO
    length_bytes: int = 0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def add(self, piece: bytes) -> None:
        """Write the next piece.

        Raises:
            OSError: it cannot be written.
        """
        self.file.write(piece)
        self.digest.update(piece)
        self.length_bytes += len(piece)

    def end(self) -> None:
        """There are no more pieces: see to it that the file outlives a power failure.

        Raises:
            OSError: it cannot be written.
        """
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
