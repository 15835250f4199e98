"""A relayed answer: read by a thread, in pieces of what is there, and given up when nobody takes it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import anyio
import anyio.to_thread
import pytest

from batches_mcp.core.errors import ErrorReport, UpstreamUnreachable
from batches_mcp.core.limits import Limits
from batches_mcp.exchange.relayed import Relayed
from batches_mcp.exchange.request import Request
from batches_mcp.exchange.result import Answer
from batches_mcp.exchange.upstream import Upstream
from tests.support.held import chunk, chunked, held_upstream

pytestmark = pytest.mark.anyio

HEAD = Answer(200, {}, b"")


def of(parts: Iterator[bytes], *more: bool, piece_bytes: int = 1_000) -> Relayed:
    """An answer after whose parts there is `more` at once, or not."""
    there = iter(more)
    one = anyio.CapacityLimiter(1)
    return Relayed(HEAD, parts, lambda: next(there, False), lambda: None, lambda: None, one, piece_bytes)


async def test_a_piece_is_what_is_there_at_once() -> None:
    assert [piece async for piece in of(iter((b"a", b"b", b"c")), True, False).pieces()] == [b"ab", b"c"]
    # An empty part is no end.
    assert [piece async for piece in of(iter((b"", b"b"))).pieces()] == [b"b"]
    few_bytes = of(iter((b"aaa", b"bbb", b"c")), True, True, piece_bytes=4)
    assert [piece async for piece in few_bytes.pieces()] == [b"aaabbb", b"c"]


async def test_what_came_before_a_break_is_handed_over_first() -> None:
    async def take(piece: bytes) -> None:
        taken.append(piece)

    def parts() -> Iterator[bytes]:
        yield b"a"
        raise UpstreamUnreachable(ErrorReport("connection_error", "it broke.", "Ask again."), maybe_accepted=True)

    taken: list[bytes] = []
    with pytest.raises(UpstreamUnreachable):
        await of(parts()).each(take)
    assert taken == [b"a"]


async def test_a_thread_that_waits_lets_go_when_the_answer_is_given_up() -> None:
    waiting, hung_up, closed = threading.Event(), threading.Event(), threading.Event()

    def parts() -> Iterator[bytes]:
        waiting.set()
        hung_up.wait()
        yield b""

    async def nobody(_: bytes) -> None:
        raise AssertionError

    answer = Relayed(HEAD, parts(), lambda: False, hung_up.set, closed.set, anyio.CapacityLimiter(1), 1_000)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer.each, nobody)
        await anyio.to_thread.run_sync(waiting.wait)
        tasks.cancel_scope.cancel()
    answer.stop()
    assert closed.is_set()
    assert [piece async for piece in answer.pieces()] == []


async def test_a_stream_that_falls_silent_is_given_up() -> None:
    rows: list[bytes] = []
    with held_upstream() as held:

        async def answer() -> None:
            upstream = await anyio.to_thread.run_sync(held.accept)
            upstream.sendall(chunked("application/x-jsonl") + chunk(b"a row\n"))

        async def take(piece: bytes) -> None:
            rows.append(piece)

        async with anyio.create_task_group() as tasks, Upstream(Limits(call_s=0.3)) as upstream:
            tasks.start_soon(answer)
            async with upstream.relay(Request("GET", f"{held.url}/results", (), None)) as answered:
                with pytest.raises(UpstreamUnreachable) as given_up:
                    await answered.each(take)
    assert given_up.value.report.type == "timeout"
    assert rows == [b"a row\n"]
