"""Results in pages and files: what is shown, kept and counted, and what a cut stream, a full disk or a wrong key do."""

from __future__ import annotations

import csv
import errno
import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcp.client.client import Client

from batches_mcp.core.limits import Limits
from batches_mcp.core.state import create
from batches_mcp.exchange.upstream import Clock
from batches_mcp.sandbox import ManualClock, Sandbox
from batches_mcp.store import spool, spooling
from batches_mcp.store.spools import Spools
from tests.support.results import ID, batch, cut, get, jsonl, row, walk
from tests.support.scripted import HANG, Step, answer, failure, scripted_upstream
from tests.support.servers import (
    CREATE,
    RESULTS,
    Era,
    Transport,
    connected,
    error_of,
    http_server,
    server_for,
    text_of,
)

pytestmark = [pytest.mark.anyio, pytest.mark.both_states]

PROMPTS = ["Hello", "[[sandbox:errored]]", "[[sandbox:thinking]]", "[[sandbox:refusal]]", "[[sandbox:expired]]", "Bye"]


def request(number: int, prompt: str) -> dict[str, Any]:
    message = {"role": "user", "content": prompt}
    params = {"model": "claude-haiku-5-5", "max_tokens": 50, "messages": [message]}
    return {"custom_id": f"r{number}", "params": params}


async def sleepless(_: float) -> None:
    pass


CLOCK = Clock(sleep=sleepless)


async def made(client: Client, sandbox: Sandbox, prompts: Sequence[str] = PROMPTS) -> str:
    requests = [request(number, prompt) for number, prompt in enumerate(prompts)]
    created = await client.call_tool(CREATE, {"requests": requests})
    assert isinstance(sandbox.clock, ManualClock)
    sandbox.clock.advance(60)
    batch_id: str = created.structured_content["id"]
    return batch_id


def content(path: str) -> bytes:
    return Path(path).read_bytes()


def kept(state: Path) -> list[Path]:
    return sorted(path for path in state.rglob("*") if path.is_file())


@pytest.mark.parametrize("era", ["auto", "legacy"])
@pytest.mark.parametrize("transport", ["memory", "stdio", "http"])
async def test_pages_filters_and_files(transport: Transport, era: Era, sandbox: Sandbox, key: str, state: Path) -> None:
    async with connected(transport, era, sandbox.url, key) as client:
        await client.list_tools()  # so that the client checks answers against the schema
        by_id = {"message_batch_id": await made(client, sandbox)}
        whole = await get(client, **by_id)
        assert list(whole) == ["message_batch_id", "rows", "has_more", "next_cursor", "counts", "usage",
                               "totals_complete", "notice", "batches_mcp"]  # fmt: skip
        assert whole["counts"]["errors"] == {"api_error": 1}
        assert whole["counts"]["succeeded"] == 4
        assert whole["totals_complete"] is True
        tokens = whole["usage"]
        assert tokens["output_tokens"] > 0
        # claude-haiku-5-5 in a batch: 0.05 dollars per million tokens of input, 0.25 of output.
        cost_usd = (tokens["input_tokens"] * 0.05 + tokens["output_tokens"] * 0.25) / 1_000_000
        assert cost_usd <= tokens["cost_usd"] < cost_usd + 1e-4  # in steps of a hundredth of a cent
        refused = next(each for each in whole["rows"] if each["custom_id"] == "r3")
        assert refused["needs_attention"] == "refusal"

        first = await get(client, **by_id, limit=4)
        rest = await get(client, **by_id, cursor=first["next_cursor"])
        assert first["rows"] + rest["rows"] == whole["rows"]
        failed = await get(client, **by_id, result_types=["errored", "expired"])
        assert sorted(each["custom_id"] for each in failed["rows"]) == ["r1", "r4"]
        named = await get(client, **by_id, custom_ids=["r5", "nobody", "r0"], limit=1)
        assert named["notice"] == "No row has the custom_id nobody."
        other = await get(client, **by_id, cursor=named["next_cursor"])
        assert {named["rows"][0]["custom_id"], other["rows"][0]["custom_id"]} == {"r0", "r5"}
        assert not other["has_more"]

        for kind in ("jsonl", "csv"):
            file = (await get(client, **by_id, as_file=kind))["file"]
            [path] = [path for path in kept(state) if path.name == f"{by_id['message_batch_id']}.{kind}"]
            assert (file["rows"], file["bytes"]) == (6, path.stat().st_size)
            assert "url" in file if transport == "http" else file["path"] == str(path)
        upstream = httpx2.get(
            f"{sandbox.url}/v1/messages/batches/{by_id['message_batch_id']}/results",
            headers={"x-api-key": key, "anthropic-version": "2023-06-01"},
        )
        assert path.with_suffix(".jsonl").read_bytes() == upstream.content
        table = list(csv.DictReader(path.read_text().splitlines()))
        assert [each["custom_id"] for each in table] == [each["custom_id"] for each in whole["rows"]]
        assert list(table[0]) == ["custom_id", "type", "text", "error_type", "error_message", "stop_reason",
                                  "input_tokens", "output_tokens"]  # fmt: skip
    asked = [each for each in sandbox.requests if each.header("x-api-key") and each.path.endswith("/results")]
    mine = [each for each in asked if by_id["message_batch_id"] in each.path]
    assert len(mine) == 2  # one download of ours, and the test's own look
    for path in kept(state):
        assert path.stat().st_mode & 0o777 == 0o600 or os.name != "posix"


async def test_what_is_kept_is_found_after_a_restart_but_only_with_the_key(
    sandbox: Sandbox, key: str, state: Path
) -> None:
    async with Client(server_for(sandbox.url, key)) as client:
        batch_id = await made(client, sandbox)
        first = await get(client, message_batch_id=batch_id, limit=2)
    downloads = sum(each.path.endswith(f"{batch_id}/results") for each in sandbox.requests)
    async with Client(server_for(sandbox.url, key)) as client:
        page = await get(client, message_batch_id=batch_id, cursor=first["next_cursor"])
        assert len(page["rows"]) == 4
    assert sum(each.path.endswith(f"{batch_id}/results") for each in sandbox.requests) == downloads
    async with Client(server_for(sandbox.url, f"{key}-other")) as client:
        result = await client.call_tool(RESULTS, {"message_batch_id": batch_id})
        assert error_of(result)["status"] == 404
    for path in kept(state):
        if path.suffix == ".jsonl":
            path.write_bytes(path.read_bytes().replace(b"sandbox", b"tampers"))
    async with Client(server_for(sandbox.url, key)) as client:
        page = await get(client, message_batch_id=batch_id)
        assert "tampers" not in json.dumps(page)


@pytest.mark.parametrize("state_of", ["in_progress", "canceling"])
async def test_before_its_end_a_batch_says_when_to_ask_again(state_of: str) -> None:
    with scripted_upstream(answer(200, {"id": ID, "processing_status": state_of}, {"retry-after": "7"})) as upstream:
        async with Client(server_for(upstream.url)) as client:
            error = error_of(await client.call_tool(RESULTS, {"message_batch_id": ID}))
    assert error["type"] == "batch_not_ended"
    assert state_of in error["message"]
    assert (error["retryable"], error["retry_after_s"]) == (True, 7.0)


NONE = failure(404, "not_found_error", "no available results", x_should_retry="false")


@pytest.mark.parametrize(
    ("steps", "kind", "retryable"),
    [
        ([batch(1, archived_at="2026-01-30T00:00:00Z")], "results_gone", False),
        ([batch(1, created_at="2025-12-01T00:00:00Z"), NONE], "results_gone", False),
        ([batch(1), NONE], "results_gone", True),
        ([failure(404, "not_found_error", "Message Batch not found.")], "not_found_error", False),
        ([answer(200, {"processing_status": "ended"})], "unusable_answer", False),
        ([batch(1), answer(200, b"<html>", kind="text/html")], "unusable_answer", False),
    ],
)
async def test_without_results_the_error_says_why(steps: list[Step], kind: str, retryable: bool) -> None:
    with scripted_upstream(*steps) as upstream:
        async with Client(server_for(upstream.url, clock=CLOCK)) as client:
            error = error_of(await client.call_tool(RESULTS, {"message_batch_id": ID}))
        assert len(upstream.received) == len(steps)
    assert (error["type"], error["retryable"]) == (kind, retryable)


async def test_results_that_are_late_after_the_end_are_asked_for_again() -> None:
    just_ended = batch(1, ended_at="2026-01-01T01:59:30Z")
    with scripted_upstream(just_ended, NONE, jsonl(row(0))) as upstream:
        async with Client(server_for(upstream.url, clock=CLOCK)) as client:
            assert len((await get(client))["rows"]) == 1


class Held:
    """An upstream with one batch, whose results it holds back until it is told; counts how often they are asked for."""

    def __init__(self, total: int, lines: bytes) -> None:
        self.asked = 0
        self.arrived = threading.Event()
        self.let_go = threading.Event()
        self._total, self._lines = total, lines

    @contextmanager
    def serving(self) -> Iterator[str]:
        held = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = batch(held._total).partition(b"\r\n\r\n")[2]
                self.send_response(200)
                if self.path.endswith("/results"):
                    held.asked += 1
                    held.arrived.set()
                    held.let_go.wait(30)
                    body = held._lines
                    self.send_header("content-type", "application/x-jsonl")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                with suppress(ConnectionError):
                    self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
            thread.start()
            yield f"http://127.0.0.1:{server.server_address[1]}"
            self.let_go.set()
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("at_once", [2_000, 1])
@given(
    texts=st.lists(st.integers(0, 15_000).map(lambda size: "é\x01"[size % 2] * size), min_size=1, max_size=12),
    limit=st.integers(1, 7),
    most=st.integers(20, 35_000),
    ids=st.booleans(),
)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_row_is_met_once(at_once: int, texts: list[str], limit: int, most: int, ids: bool) -> None:
    lines = b"".join(row(number, text) for number, text in enumerate(texts))

    async def check() -> None:
        upstream = Held(len(texts), lines)
        upstream.let_go.set()
        with upstream.serving() as url, TemporaryDirectory() as folder:
            async with Client(server_for(url, state=Path(folder), limits=Limits(copied_rows=at_once))) as client:
                chosen = {"custom_ids": [f"r{number}" for number in range(len(texts))]} if ids else {}
                rows = await walk(client, limit=limit, max_chars_per_row=most, **chosen)
        assert [each["custom_id"] for each in rows] == [f"r{number}" for number in range(len(texts))]

    anyio.run(check)


ROWS = [row(0, "first"), row(1, "zweite ü"), row(2, "third")]
STREAM = b"".join(ROWS)


@pytest.mark.parametrize(
    "after", [0, 1, len(ROWS[0]) - 1, len(ROWS[0]), STREAM.index("ü".encode()) + 1, len(STREAM) - 1]
)
@pytest.mark.parametrize("view", ["text", "full"])
async def test_a_stream_that_is_cut_is_completed(after: int, view: str, tmp_path: Path) -> None:
    """The second stream has another order, and only what is missing is taken from it."""
    again = jsonl(b"".join(reversed(ROWS)))
    with scripted_upstream(batch(3), cut(STREAM, after), again) as upstream:
        async with Client(server_for(upstream.url, clock=CLOCK)) as client:
            page = await get(client, view=view)
    assert sorted(each["custom_id"] for each in page["rows"]) == ["r0", "r1", "r2"]
    assert page["totals_complete"] is True
    assert page["usage"]["output_tokens"] == 9


async def test_a_stream_that_is_always_cut_is_never_called_complete(state: Path) -> None:
    with scripted_upstream(batch(3), *[cut(STREAM, len(ROWS[0]) + 9)] * 3) as upstream:
        async with Client(server_for(upstream.url, clock=CLOCK)) as client:
            page = await get(client)
            assert [each["custom_id"] for each in page["rows"]] == ["r0"]
            assert (page["totals_complete"], page["usage"]) == (False, None)
            assert "errors" not in page["counts"]
            assert "1 of 3 rows have arrived" in page["notice"]
            upstream.steps[:] = [batch(3), cut(STREAM, len(ROWS[0]) + 9)]
            refused = await client.call_tool(RESULTS, {"message_batch_id": ID, "as_file": "jsonl"})
            assert error_of(refused)["type"] == "results_incomplete"
            assert not any(path.parent.name == "results" for path in kept(state))
            upstream.steps[:] = [batch(3), jsonl(STREAM)]
            assert (await get(client))["totals_complete"] is True


async def test_a_first_page_goes_as_far_as_the_stream() -> None:
    with scripted_upstream(batch(3), *[cut(STREAM, len(ROWS[0]) + 9)] * 3) as upstream:
        async with Client(server_for(upstream.url, clock=CLOCK, limits=Limits(copied_rows=1))) as client:
            page = await get(client)
            assert [each["custom_id"] for each in page["rows"]] == ["r0"]
            assert "was cut before this page was full" in page["notice"]
            upstream.steps[:] = [batch(3), jsonl(STREAM)]
            rest = await get(client, cursor=page["next_cursor"])
            assert [each["custom_id"] for each in rest["rows"]] == ["r1", "r2"]
            upstream.steps[:] = [batch(3)]
        async with Client(server_for(upstream.url, "another-key", clock=CLOCK, limits=Limits(copied_rows=1))) as client:
            upstream.steps[:] = [batch(3), *[cut(STREAM, 9)] * 3]
            error = error_of(await client.call_tool(RESULTS, {"message_batch_id": ID}))
            assert (error["type"], error["retryable"]) == ("connection_error", True)


async def test_odd_line_ends_blank_lines_and_long_rows() -> None:
    long = row(1, "y" * 20_000_000)
    stream = ROWS[0][:-1] + b"\r\n\r\n" + long + b"\n" + row(2, "a\u2028b")[:-1]
    with scripted_upstream(batch(3), jsonl(stream), batch(3)) as upstream:
        async with Client(server_for(upstream.url)) as client:
            page = await get(client)
            assert [each["custom_id"] for each in page["rows"]] == ["r0", "r1", "r2"]
            assert page["rows"][1]["cut_chars"] == 20_000_000 - 4_000
            assert page["rows"][2]["text"] == "a\u2028b"
            file = (await get(client, as_file="jsonl"))["file"]
            assert content(file["path"]) == stream
            full = (await get(client, view="full", custom_ids=["r1"]))["rows"][0]
            assert full["row_chars"] > 20_000_000


async def test_a_cursor_does_not_fit_another_order() -> None:
    again = jsonl(b"".join(reversed(ROWS)))
    with scripted_upstream(batch(3), jsonl(STREAM), batch(3), again) as upstream:
        async with Client(server_for(upstream.url, limits=Limits(copied_rows=1))) as client:
            first = await get(client, limit=1)
            assert (first["totals_complete"], first["has_more"]) == (False, True)
            refused = await client.call_tool(RESULTS, {"message_batch_id": ID, "cursor": first["next_cursor"]})
            assert "whose order has changed; start again without a cursor" in text_of(refused)
            both = await client.call_tool(RESULTS, {"message_batch_id": ID, "cursor": "x", "as_file": "csv"})
            assert "only one of the two" in text_of(both)


async def test_a_large_first_page_reads_its_rows_and_no_more(state: Path) -> None:
    stream = b"".join(row(number, "x" * 1_000) for number in range(20_000))
    with scripted_upstream(batch(20_000), jsonl(stream)) as upstream:
        async with Client(server_for(upstream.url, limits=Limits(copied_rows=10))) as client:
            page = await get(client, limit=2)
            assert len(page["rows"]) == 2
            assert page["has_more"] is True
    assert kept(state) == []


class FullDisk:
    """A file on a disk that is full after some bytes."""

    def __init__(self, file: Any, room: int) -> None:
        self._file, self._room = file, room

    def write(self, data: bytes) -> int:
        self._room -= len(data)
        if self._room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written: int = self._file.write(data)
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


async def test_a_full_disk_leaves_nothing_behind_and_pages_go_on(monkeypatch: pytest.MonkeyPatch, state: Path) -> None:
    monkeypatch.setattr(spooling, "create", lambda path: FullDisk(create(path), 100))
    with scripted_upstream(*[batch(3), jsonl(STREAM), jsonl(STREAM)] * 3) as upstream:
        async with Client(server_for(upstream.url)) as client:
            assert [each["custom_id"] for each in await walk(client, limit=2)] == ["r0", "r1", "r2"]
            upstream.steps[:] = [batch(3), jsonl(STREAM)]
            refused = await client.call_tool(RESULTS, {"message_batch_id": ID, "as_file": "jsonl"})
            assert error_of(refused)["type"] == "state_unusable"
            assert "No space left on device" in text_of(refused)
    assert kept(state) == []


@pytest.fixture
def held() -> Iterator[tuple[Held, str]]:
    upstream = Held(3, STREAM)
    with upstream.serving() as url:
        yield upstream, url


async def test_readers_share_one_download_and_a_canceled_one_stops_nobody(held: tuple[Held, str]) -> None:
    upstream, url = held
    pages: list[dict[str, Any]] = []
    async with Client(server_for(url)) as client:

        async def read() -> None:
            pages.append(await get(client))

        async with anyio.create_task_group() as tasks:
            async with anyio.create_task_group() as leaving:
                leaving.start_soon(read)
                await anyio.to_thread.run_sync(upstream.arrived.wait, 10)
                tasks.start_soon(read)
                tasks.start_soon(read)
                leaving.cancel_scope.cancel()
            upstream.let_go.set()
    assert len(pages) == 2
    assert upstream.asked == 1


async def test_a_download_tells_how_far_it_is(held: tuple[Held, str]) -> None:
    upstream, url = held
    told: list[tuple[float, float | None, str | None]] = []

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total, message))
        upstream.let_go.set()

    async with Client(server_for(url)) as client:
        page = await client.call_tool(RESULTS, {"message_batch_id": ID}, progress_callback=tell)
    assert len(page.structured_content["rows"]) == 3
    assert told[0] == (0, 3, "0 of 3 rows (0 bytes) fetched")


async def test_a_page_that_waits_for_the_upstream_does_not_hold_up_another(
    sandbox: Sandbox, key: str, state: Path
) -> None:
    async with Client(server_for(sandbox.url, key)) as client:
        batch_id = await made(client, sandbox)
        await get(client, message_batch_id=batch_id)
        sandbox.faults.add("delay", on="retrieve", seconds=20, key=key)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, RESULTS, {"message_batch_id": batch_id})
            while sandbox.faults.pending():
                await anyio.lowlevel.checkpoint()
            with anyio.fail_after(10):
                assert len((await get(client, message_batch_id=batch_id))["rows"]) == 6
            tasks.cancel_scope.cancel()


async def test_past_its_time_a_call_says_how_far_it_is_and_the_download_goes_on(held: tuple[Held, str]) -> None:
    upstream, url = held
    async with Client(server_for(url, limits=Limits(call_s=0.3))) as client:
        page = await get(client, result_types=["succeeded"])
        assert (page["rows"], page["has_more"], page["totals_complete"]) == ([], True, False)
        assert "0 of 3 rows" in page["notice"]
        assert "Call again with the same arguments" in page["notice"]
        upstream.let_go.set()
        while not (page := await get(client, cursor=page["next_cursor"]))["rows"]:
            pass
        assert len(page["rows"]) == 3
    assert upstream.asked == 1


async def test_a_page_that_never_comes_ends_in_time() -> None:
    with scripted_upstream(batch(3), HANG) as upstream:
        async with Client(server_for(upstream.url, limits=Limits(call_s=0.3, copied_rows=1))) as client:
            error = error_of(await client.call_tool(RESULTS, {"message_batch_id": ID}))
    assert (error["type"], error["retryable"]) == ("timeout", True)


async def test_cells_that_spreadsheets_would_run_are_defused() -> None:
    texts = ["=HYPERLINK(1)", "@x", "-5", "+1.5%", "- a point", 'say "hi",\nbye']
    stream = b"".join(row(number, text) for number, text in enumerate(texts))
    with scripted_upstream(batch(len(texts)), jsonl(stream)) as upstream:
        async with Client(server_for(upstream.url)) as client:
            path = (await get(client, as_file="csv"))["file"]["path"]
    cells = [each["text"] for each in csv.DictReader(StringIO(content(path).decode(), newline=""))]
    assert cells == ["'=HYPERLINK(1)", "'@x", "-5", "+1.5%", "'- a point", 'say "hi",\nbye']


async def test_a_file_over_http_is_behind_the_same_gate(sandbox: Sandbox, key: str, tmp_path: Path) -> None:
    flags = ("--base-url", sandbox.url, "--state-dir", str(tmp_path))
    with http_server(*flags, key=key) as url:
        async with Client(url) as client:
            batch_id = await made(client, sandbox)
            file = (await get(client, message_batch_id=batch_id, as_file="jsonl"))["file"]
        fetched = httpx2.get(file["url"])
        assert len(fetched.content) == file["bytes"]
        assert fetched.content.count(b"\n") == file["rows"]
        assert httpx2.get(file["url"], headers={"host": "evil.example"}).status_code == 421
        (tmp_path / "secret.jsonl").write_text("x")
        base, _, name = file["url"].rpartition("/")
        (tmp_path / base.rpartition("/")[2] / "results" / "link.jsonl").symlink_to(tmp_path / "secret.jsonl")
        for leading_out in (f"{base}/..%2F..%2F..%2Fsecret.jsonl", f"{base}/link.jsonl", f"{base}/no.jsonl",
                            f"{base[:-24]}..%2Fresults/{name}", f"{base}/{name}%00"):  # fmt: skip
            assert httpx2.get(leading_out).status_code == 404, leading_out
    token = "a-token-of-32-characters-or-so-00"
    with http_server(*flags, key=key, BATCHES_MCP_TOKEN=token) as url:
        there = url.replace("/mcp", httpx2.URL(file["url"]).path)
        assert httpx2.get(there).status_code == 401
        assert httpx2.get(there, headers={"authorization": f"Bearer {token}"}).content == fetched.content


async def test_what_was_read_least_recently_makes_room(tmp_path: Path) -> None:
    spools = Spools(tmp_path)
    for number in range(3):
        writer = spools.writer(f"batch{number}", 1)
        writer.begin()
        writer.take(row(number, "x" * 10_000))
        writer.end()
        writer.save()
        os.utime(spool.index_path(tmp_path, f"batch{number}"), (number, number))
    assert spools.load("batch0") is not None  # read just now
    spools.make_room(now_s=1_000.0, most_bytes=25_000)
    assert [spools.load(f"batch{number}") is not None for number in range(3)] == [True, False, True]
    spools.forget("batch0")
    assert spools.load("batch0") is None
