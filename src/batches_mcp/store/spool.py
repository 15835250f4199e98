"""Results on disk: the upstream's bytes as they came, and beside them an index, so that any row is one read away.

Two files for a batch. The data has a name of its own each time it is written; the index is renamed into place and names
its data, so that several processes can write the same spool, and what is half written is never found. Data that no
index names any longer stays for a while, since somebody may be reading it. An index whose data has changed since counts
as none.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from batches_mcp.store.index import Index, check_of, decode
from batches_mcp.store.rows import read_row


@dataclass(frozen=True)
class Spool(Index):
    """The results of a batch on disk, each once, by number from 0 in the order they came."""

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / self.head.data

    def lines(self, numbers: Iterable[int]) -> Iterator[bytes]:
        """The lines with these numbers, as they came but for their line ends.

        Raises:
            OSError: the data cannot be read.
        """
        with self.path.open("rb") as file:
            for number in numbers:
                file.seek(self.offsets[number])
                yield file.read(self.lengths[number])

    def find(self, custom_ids: Collection[str]) -> dict[str, int]:
        """The number of the row of each of these ids that has one."""
        wanted = {check_of(custom_id) for custom_id in custom_ids}
        candidates = [number for number, check in enumerate(self.checks) if check in wanted]
        found: dict[str, int] = {}
        for number, line in zip(candidates, self.lines(candidates), strict=True):
            row = read_row(line)
            if row is not None and row.custom_id in custom_ids:
                found.setdefault(row.custom_id, number)
        return found


def load(folder: Path, batch_id: str) -> Spool | None:
    """The spool of a batch; None when there is none that can be relied on. Marks it as used just now."""
    index = index_path(folder, batch_id)
    try:
        spool = parse(folder, index.read_bytes())
        found = spool.path.stat() if spool is not None else None
        if spool is None or found is None or spool.head.batch_id != batch_id:
            return None
        if (found.st_size, found.st_mtime_ns) != (spool.head.data_bytes, spool.head.changed_ns):
            return None
        os.utime(index)
    except OSError:
        return None
    return spool


def parse(folder: Path, content: bytes) -> Spool | None:
    """The spool that an index is of; None for one that is damaged, or of another version."""
    index = decode(content)
    if index is None:
        return None
    return Spool(index.head, index.offsets, index.lengths, index.checks, index.kinds, folder)


def key(batch_id: str) -> str:
    """The beginning of the names of a batch's files."""
    return hashlib.sha256(batch_id.encode()).hexdigest()[:32]


def index_path(folder: Path, batch_id: str) -> Path:
    """Where the index of a batch is, if it has one."""
    return folder / f"{key(batch_id)}.index"


def remove(path: Path) -> None:
    """Remove a file; one that cannot be removed now is left for `make_room`."""
    with suppress(OSError):  # gone already, or, on Windows, open somewhere
        path.unlink()
