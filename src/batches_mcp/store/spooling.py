"""Writing a spool: a stream as it comes, its index beside it, and the rest of a stream that was cut."""

from __future__ import annotations

import os
import shutil
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import accumulate, islice
from operator import eq
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from batches_mcp.core.limits import LIMITS, Limits
from batches_mcp.core.state import create
from batches_mcp.store.columns import Columns
from batches_mcp.store.index import Head, check_of, encode
from batches_mcp.store.rows import Lines, read_row, read_rows
from batches_mcp.store.spool import Spool, index_path, key, load, parse, remove

_BUFFER_BYTES = 1 << 18
# One is enough: the disk is the same for all.
_SYNCING = ThreadPoolExecutor(1, "sync")


class Writer:
    """Writes a spool: first a stream as it is, then, when that was cut or wrong, what later streams have beyond it.

    `total` is how many rows the batch has, `own` what `check_of` says of the custom_ids of its requests, in ascending
    order, where they are known. Only its rows are counted, each once; other lines are ignored. `begun` is a spool that
    is not complete, to go on from. Every method may raise OSError; `discard` must then be called, and leaves nothing
    behind.
    """

    def __init__(
        self,
        folder: Path,
        batch_id: str,
        total: int,
        own: Sequence[int] | None = None,
        begun: Spool | None = None,
        limits: Limits = LIMITS,
    ) -> None:
        self._limits = limits
        self._folder, self._batch_id, self._total, self._own = folder, batch_id, total, own
        self._temporary = folder / f"{key(batch_id)}-{token_hex(4)}.part"
        self._columns = Columns()
        self._ignored = 0
        self._resuming = False
        self._known: set[str] = set()
        self._of_this_stream: set[str] = set()
        self.saved = False
        if begun is None:
            self._file: BinaryIO = create(self._temporary)
        else:
            shutil.copyfile(begun.path, self._temporary)
            self._temporary.chmod(0o600)
            self._file = self._temporary.open("r+b", _BUFFER_BYTES)
            self._file.seek(0, os.SEEK_END)
            self._columns, self._ignored = Columns.of(begun), begun.head.ignored
        self._bytes = begun.head.data_bytes if begun else 0
        self._stream = Lines(total, limits.line_bytes)
        self._synced_bytes = self._bytes
        self._syncing: Future[None] | None = None

    @property
    def rows(self) -> int:
        return self._columns.rows

    @property
    def received_bytes(self) -> int:
        return self._bytes

    @property
    def whole(self) -> bool:
        """Whether each request of the batch has its row.

        Where the requests are not known, one stream must have had all the rows by itself: of rows that came in several,
        some may be another batch's.
        """
        if self.rows != self._total:
            return False
        return self._own is not None or not self._resuming or len(self._of_this_stream) == self._total

    def begin(self) -> None:
        """A stream begins. What earlier ones brought is kept, and only what is new is taken from this one.

        When they brought more rows than there can be, they contradict each other, and this one is taken in their place.
        """
        self._stream = Lines(self._total, self._limits.line_bytes)
        self._resuming = 0 < self.rows <= self._total
        if not self._resuming:
            self._truncate(0)
            self._columns, self._ignored = Columns(), 0
            return
        self._of_this_stream.clear()
        self._known = {row.custom_id for row in map(read_row, self._read(range(self.rows))) if row is not None}

    def take(self, chunk: bytes) -> bool:
        """The next bytes of the stream; false when it is longer than it can be."""
        lines = self._stream.feed(chunk)
        if not self._resuming:
            self._file.write(chunk)
            if lines:
                self._note(lines)
                self._sync_soon()
        else:
            self._append(lines)
        return not self._stream.too_long

    def end(self) -> None:
        """The stream is over, however it ended: a last line that is whole is kept, half of one is not."""
        rest = self._stream.rest()
        if self._resuming:
            self._append([rest])
            return
        if read_row(rest) is None:
            self._truncate(self._bytes)
        else:
            self._note([rest], ends=0)
        self._keep_own()

    def save(self, now_s: float | None = None) -> Spool:
        """Make what there is the batch's spool, unless another process has made a better one meanwhile; that one.

        `now_s` is the upstream's time.
        """
        before = load(self._folder, self._batch_id)
        if before is not None and self._total >= before.head.rows >= self.rows and (before.complete or not self.whole):
            self.discard()
            self.saved = True
            return before
        self._file.flush()
        self._synced()
        os.fsync(self._file.fileno())
        self._file.close()
        changed_ns = self._temporary.stat().st_mtime_ns
        data = self._folder / f"{key(self._batch_id)}-{token_hex(8)}.jsonl"
        columns = self._columns
        head = Head(
            self._batch_id,
            data.name,
            self._bytes,
            changed_ns,
            now_s,
            columns.rows,
            self._ignored,
            self.whole,
            list(columns.classes),
            list(columns.tokens.items()),
            columns.causes.all(),
        )
        content = encode(columns.index(head))
        temporary = self._temporary.with_suffix(".index-part")
        try:
            with create(temporary) as file:
                file.write(content)
            self._temporary.replace(data)
            temporary.replace(index_path(self._folder, self._batch_id))
        except OSError:
            for path in (temporary, data):
                path.unlink(missing_ok=True)
            raise
        self.saved = True
        if before is not None:
            with suppress(OSError):
                os.utime(before.path)  # `make_room` removes it, once nobody can be reading it any longer
        spool = parse(self._folder, content)
        if spool is None:
            raise OSError(f"what was just written to {data} cannot be read")
        return spool

    def discard(self) -> None:
        """Leave nothing of it."""
        with suppress(OSError):  # what is still buffered may not fit on the disk either
            self._synced()
        with suppress(OSError):
            self._file.close()
        remove(self._temporary)

    def _sync_soon(self) -> None:
        """Have what there is written to the disk while more arrives, so that little is left to do at the end."""
        if self._bytes - self._synced_bytes >= self._limits.sync_bytes and (
            self._syncing is None or self._syncing.done()
        ):
            self._synced()
            self._synced_bytes = self._bytes
            self._syncing = _SYNCING.submit(os.fsync, self._file.fileno())

    def _synced(self) -> None:
        """Wait for the disk. What went wrong there is raised once, so that it must be asked for here."""
        if self._syncing is not None:
            syncing, self._syncing = self._syncing, None
            syncing.result()

    def _note(self, lines: Sequence[bytes], ends: int = 1) -> None:
        """Lines that are in the file as they came, each with `ends` bytes after it."""
        lengths = [len(line) for line in lines]
        offsets = list(accumulate((length + ends for length in lengths), initial=self._bytes))
        self._bytes = offsets.pop()
        rows = read_rows(lines)
        if not all(rows):
            # Blank lines are nothing at all.
            self._ignored += sum(row is None and bool(line.strip()) for line, row in zip(lines, rows, strict=True))
            numbers = [number for number, row in enumerate(rows) if row is not None]
            offsets, lengths = [offsets[number] for number in numbers], [lengths[number] for number in numbers]
        self._columns.offsets.extend(offsets)
        self._columns.lengths.extend(lengths)
        self._columns.add(filter(None, rows))

    def _append(self, lines: Iterable[bytes]) -> None:
        """Rows that are not there yet."""
        for line in lines:
            row = read_row(line)
            if row is None or not self._is_own(check_of(row.custom_id)):
                continue
            self._of_this_stream.add(row.custom_id)
            if row.custom_id in self._known:
                continue
            self._known.add(row.custom_id)
            if self._bytes == self._columns.offsets[-1] + self._columns.lengths[-1]:
                self._file.write(b"\n")  # the line before it came without its end
                self._bytes += 1
            self._file.write(line + b"\n")
            self._note([line])

    def _keep_own(self) -> None:
        """Leave rows out of the index that are not the batch's, or repeat an earlier one."""
        checks = self._columns.checks
        ordered = sorted(checks)
        repeated = any(map(eq, ordered, islice(ordered, 1, None)))
        if not repeated and (self._own is None or all(map(self._is_own, ordered))):
            return
        before, self._columns = self._columns, Columns()
        seen: set[str] = set()
        for number, line in enumerate(self._read(range(before.rows), before)):
            row = read_row(line)
            if row is None or row.custom_id in seen or not self._is_own(checks[number]):
                self._ignored += 1
                continue
            seen.add(row.custom_id)
            self._columns.offsets.append(before.offsets[number])
            self._columns.lengths.append(before.lengths[number])
            self._columns.add([row])

    def _is_own(self, check: int) -> bool:
        """Whether the id with this check may be one of the batch's requests."""
        if self._own is None:
            return True
        place = bisect_left(self._own, check)
        return place < len(self._own) and self._own[place] == check

    def _read(self, numbers: Iterable[int], columns: Columns | None = None) -> Iterator[bytes]:
        """Lines of what is written already."""
        columns = columns or self._columns
        self._file.flush()
        with self._temporary.open("rb") as file:
            for number in numbers:
                file.seek(columns.offsets[number])
                yield file.read(columns.lengths[number])

    def _truncate(self, size_bytes: int) -> None:
        self._file.seek(size_bytes)
        self._file.truncate()
        self._bytes = size_bytes
