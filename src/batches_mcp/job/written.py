"""What runs wrote to their OUT, noted in the folder of each job: so a file is known again that nobody has changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from batches_mcp.exchange import result
from batches_mcp.job.intake import JobFolder

# In the folder of a job: the latest few of the files it wrote.
_WRITTEN = "out.json"
_MOST_WRITTEN = 10


class WrittenFile(msgspec.Struct, frozen=True):
    """A file as it was written: `rows` results, `answers` of which succeeded.

    `source` is the FILE whose rows they are of, None for what can be read only once; `asked` stands for what is asked
    of each row.
    """

    path: str
    size_bytes: int
    sha256: str
    rows: int
    answers: int
    source: str | None
    asked: str


@dataclass(frozen=True, slots=True)
class Found:
    """What the notes say of a file: `own` was written by this very job; an `edited` one is not as any job wrote it.

    One that is `made_up` has the answers of an embedded sandbox.
    """

    written: WrittenFile
    own: bool = False
    edited: bool = False
    made_up: bool = False

    def data(self) -> dict[str, Any]:
        """It in the report of a run, as keys that stay."""
        return {"rows": self.written.rows, "answers": self.written.answers, "own": self.own}


def asked_of_rows(template: Mapping[str, Any] | None) -> str:
    """What stands for the question that a template asks of each row; the answer may be longer or shorter."""

    def without_length(value: Mapping[str, Any]) -> dict[str, Any]:
        return {name: part for name, part in value.items() if name != "max_tokens"}

    question = None if template is None else without_length(template)
    if question and isinstance(params := question.get("params"), Mapping):
        question["params"] = without_length(params)
    return hashlib.sha256(result.encode(question).encode()).hexdigest()


def written(path: Path, place: Path, *, rows: int, answers: int, source: str | None, asked: str) -> WrittenFile:
    """The note of a file that is at `path`, and will be at `place`; an OSError when it cannot be read."""
    return WrittenFile(os.path.realpath(place), path.stat().st_size, _sha256(path), rows, answers, source, asked)


def note(folder: JobFolder, latest: WrittenFile) -> None:
    """Note what a job wrote, unless that is noted.

    Raises:
        StateUnusable: it cannot be noted.
    """
    noted = _noted(folder)
    if latest not in noted:
        folder.write(_WRITTEN, [*noted[1 - _MOST_WRITTEN :], latest])


def find(folder: JobFolder, sandboxes: JobFolder, path: Path, source: str | None, asked: str) -> Found | None:
    """Who wrote the file at `path`: the job that is kept in `folder`, or another of the same account; None if nobody.

    What embedded sandboxes answered is noted in `sandboxes`. Of several others, it is one that asked the same of the
    same source, if there is one.
    """
    name = os.path.realpath(path)
    all_notes = [Found(each, at == folder.path) for at, each in _all_noted(folder) if each.path == name]
    all_notes += [Found(each, made_up=True) for each in _noted(sandboxes) if each.path == name]
    if not all_notes:
        return None
    size_bytes = path.stat().st_size
    if any(each.written.size_bytes == size_bytes for each in all_notes):
        sha256 = _sha256(path)
        same = [each for each in all_notes if (each.written.size_bytes, each.written.sha256) == (size_bytes, sha256)]
        if same:
            return max(same, key=lambda each: (each.own, each.written.source == source, each.written.asked == asked))
    return Found(all_notes[0].written, edited=True)


def _all_noted(folder: JobFolder) -> Iterator[tuple[Path, WrittenFile]]:
    others: list[Path] = []
    with suppress(OSError):
        others = [path for path in folder.path.parent.iterdir() if path != folder.path and path.is_dir()]
    for path in [folder.path, *others]:
        for each in _noted(JobFolder(path)):
            yield path, each


def _noted(folder: JobFolder) -> list[WrittenFile]:
    return folder.read(_WRITTEN, list[WrittenFile]) or []  # an earlier version noted less, which counts for nothing


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
