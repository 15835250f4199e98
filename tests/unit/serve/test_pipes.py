"""Lines over pipes and files, in whatever pieces they come, and however slowly they are read."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batches_mcp.serve.pipes import LineReader, LineWriter

pytestmark = pytest.mark.anyio

# More than any pipe holds.
LONG = 2**20


async def every_line(reader: LineReader) -> list[bytes]:
    lines = []
    while True:
        try:
            lines.append(await reader.line())
        except anyio.EndOfStream:
            return lines


@given(content=st.binary(max_size=60).map(lambda text: text.replace(b"\r", b"\n")), cuts=st.lists(st.integers(0, 60)))
async def test_lines_come_whole_in_whatever_pieces_they_are_written(content: bytes, cuts: list[int]) -> None:
    reading, writing = os.pipe()
    reader, lines = LineReader(reading), []

    async def read() -> None:
        lines.extend(await every_line(reader))

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(content)], strict=True):
                os.write(writing, content[begin:end])
                await anyio.lowlevel.checkpoint()
            os.close(writing)
    finally:
        os.close(reading)
    assert lines == content.splitlines(keepends=True)


async def test_a_file_is_read_to_its_end(tmp_path: Path) -> None:
    content = b"".join(b"%d" % number * 1000 + b"\n" for number in range(1000)) + b"the last one has no end"
    (tmp_path / "lines").write_bytes(content)
    with (tmp_path / "lines").open("rb") as file:
        assert await every_line(LineReader(file.fileno())) == content.splitlines(keepends=True)


async def test_a_file_is_written(tmp_path: Path) -> None:
    with (tmp_path / "lines").open("wb") as file:
        writer = LineWriter(file.fileno())
        for length in (1, LONG, 1):
            await writer.write(b"x" * length + b"\n")
    assert [len(line) for line in (tmp_path / "lines").read_bytes().splitlines()] == [1, LONG, 1]


def reading_all(descriptor: int, began: threading.Event) -> Callable[[], list[bytes]]:
    """Read in a thread, from when `began` is set; what is returned waits for the lines."""
    pieces: list[bytes] = []

    def read() -> None:
        began.wait()
        while piece := os.read(descriptor, 10_000):
            pieces.append(piece)

    thread = threading.Thread(target=read)
    thread.start()

    def lines() -> list[bytes]:
        thread.join()
        return b"".join(pieces).splitlines()

    return lines


async def test_lines_are_whole_when_many_write_and_some_are_canceled() -> None:
    reading, writing = os.pipe()
    writer, began = LineWriter(writing), threading.Event()
    lines = reading_all(reading, began)
    written = []

    async def write(number: int) -> None:
        await writer.write(json.dumps([number, "x" * (LONG if number % 2 else 10)]).encode() + b"\n")
        written.append(number)

    try:
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as canceled:
                async with anyio.create_task_group() as impatient:
                    for number in (1, 2, 3):
                        impatient.start_soon(write, number)
                    await anyio.wait_all_tasks_blocked()
                    tasks.start_soon(write, 4)
                    await anyio.wait_all_tasks_blocked()
                    assert not written  # nobody has read yet, and the event loop was not held up
                    began.set()
                    canceled.cancel()
        await writer.written()
    finally:
        os.close(writing)
    numbers = [json.loads(line)[0] for line in lines()]
    os.close(reading)
    assert sorted(numbers) == sorted(written)
    assert {1, 4} <= set(numbers)


async def test_nobody_reads() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        with pytest.raises(anyio.BrokenResourceError):
            await LineWriter(writing).write(b"x\n")
    finally:
        os.close(writing)
