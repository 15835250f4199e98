"""Creating batches from files: what is sent, what is refused, and that nothing outside the roots is ever read."""

from __future__ import annotations

import errno
import gzip
import json
import os
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp.client.client import Client

from batches_mcp.api.body import Frame
from batches_mcp.core.errors import InvalidArguments
from batches_mcp.core.limits import Limits
from batches_mcp.core.settings import BatchSettings
from batches_mcp.requests import files
from batches_mcp.requests.scan import Scan
from batches_mcp.sandbox import Sandbox
from batches_mcp.work.intake import take
from tests.support.scripted import HANG, answer, scripted_upstream
from tests.support.servers import (
    CREATE,
    REQUEST,
    RETRIEVE,
    Era,
    Transport,
    connected,
    error_of,
    http_server,
    server_for,
    text_of,
)

pytestmark = pytest.mark.anyio
posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")

ROWS = [REQUEST | {"custom_id": f"r{number}"} for number in range(3)]
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS)
TEMPLATE = REQUEST["params"] | {"messages": [{"role": "user", "content": "Summarise: {{text}}"}]}  # type: ignore[operator]


@pytest.mark.parametrize("era", ["auto", "legacy"])
@pytest.mark.parametrize("transport", ["memory", "stdio", "http"])
async def test_a_file_becomes_a_batch_without_passing_through_the_caller(
    transport: Transport, era: Era, sandbox: Sandbox, key: str, tmp_path: Path
) -> None:
    (tmp_path / "in.jsonl").write_text(JSONL)
    (tmp_path / "rows.csv").write_text("text,custom_id\nEins,a\nZwei,b\n")
    async with connected(transport, era, sandbox.url, key, roots=[tmp_path]) as client:
        made = (await client.call_tool(CREATE, {"requests_file": "in.jsonl"})).structured_content
        body = json.dumps({"requests": ROWS}, separators=(",", ":")).replace(",", ", ").replace(":", ": ")
        assert made["batches_mcp"]["source"] == {
            "file": "in.jsonl",
            "rows": 3,
            "bytes": made["batches_mcp"]["source"]["bytes"],
        }
        state = (await client.call_tool(RETRIEVE, {"message_batch_id": made["id"]})).structured_content
        assert state["request_counts"]["processing"] == 3
        rows = await client.call_tool(CREATE, {"rows_file": str(tmp_path / "rows.csv"), "template": TEMPLATE})
        assert rows.structured_content["request_counts"]["processing"] == 2
        missing = await client.call_tool(CREATE, {"requests_file": "../in.jsonl"})
        assert missing.is_error
    sent = [each for each in sandbox.requests if each.method == "POST"][-2:]
    assert json.loads(sent[0].body)["requests"] == ROWS
    assert len(sent[0].body) == sent[0].body_bytes == made["batches_mcp"]["source"]["bytes"] < len(body)
    contents = [each["params"]["messages"][0]["content"] for each in json.loads(sent[1].body)["requests"]]
    assert contents == ["Summarise: Eins", "Summarise: Zwei"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl.gz", gzip.compress(JSONL.encode())),
        ("a.json", json.dumps(ROWS, indent=2).encode()),
        ("a.json", json.dumps({"requests": ROWS}).encode()),
        ("a.jsonl", b"\xef\xbb\xbf" + JSONL.replace("\n", "\r\n\r\n").encode()),
    ],
    ids=["gzip", "array", "wrapped", "bom-crlf-blank"],
)
async def test_every_form_is_sent_with_its_length_known(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with scripted_upstream(answer(200, {"id": "msgbatch_1"})) as upstream:
        async with Client(server_for(upstream.url, roots=[tmp_path])) as client:
            result = await client.call_tool(CREATE, {"requests_file": name})
            assert not result.is_error, text_of(result)
        [request] = upstream.received
    assert json.loads(request.body) == {"requests": ROWS}
    assert request.headers["content-length"] == str(len(request.body))
    assert "transfer-encoding" not in request.headers
    assert request.headers["x-api-key"] == "test-key"


async def test_problems_are_named_by_line_and_nothing_is_sent(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(
        JSONL + "{\n" + json.dumps(ROWS[0]) + "\n" + json.dumps(REQUEST | {"custom_id": "a b"})
    )
    with scripted_upstream(answer(200, {})) as upstream:
        async with Client(server_for(upstream.url, roots=[tmp_path])) as client:
            result = await client.call_tool(CREATE, {"requests_file": "in.jsonl"})
        assert upstream.received == []
    for line in (
        "- line 4: is not JSON: ",
        "- line 5, custom_id: 'r0' is the custom_id of line 1 as well",
        "- line 6, custom_id: 'a b' has ' '",
    ):
        assert line in text_of(result)


@posix
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../outside.jsonl", "has a part that starts with a dot"),
        ("/etc/passwd", "is not a file in"),
        ("{outside}", "is not a file in"),
        ("link.jsonl", "is not a file in"),
        ("folder-link/outside.jsonl", "is not a file in"),
        ("circle", "is not a file in"),
        (".hidden.jsonl", "has a part that starts with a dot"),
        ("sub/.git/config", "has a part that starts with a dot"),
        ("to-hidden", "leads to a part that starts with a dot"),
        ("folder", "is a folder, and one file is needed; it holds none"),
        ("pipe", "is not a regular file"),
        ("socket", "cannot be read: No such device or address"),
        ("gone.jsonl", "is not a file in"),
        ("a\x00b", "is not a file name"),
    ],
)
async def test_only_plain_files_inside_the_roots_are_read(name: str, words: str, tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside.jsonl"
    (root / "folder").mkdir(parents=True)
    outside.write_text(JSONL)
    (root / ".hidden.jsonl").write_text(JSONL)
    (root / "link.jsonl").symlink_to(outside)
    (root / "folder-link").symlink_to(tmp_path)
    (root / "circle").symlink_to(root / "circle")
    (root / "to-hidden").symlink_to(root / ".hidden.jsonl")
    os.mkfifo(root / "pipe")
    here = Path.cwd()
    with socket.socket(socket.AF_UNIX) as listener, scripted_upstream(answer(200, {})) as upstream:
        os.chdir(root)
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
        async with Client(server_for(upstream.url, roots=[root])) as client:
            result = await client.call_tool(CREATE, {"requests_file": name.format(outside=outside)})
        assert upstream.received == []
    assert error_of(result)["type"] == "invalid_arguments"
    assert words in text_of(result)
    assert "r0" not in text_of(result)


@posix
@pytest.mark.parametrize("by_handle", [True, False])
@pytest.mark.parametrize("swapped", ["a", "a/b", "a/b/in.jsonl"])
@pytest.mark.parametrize("opens_before", range(4))
async def test_what_is_swapped_for_a_link_while_it_is_opened_leads_nowhere_else(
    by_handle: bool, swapped: str, opens_before: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root / "a" / "b", outside / "b"):
        folder.mkdir(parents=True)
    for folder in (outside, outside / "b"):
        (folder / "in.jsonl").write_text(json.dumps(REQUEST | {"custom_id": "secret"}))
    (root / "a" / "b" / "in.jsonl").write_text(JSONL)
    opens = 0
    really_open = os.open

    def open_after_swap(path: Any, flags: int, *args: Any, **more: Any) -> int:
        nonlocal opens
        if opens == opens_before:
            (root / swapped).rename(root / "kept")
            (root / swapped).symlink_to({"a": outside, "a/b": outside / "b"}.get(swapped, outside / "in.jsonl"))
        opens += 1
        return really_open(path, flags, *args, **more)

    async with Client(server_for("http://127.0.0.1:9", roots=[root])) as client:
        monkeypatch.setattr(os, "open", open_after_swap)
        monkeypatch.setattr(os, "supports_dir_fd", {open_after_swap} if by_handle else set())
        result = await client.call_tool(CREATE, {"requests_file": "a/b/in.jsonl", "dry_run": True})
        monkeypatch.undo()
    assert opens
    if result.is_error:
        assert "requests_file: 'a/b/in.jsonl' cannot be read: " in text_of(result)
    else:  # opened before it was swapped
        assert result.structured_content["batches_mcp"]["dry_run"]["requests"] == len(ROWS)


@posix
@pytest.mark.parametrize("by_handle", [True, False])
@settings(deadline=None)
@given(parts=st.lists(st.sampled_from(["a", "b", "up", "out", "here", "in.jsonl", "to-in", "..", "."]), max_size=5))
def test_no_path_reads_what_is_outside(
    by_handle: bool, tmp_path_factory: pytest.TempPathFactory, parts: list[str]
) -> None:
    root = tmp_path_factory.mktemp("tree") / "root"
    (root / "a" / "b").mkdir(parents=True)
    for folder in (root, root / "a", root / "a" / "b"):
        (folder / "in.jsonl").write_text("inside")
        (folder / "to-in").symlink_to("in.jsonl")
        (folder / "here").symlink_to(root)
        (folder / "up").symlink_to("..")
        (folder / "out").symlink_to(root.parent)
    (root.parent / "in.jsonl").write_text("outside")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "supports_dir_fd", {os.open} if by_handle else set())
        read = None
        with suppress(InvalidArguments), files.opened("requests_file", "/".join(parts), [root]) as file:
            read = file.read()
    real = (root / "/".join(parts)).resolve()
    readable = real.is_file() and real.is_relative_to(root) and ".." not in parts
    assert read == (b"inside" if readable else None)


@posix
async def test_a_root_from_the_environment_may_start_at_home(sandbox: Sandbox, key: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "in.jsonl").write_text(JSONL)
    with http_server("--base-url", sandbox.url, key=key, HOME=str(tmp_path), BATCHES_MCP_ROOT="~/data") as url:
        async with Client(url) as client:
            result = await client.call_tool(CREATE, {"requests_file": "in.jsonl", "dry_run": True})
    assert result.structured_content["batches_mcp"]["dry_run"]["requests"] == len(ROWS)


async def test_a_link_within_the_roots_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.jsonl").write_text(JSONL)
    (tmp_path / "link.jsonl").symlink_to("real.jsonl")
    async with Client(server_for("http://127.0.0.1:9", roots=[tmp_path])) as client:
        result = await client.call_tool(CREATE, {"requests_file": "link.jsonl", "dry_run": True})
    assert result.structured_content["batches_mcp"]["dry_run"]["requests"] == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "exactly one of requests, requests_file and rows_file is needed; none is given"),
        ({"requests": [REQUEST], "requests_file": "in.jsonl"}, "requests, requests_file are given"),
        ({"rows_file": "rows.csv"}, "template: goes with rows_file, and rows_file needs it"),
        ({"requests_file": "in.jsonl", "template": TEMPLATE}, "template: goes with rows_file"),
        ({"requests_file": "empty.jsonl"}, "empty.jsonl: holds no requests"),
        ({"requests_file": "cut.gz"}, "requests_file: the file cannot be read to its end"),
    ],
)
async def test_sources_that_make_no_sense_are_refused(arguments: dict[str, Any], words: str, tmp_path: Path) -> None:
    for name, content in {
        "in.jsonl": JSONL.encode(),
        "rows.csv": b"text\nx\n",
        "empty.jsonl": b"\n",
        "cut.gz": gzip.compress(JSONL.encode())[:-9],
    }.items():
        (tmp_path / name).write_bytes(content)
    async with Client(server_for("http://127.0.0.1:9", roots=[tmp_path])) as client:
        assert words in text_of(await client.call_tool(CREATE, arguments))


async def test_without_a_root_file_arguments_are_not_offered_and_say_why() -> None:
    async with Client(server_for("http://127.0.0.1:9")) as client:
        create = next(tool for tool in (await client.list_tools()).tools if tool.name == CREATE)
        assert not {"requests_file", "rows_file", "template"} & create.input_schema["properties"].keys()
        assert "required" not in create.input_schema  # a retry has its requests from the batch it is for
        result = await client.call_tool(CREATE, {"requests_file": "x"})
    assert "requests_file: not available here: this server reads no files; it is started with --root DIR" in text_of(
        result
    )


def files_in(state: Path) -> list[Path]:
    """All that is kept but how the upstream's accounts are called."""
    return [each for each in state.rglob("*") if each.is_file() and each.parent.name != "accounts"]


def rewrite(path: Path) -> None:
    path.write_text(JSONL.replace("x", "y", 1))
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize("ledger", [True, False])
@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_file_that_changes_while_it_is_read_is_not_accepted(
    dry_run: bool, ledger: bool, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(JSONL)
    add_all = Scan.add_all

    def add_then_write(*args: Any) -> Any:
        rewrite(path)
        return add_all(*args)

    monkeypatch.setattr(Scan, "add_all", add_then_write)
    with scripted_upstream(answer(200, {"id": "msgbatch_1"})) as upstream:
        async with Client(server_for(upstream.url, batch=BatchSettings((tmp_path,), ledger=ledger))) as client:
            result = await client.call_tool(CREATE, {"requests_file": "in.jsonl", "dry_run": dry_run})
        assert upstream.received == []
    assert "in.jsonl: the file changed while it was being read" in text_of(result)
    assert files_in(state) == []


@pytest.mark.parametrize("ledger", [True, False])
async def test_what_was_checked_is_what_is_sent_whatever_becomes_of_the_file(
    ledger: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(JSONL)

    def take_then_write(*args: Any) -> Any:
        found = take(*args)
        rewrite(path)
        return found

    monkeypatch.setattr("batches_mcp.tools.submit.take", take_then_write)
    with scripted_upstream(answer(200, {"id": "msgbatch_1"})) as upstream:
        async with Client(server_for(upstream.url, batch=BatchSettings((tmp_path,), ledger=ledger))) as client:
            result = await client.call_tool(CREATE, {"requests_file": "in.jsonl"})
            assert not result.is_error, text_of(result)
        [request] = upstream.received
    assert json.loads(request.body)["requests"] == ROWS


@pytest.mark.parametrize(
    ("content", "arguments", "words"),
    [
        (JSONL + "{\n", {}, "1 of 4 requests have errors"),
        (JSONL, {"part": 2}, "part: 2 is more than the 1 there is"),
        (JSONL * 2, {}, "3 of 6 requests have errors"),
    ],
)
async def test_what_is_refused_leaves_no_file(
    content: str, arguments: dict[str, Any], words: str, state: Path, tmp_path: Path
) -> None:
    (tmp_path / "in.jsonl").write_text(content)
    async with Client(server_for("http://127.0.0.1:9", roots=[tmp_path])) as client:
        assert words in text_of(await client.call_tool(CREATE, {"requests_file": "in.jsonl", **arguments}))
        assert files_in(state) == []


@pytest.mark.parametrize("ledger", [True, False])
async def test_a_disk_that_fills_on_the_way_is_named_and_loses_nothing(
    ledger: bool, sandbox: Sandbox, key: str, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.jsonl").write_text(JSONL)
    around = Frame.around

    def full(self: Frame, rows: Iterable[bytes]) -> Iterator[bytes]:
        yield from around(self, rows)
        raise OSError(errno.ENOSPC, "No space left on device")

    async with Client(server_for(sandbox.url, key, batch=BatchSettings((tmp_path,), ledger=ledger))) as client:
        with monkeypatch.context() as patch:
            patch.setattr(Frame, "around", full)
            refused = error_of(await client.call_tool(CREATE, {"requests_file": "in.jsonl"}))
        assert refused["type"] == "state_unusable"
        assert "No space left on device" in refused["message"]
        assert files_in(state) == []
        assert not (await client.call_tool(CREATE, {"requests_file": "in.jsonl"})).is_error


async def test_uploads_tell_how_far_they_are(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(JSONL)
    heard: list[tuple[float, float | None, str | None]] = []
    with scripted_upstream(HANG) as upstream:
        server = server_for(upstream.url, roots=[tmp_path], limits=Limits(progress_s=0.01))
        async with Client(server) as client:
            with anyio.CancelScope() as scope:

                async def hear(progress: float, total: float | None, message: str | None) -> None:
                    heard.append((progress, total, message))
                    if message == "waiting for the answer":
                        scope.cancel()

                await client.call_tool(CREATE, {"requests_file": "in.jsonl"}, progress_callback=hear)
    assert heard[-1][2] == "waiting for the answer"
    assert heard[-1][0] == heard[-1][1]
