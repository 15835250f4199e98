"""The batches that a job made, noted in its folder, so that it knows those that the ledger has dropped as well."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from batches_mcp.core.state import unusable
from batches_mcp.store.records import Records

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)


class Start(msgspec.Struct, frozen=True):
    """Where a fresh job starts: entries of the ledger up to the key `after`, and batches noted without its `name`, are
    none of it. A job that is not fresh has neither, and takes up whatever there is.
    """

    after: int = 0
    name: str = ""


class Made(msgspec.Struct, frozen=True):
    """A batch: of a part with this `content`, or of rows that were sent again of the batch `parent`."""

    content: str
    batch_id: str
    rows: int
    parent: str | None = None
    start: str = ""


@dataclass(frozen=True, slots=True)
class MadeBatches:
    """The notes of a job, at `path`: one line for each batch, the latest last. All methods raise StateUnusable."""

    path: Path
    records: Records

    def of_part(self, content: str, rows: int, start: Start) -> str | None:
        """The batch of a part: the latest that the ledger has, which is noted, else the latest that was noted."""
        entry = self.records.ledger.standing(content, start.after)
        if entry is not None:
            found = Made(content, str(entry.batch_id), rows, start=start.name)
            self.note(found)
            return found.batch_id
        for made in reversed(self._noted()):
            within = made.parent is None and start.name in ("", made.start)
            if within and made.content == content and self._is_own(made):
                return made.batch_id
        return None

    def retry_of(self, batch_id: str) -> Made | None:
        """The latest batch in which this job sent rows of a batch again."""
        return next((made for made in reversed(self._noted()) if made.parent == batch_id and self._is_own(made)), None)

    def has(self, batch_id: str) -> bool:
        """Whether a batch that was noted is this job's still."""
        return any(made.batch_id == batch_id and self._is_own(made) for made in self._noted())

    def note(self, made: Made) -> None:
        """Note a batch, once."""
        if made in self._noted():
            return
        try:
            descriptor = os.open(self.path, _FLAGS, 0o600)
            with os.fdopen(descriptor, "ab") as file:
                # A line that a crash cut off spoils no other.
                file.write(b"\n%s\n" % msgspec.json.encode(made))
        except OSError as error:
            raise unusable(self.path, error) from error

    def _noted(self) -> list[Made]:
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise unusable(self.path, error) from error
        return [made for line in lines if line and (made := _decoded(line)) is not None]

    def _is_own(self, made: Made) -> bool:
        """Whether the ledger does not know better: the answer of another create may have named an adopted batch."""
        entry = self.records.ledger.find(made.batch_id)
        return entry is None or made.content in (entry.content, entry.body)


def _decoded(line: bytes) -> Made | None:
    try:
        return msgspec.json.decode(line, type=Made)
    except msgspec.DecodeError:
        return None
