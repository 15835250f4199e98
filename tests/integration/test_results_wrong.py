"""Results that are not what they should be: lines repeated, of another batch, garbled or without end, and odd batches."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from mcp.client.client import Client

from batches_mcp.core.limits import Limits
from batches_mcp.sandbox import ManualClock, Sandbox
from tests.support.creates import INSTANT, requests
from tests.support.results import ID, Alter, batch, cut, get, jsonl, relaying, row, serving, walk
from tests.support.scripted import answer, scripted_upstream
from tests.support.servers import CREATE, LIST, RESULTS, error_of, server_for, text_of

pytestmark = pytest.mark.anyio

ROWS = [row(0, "first"), row(1, "second"), row(2, "third")]
GOOD = jsonl(b"".join(ROWS))
FOREIGN = row(9, "of another batch")
GARBLED = b'{"custom_id":"r1","resu\n'


def ids(page: dict[str, Any]) -> list[str]:
    return sorted(each["custom_id"] for each in page["rows"])


@pytest.mark.parametrize(
    "lines",
    [
        [ROWS[0], ROWS[0], ROWS[2]],
        [ROWS[0], GARBLED, ROWS[2]],
        [ROWS[0], b"[]\n", b"{}\n", b"null\n", ROWS[2]],
        [ROWS[2], ROWS[0], ROWS[0][:-1]],
    ],
    ids=["repeated", "garbled", "other JSON", "no end"],
)
@pytest.mark.parametrize("as_file", [None, "jsonl", "csv"])
async def test_a_stream_with_wrong_lines_is_read_again(lines: Sequence[bytes], as_file: str | None) -> None:
    with scripted_upstream(batch(3), jsonl(b"".join(lines)), GOOD) as upstream:
        async with Client(server_for(upstream.url, clock=INSTANT)) as client:
            if as_file:
                file = (await get(client, as_file=as_file))["file"]
                assert file["rows"] == 3
                written = Path(file["path"]).read_bytes().splitlines()
                if as_file == "jsonl":
                    assert sorted(json.loads(line)["custom_id"] for line in written) == ["r0", "r1", "r2"]
                else:
                    assert len(written) == 4
            upstream.steps[:] = [batch(3)]  # what is kept is enough from here on
            page = await get(client) if as_file else await _after(upstream, lines, client)
    assert ids(page) == ["r0", "r1", "r2"]
    assert page["totals_complete"] is True
    assert page["usage"]["output_tokens"] == 9


async def _after(upstream: Any, lines: Sequence[bytes], client: Client) -> dict[str, Any]:
    upstream.steps[:] = [batch(3), jsonl(b"".join(lines)), GOOD]
    return await get(client)


@pytest.mark.parametrize("lines", [[ROWS[0], ROWS[0], ROWS[2]], [ROWS[0], GARBLED, ROWS[2]]])
async def test_what_stays_wrong_is_told_and_never_called_complete(lines: Sequence[bytes]) -> None:
    with scripted_upstream(batch(3), jsonl(b"".join(lines))) as upstream:
        async with Client(server_for(upstream.url, clock=INSTANT)) as client:
            page = await get(client)
            assert ids(page) == ["r0", "r2"]
            assert (page["totals_complete"], page["usage"]) == (False, None)
            assert "2 of 3 rows have arrived" in page["notice"]
            assert "1 other line of it was not a result of this batch" in page["notice"]
            upstream.steps[:] = [batch(3), jsonl(b"".join(lines))]
            refused = await client.call_tool(RESULTS, {"message_batch_id": ID, "as_file": "jsonl"})
            assert error_of(refused)["type"] == "results_incomplete"
            upstream.steps[:] = [batch(3), GOOD]
            assert ids(await get(client)) == ["r0", "r1", "r2"]


async def test_streams_that_contradict_each_other_are_never_put_together() -> None:
    """Without a copy of the requests nothing tells which of the rows is of another batch, but a stream that is whole."""
    with scripted_upstream(batch(3), *[jsonl(ROWS[0] + FOREIGN), jsonl(ROWS[0] + ROWS[1])] * 2) as upstream:
        async with Client(server_for(upstream.url, clock=INSTANT)) as client:
            page = await get(client)
            assert (page["totals_complete"], page["usage"]) == (False, None)
            assert "cannot all be of this batch" in page["notice"]
            upstream.steps[:] = [batch(3), GOOD]
            page = await get(client)
            assert ids(page) == ["r0", "r1", "r2"]
            assert page["totals_complete"] is True


async def test_more_rows_than_the_batch_has_are_not_complete() -> None:
    with scripted_upstream(batch(2), GOOD) as upstream:
        async with Client(server_for(upstream.url, clock=INSTANT)) as client:
            page = await get(client)
            assert page["totals_complete"] is False
            upstream.steps[:] = [batch(3), GOOD]
            assert (await get(client))["totals_complete"] is True


async def submitted(client: Client, sandbox: Sandbox) -> str:
    created = await client.call_tool(CREATE, {"requests": requests(3)})
    assert not created.is_error, text_of(created)
    assert isinstance(sandbox.clock, ManualClock)
    sandbox.clock.advance(60)
    batch_id: str = created.structured_content["id"]
    return batch_id


def instead(asked: int, lines: list[bytes]) -> list[bytes]:
    """The first stream has a row of another batch in place of one of ours."""
    return [lines[0], FOREIGN, lines[2]] if asked == 1 else lines


def before(asked: int, lines: list[bytes]) -> list[bytes]:
    return [FOREIGN, *lines]


@pytest.mark.parametrize("alter", [instead, before])
async def test_a_row_of_another_batch_counts_for_nothing(alter: Alter, sandbox: Sandbox, key: str) -> None:
    with relaying(sandbox.url, alter) as url:
        async with Client(server_for(url, key, clock=INSTANT)) as client:
            batch_id = await submitted(client, sandbox)
            page = await get(client, message_batch_id=batch_id)
            assert ids(page) == ["r0", "r1", "r2"]
            assert page["totals_complete"] is True
            file = (await get(client, message_batch_id=batch_id, as_file="jsonl"))["file"]
            assert file["rows"] == 3
            assert b"another batch" not in Path(file["path"]).read_bytes()


async def test_a_damaged_copy_of_the_requests_is_as_none(sandbox: Sandbox, key: str, state: Path) -> None:
    async with Client(server_for(sandbox.url, key)) as client:
        batch_id = await submitted(client, sandbox)
        for path in state.glob("*/kept/*"):
            path.write_bytes(path.read_bytes()[:40])
        assert (await get(client, message_batch_id=batch_id))["totals_complete"] is True


class Endless(BaseHTTPRequestHandler):
    """Sends a piece over and over, after three rows; counts what could be sent."""

    piece = b""
    sent_bytes = 0

    def do_GET(self) -> None:
        self.send_response_only(200)
        if not self.path.endswith("/results"):
            body = batch(3).partition(b"\r\n\r\n")[2]
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_header("content-type", "application/x-jsonl")
        self.end_headers()
        with suppress(ConnectionError):
            self.wfile.write(ROWS[0] + ROWS[1])
            for piece in repeat(self.piece):
                self.wfile.write(piece)
                type(self).sent_bytes += len(piece)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.mark.parametrize("at_once", [2_000, 1])
@pytest.mark.parametrize("piece", [ROWS[0] * 500, b"\n" * 60_000, b"x" * 60_000, b"garbage\n" * 7_000])
async def test_a_stream_without_end_is_cut(piece: bytes, at_once: int, state: Path) -> None:
    limits = Limits(line_bytes=1_000_000, copied_rows=at_once)
    handler = type("Handler", (Endless,), {"piece": piece, "sent_bytes": 0})
    with serving(handler) as url:
        async with Client(server_for(url, clock=INSTANT, limits=limits)) as client:
            page = await get(client)
            assert ids(page) == ["r0", "r1"]
            assert page["totals_complete"] is False
    assert handler.sent_bytes < 100_000_000  # type: ignore[attr-defined]
    assert sum(path.stat().st_size for path in state.rglob("*") if path.is_file()) < 30_000_000


async def test_a_first_page_from_a_stream_shows_each_row_once() -> None:
    wrong = jsonl(ROWS[0] + GARBLED + ROWS[0] + ROWS[1] + ROWS[2])
    with scripted_upstream(batch(3), wrong) as upstream:
        async with Client(server_for(upstream.url, clock=INSTANT, limits=Limits(copied_rows=1))) as client:
            page = await get(client, limit=2)
            assert ids(page) == ["r0", "r1"]
            upstream.steps[:] = [batch(3), wrong, batch(3)]
            page = await get(client, cursor=page["next_cursor"])
            assert (ids(page), page["has_more"]) == (["r2"], False)


async def test_what_an_earlier_version_called_complete_is_asked_for_again(state: Path) -> None:
    wrong = jsonl(ROWS[0] + ROWS[0] + ROWS[2])
    with scripted_upstream(batch(3), GOOD, batch(3), GOOD) as upstream:
        async with Client(server_for(upstream.url, clock=INSTANT)) as client:
            await get(client)
            [index] = state.glob("*/spool/*.index")
            content = re.sub(rb"spool \d", b"spool 1", index.read_bytes()[:-4])
            index.write_bytes(content + zlib.crc32(content).to_bytes(4, "little"))
            await walk(client)
            assert sum(each.target.endswith("/results") for each in upstream.received) == 2
    assert wrong


ODD_TIMES: list[object] = [
    0,
    1.5,
    True,
    None,
    "",
    "yesterday",
    "99999-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    [],
    {},
]


@pytest.mark.parametrize("time", ODD_TIMES, ids=repr)
async def test_times_that_cannot_be_read_do_no_harm(time: object) -> None:
    odd = {"created_at": time, "ended_at": time, "expires_at": time, "results_url": None}
    with scripted_upstream(batch(3, **odd), GOOD) as upstream:
        async with Client(server_for(upstream.url, clock=INSTANT)) as client:
            assert ids(await get(client)) == ["r0", "r1", "r2"]
            shown = json.loads(batch(3, **odd).partition(b"\r\n\r\n")[2])
            upstream.steps[:] = [answer(200, {"data": [shown], "has_more": False, "first_id": ID, "last_id": ID})]
            listed = await client.call_tool(LIST, {})
            assert not listed.is_error, text_of(listed)


@pytest.mark.parametrize("counts", [None, [], {}, 3, {"succeeded": "3"}, {"succeeded": None}, {"else": 3}], ids=repr)
async def test_a_batch_without_counts_is_said_to_be_unusable(counts: object) -> None:
    with scripted_upstream(batch(3, request_counts=counts), GOOD) as upstream:
        async with Client(server_for(upstream.url, clock=INSTANT)) as client:
            error = error_of(await client.call_tool(RESULTS, {"message_batch_id": ID}))
            assert error["type"] == "unusable_answer"
            assert "request_counts" in error["message"]


async def test_a_further_count_is_no_further_row() -> None:
    counts = {"processing": 0, "succeeded": 3, "errored": 0, "canceled": 0, "expired": 0, "refunded": 2}
    with scripted_upstream(batch(3, request_counts=counts), GOOD) as upstream:
        async with Client(server_for(upstream.url, clock=INSTANT)) as client:
            assert (await get(client))["totals_complete"] is True


async def test_without_a_url_of_results_they_are_asked_for_all_the_same() -> None:
    with scripted_upstream(batch(3, results_url=None), cut(b"".join(ROWS), 9), GOOD) as upstream:
        async with Client(server_for(upstream.url, clock=INSTANT)) as client:
            assert ids(await get(client)) == ["r0", "r1", "r2"]
