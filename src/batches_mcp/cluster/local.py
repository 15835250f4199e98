"""Shards on the disk of a worker: fetched once, made Parquet if they are not, and removed when there is no room."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any

import msgspec

from batches_mcp.cluster import columns, shards, tables
from batches_mcp.cluster.shards import Shard
from batches_mcp.cluster.tables import Table
from batches_mcp.core.errors import InvalidArguments, UnreadableFile
from batches_mcp.core.redact import excerpt
from batches_mcp.core.state import create, unusable
from batches_mcp.requests.source import in_file
from batches_mcp.requests.template import Template

# All shards of a worker together; what was used least recently goes first.
MOST_BYTES = 20_000_000_000
# One that was used so recently may be in use now, by whichever process.
_IN_USE_S = 600.0
_ABANDONED_S = 86_400.0
_PARQUET = b"PAR1"
# DuckDB takes these for wildcards.
_WILDCARDS = "*?["


@dataclass(frozen=True, slots=True)
class ShardFiles:
    """The shards that a worker has, in a folder that processes may share. One is open at a time: that bounds memory."""

    folder: Path
    most_bytes: int = MOST_BYTES
    now_s: Callable[[], float] = time.time
    _turn: threading.Lock = field(default_factory=threading.Lock, compare=False)

    @contextmanager
    def opened(self, shard: Shard) -> Iterator[Table]:
        """Open a shard as a table, which has its columns and rows whatever its format is; other threads wait meanwhile.

        Raises:
            UnreadableFile: it cannot be read as Parquet, JSONL or CSV; the message begins with its URL.
            InvalidArguments: it is not what it was when it was found.
            StateUnusable: its store or the folder cannot be used.
        """
        file = self._file(shard)
        with self._turn, tables.opened(file, shard.url) as table:
            yield table
        shards.check_unchanged(shard)

    def _file(self, shard: Shard) -> Path:
        name = hashlib.sha256(f"{shard.url}\0{shard.version}".encode()).hexdigest()[:32]
        path = self.folder / f"{name}.parquet"
        try:
            with suppress(FileNotFoundError):
                os.utime(path)
                return path
            unfinished = self.folder / f"{name}-{token_hex(4)}"
            try:
                found = self._made(shard, unfinished.with_suffix(".fetched"), unfinished.with_suffix(".part"))
                if found == shard.local:
                    return found
                found.replace(path)
            finally:
                for each in self.folder.glob(f"{unfinished.name}.*"):
                    each.unlink(missing_ok=True)
            self._make_room(path)
        except OSError as error:
            raise unusable(self.folder, error) from error
        return path

    def _made(self, shard: Shard, fetched: Path, made: Path) -> Path:
        """A file with the shard in Parquet, without large pages: the shard itself, or one of the two that are named."""
        file = shards.fetch(shard, fetched)
        if not _is_parquet(file, shard.url):
            with self._turn:
                _convert(file, shard.url, fetched.with_suffix(".lines"), made)
            return made
        with self._turn:
            if tables.regrouped(file, shard.url, made):
                return made
        if file == shard.local and any(mark in str(file) for mark in _WILDCARDS):
            return Path(shutil.copyfile(file, fetched))
        return file

    def _make_room(self, new: Path) -> None:
        now_s, found = self.now_s(), []
        for path in self.folder.iterdir():
            with suppress(OSError):  # another process has removed it
                status = path.stat()
                if path.suffix == ".parquet":
                    found.append((status.st_mtime, status.st_size, path))
                elif now_s - status.st_mtime > _ABANDONED_S and path.is_file():
                    path.unlink()
        total = sum(size for _, size, _ in found)
        for used_s, size, path in sorted(found):
            if total <= self.most_bytes or now_s - used_s < _IN_USE_S:
                break
            if path != new:
                total -= size
                with suppress(OSError):  # on Windows, open somewhere
                    path.unlink(missing_ok=True)


class _Row(Template):
    """In place of params, the row itself, whatever its columns are."""

    def fill(self, row: Mapping[str, Any]) -> Any:
        return row

    def custom_id(self, row: Mapping[str, Any]) -> Any:  # noqa: ARG002 - as of Template
        return ""

    def check(self, columns: object) -> None:
        pass


class _Read(msgspec.Struct):
    """What that makes of a row."""

    params: msgspec.Raw


class _Line(msgspec.Struct):
    """A row for `columns.write_lines`."""

    row: msgspec.Raw | None = None
    problem: str | None = None


_read = msgspec.json.Decoder(_Read).decode


def _convert(source: Path, url: str, lines: Path, path: Path) -> None:
    """Make Parquet of JSONL or CSV, compressed or not."""
    try:
        with source.open("rb") as file, create(lines) as copy:
            for _, row in in_file(url, url.rpartition("/")[2], file, _Row({})).rows():
                line = _Line(problem=row) if isinstance(row, str) else _Line(_read(row).params)
                copy.write(msgspec.json.encode(line) + b"\n")
    except InvalidArguments as error:
        raise UnreadableFile(error.report.message.removesuffix(".")) from error
    columns.write_lines(lines, path, url)


def _is_parquet(path: Path, url: str) -> bool:
    """Whether a file is Parquet, by its beginning and its end.

    Raises:
        UnreadableFile: it should be and is not, or it is empty.
    """
    with path.open("rb") as file:
        head, size_bytes = file.read(len(_PARQUET)), file.seek(0, os.SEEK_END)
        file.seek(max(0, size_bytes - len(_PARQUET)))
        tail = file.read()
    if not size_bytes:
        raise UnreadableFile(f"{url}: is empty")
    if head == _PARQUET and tail == _PARQUET and size_bytes > 2 * len(_PARQUET):
        return True
    if head == _PARQUET:
        raise UnreadableFile(f"{url}: is cut short; a Parquet file ends as it begins, with PAR1")
    if url.lower().endswith(".parquet"):
        raise UnreadableFile(f"{url}: is not Parquet; it begins with {excerpt(repr(head), 40)}, and Parquet with PAR1")
    return False
