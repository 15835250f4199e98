"""All spools of an account: found, begun, and removed when they are old or there is no room for them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from batches_mcp.api.batch import RESULTS_KEPT_S
from batches_mcp.core.limits import LIMITS, Limits
from batches_mcp.store.index import Head, read_head
from batches_mcp.store.spool import Spool, index_path, key, load, remove
from batches_mcp.store.spooling import Writer

# All spools of an account together; what was read least recently goes first.
MOST_BYTES = 4_000_000_000
# One that was read so recently may be being read now, by whichever process.
_IN_USE_S = 600.0
# What a process that was killed has left behind.
_ABANDONED_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Spools:
    """The spools of one account, in a folder of their own."""

    folder: Path

    def load(self, batch_id: str) -> Spool | None:
        """The spool of a batch; None when there is none that can be relied on. Marks it as used just now."""
        return load(self.folder, batch_id)

    def writer(
        self,
        batch_id: str,
        total: int,
        own: Sequence[int] | None = None,
        begun: Spool | None = None,
        limits: Limits = LIMITS,
    ) -> Writer:
        """A `Writer` of the spool of a batch, that goes on from what was `begun` if that is still there.

        Raises:
            OSError: it cannot be written to.
        """
        try:
            return Writer(self.folder, batch_id, total, own, begun, limits)
        except FileNotFoundError:
            if begun is None:
                raise
            return Writer(self.folder, batch_id, total, own, None, limits)

    def publish(self, spool: Spool) -> None:
        """Let other servers have a spool that was just written; a folder's processes have it already."""

    def forget(self, batch_id: str) -> None:
        """Remove the spool of a batch, if there is one, and what an earlier one has left."""
        remove(index_path(self.folder, batch_id))
        for path in list(self.folder.glob(f"{key(batch_id)}-*.jsonl")):
            remove(path)

    def make_room(self, now_s: float, most_bytes: int = MOST_BYTES) -> None:
        """Remove the spools that were read least recently until the rest fit; and what nobody needs any longer.

        Nothing is removed that may be in use, by whichever process.
        """
        indexes: list[tuple[float, Path, Path]] = []
        found: dict[Path, os.stat_result] = {}
        for path in list(self.folder.iterdir()):
            with suppress(OSError):
                found[path] = path.stat()
                if path.suffix == ".index":
                    indexes.append((found[path].st_mtime, path, self.folder / _data_name(path)))
        named = {data for _, _, data in indexes}
        for path in found.keys() - named:
            unused_s = now_s - found[path].st_mtime
            if path.suffix != ".index" and unused_s > (_IN_USE_S if path.suffix == ".jsonl" else _ABANDONED_S):
                remove(path)
                del found[path]
        total = sum(each.st_size for each in found.values())
        for used_s, index, data in sorted(indexes):
            if total <= most_bytes or now_s - used_s < _IN_USE_S:
                break
            total -= sum(found[path].st_size for path in (index, data) if path in found)
            remove(index)
            remove(data)

    def remove_expired(self, now_s: float) -> None:
        """Remove the spools as old as results get, and those that cannot be read, unless they may be in use."""
        for index in list(self.folder.glob("*.index")):
            with suppress(OSError):
                head, used_s = _head(index), index.stat().st_mtime
                made_s = max(head.made_s or 0.0, (self.folder / head.data).stat().st_mtime) if head is not None else 0.0
                if now_s - used_s > _IN_USE_S and now_s - made_s > RESULTS_KEPT_S:
                    remove(index)
                    if head is not None:
                        remove(self.folder / head.data)


def _data_name(index: Path) -> str:
    """The data that an index names; of a damaged one none."""
    head = _head(index)
    return "" if head is None else head.data


def _head(index: Path) -> Head | None:
    with index.open("rb") as file:
        return read_head(file)
