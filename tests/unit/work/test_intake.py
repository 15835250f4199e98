"""The one pass over the requests of a create: what it writes down, and that it reads once."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batches_mcp.api.body import Frame
from batches_mcp.core.errors import CallError
from batches_mcp.core.limits import Limits
from batches_mcp.core.state import StateFolder
from batches_mcp.job.intake import JobFolder
from batches_mcp.job.steps import JobPart
from batches_mcp.requests.reading import Row
from batches_mcp.requests.received import Received
from batches_mcp.requests.source import Source
from batches_mcp.store.kept import KeptRequests
from batches_mcp.store.records import ABANDONED_S
from batches_mcp.work.intake import Body, Temporary, remove_abandoned, take, take_received
from tests.support.servers import REQUEST

AROUND = Frame(b'{"requests":[', b"]}", "2023-06-01", "")
NOW_S = 1_800_000_000.0


def row(custom_id: str, size: int) -> bytes:
    params = {**REQUEST["params"], "system": "x" * size}  # type: ignore[dict-item]
    return json.dumps({"custom_id": custom_id, "params": params}, separators=(",", ":")).encode()


def once(rows: list[bytes]) -> Source:
    """A source that can be read once, as one that is sent through a pipe."""
    left: Iterator[Row] = iter(list(enumerate(rows, 1)))
    return Source(None, "line {}".format, lambda: left, lambda: True)


def requests_of(body: Body) -> list[bytes]:
    content = body.copy.path.read_bytes()
    assert len(content) == body.copy.length_bytes
    assert content.startswith(AROUND.opening)
    assert content.endswith(AROUND.closing)
    return [json.dumps(each, separators=(",", ":")).encode() for each in json.loads(content)["requests"]]


@given(
    sizes=st.lists(st.integers(1, 400), max_size=80),
    bad=st.sets(st.integers(0, 79)),
    only=st.none() | st.integers(0, 12),
    kept=st.booleans(),
)
def test_each_sendable_request_is_written_once_into_the_part_it_belongs_to(
    sizes: list[int], bad: set[int], only: int | None, kept: bool
) -> None:
    rows = [row("!" if n in bad else f"r{n}", size) for n, size in enumerate(sizes)]
    around = replace(AROUND, limits=Limits(batch_requests=7, part_bytes=1500))
    with TemporaryDirectory() as name:
        folder = Path(name)
        drafts = KeptRequests(folder) if kept else Temporary()
        seen: list[bytes] = []
        found, bodies = take(
            once(rows),
            around,
            lambda part: folder / str(part) if only in (None, part) else None,
            drafts.write,
            lambda _, row: seen.append(row),
        )
        assert sorted(path.name for path in folder.iterdir()) == sorted(map(str, bodies))
        written = {number: requests_of(body) for number, body in bodies.items()}
        for number, body in bodies.items():
            part = found.parts[number]
            assert (body.rows, body.content, body.copy.length_bytes) == (part.count, part.content(""), part.body_bytes)
            assert 1 <= part.count <= 7
            assert part.body_bytes <= 1500 or part.count == 1
            assert body.estimate["requests"] == part.count
    sendable = [each for n, each in enumerate(rows) if n not in bad]
    assert seen == sendable
    assert list(bodies) == [n for n in range(len(found.parts)) if only in (None, n)]
    firsts = [sum(part.count for part in found.parts[:n]) for n in range(len(found.parts))]
    for number, body in bodies.items():
        assert written[number] == sendable[firsts[number] : firsts[number] + body.rows]


def test_the_name_of_a_received_body_is_that_of_its_copy(tmp_path: Path) -> None:
    content = b'{ "requests" : [%b, %b]}' % (row("a", 1), row("b", 2))
    kept = KeptRequests(tmp_path)
    for betas in ("", "beta-1"):
        around = Frame(AROUND.opening, AROUND.closing, AROUND.version, betas)
        received = Received(tmp_path / "received", (tmp_path / "received").open("wb"))
        for start in range(0, len(content), 7):
            received.add(content[start : start + 7])
        received.end()
        found, body = take_received(received, around)
        copy = kept.write(tmp_path / "copy", [content], betas)
        assert (body.copy.name, body.copy.length_bytes, body.rows) == (copy.name, copy.length_bytes, 2)
        # The same requests are the same content, however they are written.
        _, [other] = (result := take(once([row("a", 1), row("b", 2)]), around, lambda _: tmp_path / "x", kept.write))
        assert result[1][other].content == body.content
        assert not found.invalid


def test_a_received_body_of_another_form_is_refused(tmp_path: Path) -> None:
    for content, words in ((b"[]", "the body: expected"), (b'{"requests":[{]}', r"requests\[1\]: after the array")):
        received = Received(tmp_path / "received", (tmp_path / "received").open("wb"))
        received.add(content)
        received.end()
        with pytest.raises(CallError, match=words):
            take_received(received, AROUND)


def test_a_folder_for_temporary_files_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(CallError, match="the system's folder for temporary files: No such file"), Temporary().draft():
        pass


def test_temporary_bodies_are_gone_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    drafts = Temporary()
    with drafts.draft() as path:
        _, bodies = take(once([row("a", 1)]), AROUND, partial({0: path}.get), drafts.write)
        assert requests_of(bodies[0]) == [row("a", 1)]
    assert list(tmp_path.iterdir()) == []


def test_what_a_process_that_died_left_is_removed_after_a_day(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    for name, age_s in (("old", ABANDONED_S + 1), ("new", 10)):
        path = state.folder("incoming") / f"{name}.part"
        path.touch()
        os.utime(path, (NOW_S - age_s, NOW_S - age_s))
    remove_abandoned(state, NOW_S)
    assert [path.name for path in state.folder("incoming").iterdir()] == ["new.part"]


@pytest.mark.parametrize("refused", [None, "link", "utime"])
def test_a_job_lends_its_body_and_keeps_it(
    refused: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    folder, kept = JobFolder(tmp_path), KeptRequests(tmp_path)
    _, bodies = take(once([row("a", 1)]), AROUND, folder.body, kept.write)
    made = bodies[0]
    os.utime(made.copy.path, (0, 0))
    if refused:
        monkeypatch.setattr(os, refused, refuse)
    part = JobPart(made.content, made.rows, made.copy.length_bytes, made.estimate, made.copy.name)
    with kept.draft() as path:
        lent = folder.lend(0, part, kept, path, "")
        assert lent == replace(made, copy=replace(made.copy, path=path))
        # It is not taken for a draft that a process left behind long ago.
        assert path.stat().st_mtime > 0
        kept.keep(lent.copy).close()
    assert requests_of(made) == [row("a", 1)]
    with kept.opened(made.copy.name, "") as file:
        assert file.read() == made.copy.path.read_bytes()
