"""An input -> a job: checked, cut into parts, and each part's body written down, in one pass and constant memory.

What was cut once is not cut again: a job's parts stay what they are, whichever version resumes it, so that the same
content is known again. Its folder is named by what decides about them.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import IO, Any, TypeVar

import msgspec

from batches_mcp.api.batch import RESULTS_KEPT_S
from batches_mcp.api.body import Frame
from batches_mcp.core.diagnostics import Severity
from batches_mcp.core.errors import UsageError
from batches_mcp.core.state import create, unusable
from batches_mcp.exchange import result
from batches_mcp.job.known import KnownRows
from batches_mcp.job.made import MadeBatches, Start
from batches_mcp.job.steps import InputRow, Job, JobPart, LeftOutRow
from batches_mcp.requests.scan import Scan
from batches_mcp.requests.source import Source
from batches_mcp.store.entry import DAY_S
from batches_mcp.store.kept import Copy, KeptRequests, custom_id_of
from batches_mcp.store.records import Records
from batches_mcp.work.deliver import file_pieces
from batches_mcp.work.intake import Body, take

_JOB, _FRESH, _MADE = "job.json", "fresh.json", "made.jsonl"
_ROWS, _LEFT_OUT = "rows.jsonl", "left-out.jsonl"
_Kind = TypeVar("_Kind")

_input_row = msgspec.json.Decoder(InputRow).decode
_left_out_row = msgspec.json.Decoder(LeftOutRow).decode


@dataclass(frozen=True, slots=True)
class JobFolder:
    """Where a job is kept until its requests are: below the folder of its account."""

    path: Path

    def made(self, records: Records) -> MadeBatches:
        """The batches that the job made."""
        return MadeBatches(self.path / _MADE, records)

    def load(self, records: Records, start: Start) -> Job | None:
        """The job, unless it has to be cut anew: each part must have been sent since `start`, or still be here.

        A fresh job takes no answers from others.
        """
        job = self.read(_JOB, Job)
        if job is None:
            return None
        made = self.made(records)
        whole = all(
            _holds(self.body(number), part.body_bytes) or made.of_part(part.content, part.rows, start)
            for number, part in enumerate(job.parts)
        )
        whole = whole and not (job.known and start.name)
        return job if whole and _holds(self.path / _ROWS, job.rows_bytes) else None

    def rows(self) -> Iterator[InputRow]:
        """The rows of all parts, and those that were answered before, in the order of the input.

        Raises:
            StateUnusable: they cannot be read.
        """
        try:
            with (self.path / _ROWS).open("rb") as file:
                yield from map(_input_row, file)
        except OSError as error:
            raise unusable(self.path, error) from error

    def left_out(self) -> Iterator[LeftOutRow]:
        """The rows with errors, in the order of the input.

        Raises:
            StateUnusable: they cannot be read.
        """
        try:
            with (self.path / _LEFT_OUT).open("rb") as file:
                yield from map(_left_out_row, file)
        except FileNotFoundError:  # an earlier version cut the job
            return
        except OSError as error:
            raise unusable(self.path, error) from error

    def fresh(self) -> Start | None:
        """Where a fresh job that is not finished started; None when there is none."""
        return self.read(_FRESH, Start)

    def begin_fresh(self, start: Start) -> Start:
        """Note where a fresh job starts; the start of another process's, if it was faster.

        Raises:
            StateUnusable: it cannot be written down.
        """
        name = f"{_FRESH}.{token_hex(4)}"
        self.write(name, start)
        try:
            os.link(self.path / name, self.path / _FRESH)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            self.write(_FRESH, start)
        (self.path / name).unlink(missing_ok=True)
        return self.fresh() or start

    def end_fresh(self, job: Job, records: Records) -> None:
        """Note that a fresh job is finished, if each part of it has a batch of its own, or had one."""
        start, made = self.fresh(), self.made(records)
        whole = start is not None and all(made.of_part(part.content, part.rows, start) for part in job.parts)
        if whole and self.fresh() == start:
            (self.path / _FRESH).unlink(missing_ok=True)

    def body(self, part: int) -> Path:
        """Where the body of a part, from 0, is until it has been sent."""
        return self.path / f"part-{part + 1:06}.json"

    def lend(self, number: int, part: JobPart, kept: KeptRequests, path: Path, betas: str) -> Body:
        """The body of a part at `path` as well, from where it can be kept.

        Raises:
            CallError: it cannot be read, or written there.
        """
        copy = Copy(path, part.name, part.body_bytes)
        try:
            os.link(self.body(number), path)
            os.utime(path)  # it is no draft that somebody left there when the job was cut
        except OSError:  # a file system without links
            try:
                path.unlink(missing_ok=True)  # to write into a link would be to write into the job's own
                with self.body(number).open("rb") as file:
                    copy = kept.write(path, file_pieces(file), betas)
            except OSError as error:
                raise unusable(self.path, error) from error
        return Body(copy, part.content, part.rows, part.estimate)

    def write(self, name: str, value: Any) -> None:
        """Write a small file of the job's, whole or not at all."""
        unfinished = self.path / f"{name}.{token_hex(4)}.part"
        try:
            with create(unfinished) as file:
                file.write(msgspec.json.encode(value))
            unfinished.replace(self.path / name)
        except OSError as error:
            raise unusable(self.path, error) from error

    def read(self, name: str, kind: type[_Kind]) -> _Kind | None:
        """What `write` wrote; None when there is nothing of that kind."""
        try:
            return msgspec.json.decode((self.path / name).read_bytes(), type=kind)
        except (OSError, msgspec.DecodeError):
            return None


def job_id(
    file: IO[bytes], template: Mapping[str, Any] | None, around: Frame, *, skip_invalid: bool, limit: int | None = None
) -> str:
    """The name of the job that an input makes, or its first `limit` rows."""
    digest = hashlib.sha256(f"{result.encode(template)}\0{skip_invalid}\0{around.version}\0{around.beta}\0".encode())
    if limit is not None:
        digest.update(f"the first {limit}\0".encode())
    digest.update(around.opening + b"\0" + around.closing + b"\0")
    for piece in file_pieces(file):
        digest.update(piece)
    return digest.hexdigest()[:32]


def spooled_input(source: IO[bytes], path: Path) -> io.BufferedReader:
    """What can be read only once, written down; the file has no name any more where the system allows that."""
    try:
        with create(path) as file:
            shutil.copyfileobj(source, file)
        copy = path.open("rb")
    except OSError as error:
        raise unusable(path.parent, error) from error
    with suppress(OSError):  # Windows keeps it until `tidy`
        path.unlink()
    return copy


def cut(
    source: Source,
    around: Frame,
    records: Records,
    folder: JobFolder,
    *,
    skip_invalid: bool,
    start: Start,
    known: KnownRows | None,
) -> tuple[Scan, Job]:
    """Check the requests of a source and write down the parts they make; with errors in them the job has no parts.

    It takes its place when it is whole: of two processes that cut the same job, one finds it done. `start` is that of
    `JobFolder.load`. Rows that are `known` are in no part.

    Raises:
        UsageError: there are no requests.
        CallError: the source changed meanwhile, or the folder cannot be used.
    """
    draft = JobFolder(folder.path.with_name(f"{folder.path.name}-{token_hex(4)}"))
    try:
        draft.path.mkdir(0o700)
        with create(draft.path / _ROWS) as file, create(draft.path / _LEFT_OUT) as left_out:
            rows = _RowsFile(file, left_out, known)
            found, bodies = take(
                source, around, draft.body, records.kept.write, leave_out=rows.is_known, refused=rows.refuse
            )
            rows_bytes = file.tell()
        if not found.requests:
            raise UsageError(f"{source.file}: holds no requests")
        usable = found.sendable > 0 and (skip_invalid or not found.count(Severity.ERROR))
        parts = [_part(body) for body in bodies.values()] if usable else []
        job = Job(
            folder.path.name,
            str(source.file),
            len(found.invalid),
            parts,
            rows_bytes,
            dict(known.batches) if known and usable else {},
            dict(found.models.most_common()),
            source.total(),
        )
        if usable:
            draft.write(_JOB, job)
            job = _put(draft, folder, records, start) or job
    except OSError as error:
        raise unusable(folder.path, error) from error
    finally:
        shutil.rmtree(draft.path, ignore_errors=True)
    return found, job


def tidy(jobs: Path, now_s: float) -> None:
    """Remove jobs that are older than results are kept, and what was written of inputs that were never read."""
    for path in jobs.iterdir():
        with suppress(OSError):
            age_s = now_s - path.stat().st_mtime
            if path.is_dir() and age_s > (DAY_S if "-" in path.name else RESULTS_KEPT_S):
                shutil.rmtree(path, ignore_errors=True)
            elif path.is_file() and age_s > DAY_S:
                path.unlink()


@dataclass(slots=True)
class _RowsFile:
    """Writes down the rows of a job as they are found, and those with errors."""

    file: IO[bytes]
    left_out: IO[bytes]
    known: KnownRows | None

    def is_known(self, index: int, row: bytes) -> bool:
        """Write down a row; whether it was answered before, and need not be sent."""
        answered = self.known.find(row) if self.known else None
        self.file.write(msgspec.json.encode(InputRow(custom_id_of(row), index, *(answered or ()))) + b"\n")
        return answered is not None

    def refuse(self, index: int, message: str) -> None:
        """Write down a row with errors."""
        self.left_out.write(msgspec.json.encode(LeftOutRow(index, message)) + b"\n")


def _put(draft: JobFolder, folder: JobFolder, records: Records, start: Start) -> Job | None:
    """Put a job in its place, unless another process was faster, whose job is returned.

    A folder that is there already keeps what else it holds, and loses nothing that another process may be reading.
    """
    try:
        draft.path.rename(folder.path)
    except OSError:
        if job := folder.load(records, start):
            return job
        for path in sorted(draft.path.iterdir(), key=lambda path: path.name == _JOB):
            path.replace(folder.path / path.name)
    return None


def _holds(path: Path, size_bytes: int) -> bool:
    """Whether a file is there, whole."""
    try:
        return path.stat().st_size == size_bytes
    except OSError:
        return False


def _part(body: Body) -> JobPart:
    return JobPart(body.content, body.rows, body.copy.length_bytes, body.estimate, body.copy.name)
