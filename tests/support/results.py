"""Results as an upstream may send them, right and wrong, and as a client asks for them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
from mcp.client.client import Client

from tests.support.scripted import answer
from tests.support.servers import RESULTS, text_of

ID = "msgbatch_1"


def row(number: int, text: str = "x") -> bytes:
    usage = {"input_tokens": 2, "output_tokens": 3}
    message = {"model": "m", "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "usage": usage}
    found = {"custom_id": f"r{number}", "result": {"type": "succeeded", "message": message}}
    return json.dumps(found, ensure_ascii=False).encode() + b"\n"


def batch(total: int, **more: Any) -> bytes:
    counts = {"processing": 0, "succeeded": total, "errored": 0, "canceled": 0, "expired": 0}
    ended = {"id": ID, "processing_status": "ended", "request_counts": counts, "created_at": "2026-01-01T00:00:00Z"}
    return answer(200, ended | more, {"date": "Thu, 01 Jan 2026 02:00:00 GMT"})


def jsonl(lines: bytes) -> bytes:
    return answer(200, lines, kind="application/x-jsonl")


def cut(lines: bytes, after: int) -> bytes:
    """A stream that breaks after so many bytes of its body."""
    whole = jsonl(lines)
    return whole[: len(whole) - len(lines) + after]


async def get(client: Client, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(RESULTS, {"message_batch_id": ID} | arguments)
    assert not result.is_error, text_of(result)
    assert len(text_of(result)) <= 40_000
    assert len(text_of(result).encode()) <= 60_000
    content: dict[str, Any] = result.structured_content
    return content


async def walk(client: Client, **arguments: Any) -> list[dict[str, Any]]:
    """All rows, following the cursors."""
    page = await get(client, **arguments)
    rows: list[dict[str, Any]] = page["rows"]
    while page["has_more"]:
        kept = {name: arguments[name] for name in ("message_batch_id", "limit") if name in arguments}
        page = await get(client, cursor=page["next_cursor"], **kept)
        assert page["rows"], page["notice"]
        rows += page["rows"]
    assert page["next_cursor"] is None
    return rows


Alter = Callable[[int, list[bytes]], list[bytes]]
"""Changes the lines of the answer to the n-th question for results, from 1."""


@contextmanager
def relaying(url: str, alter: Alter) -> Iterator[str]:
    """An upstream in front of another one, which hands everything on and changes results on their way."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def _relay(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _OF_A_CONNECTION}
            found = httpx2.request(self.command, f"{url}{self.path}", headers=headers, content=body)
            content = found.content
            if self.path.endswith("/results"):
                asked.append(self.path)
                content = b"".join(alter(len(asked), content.splitlines(keepends=True)))
            self._send(found.status_code, found.headers, content)

        def _send(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in (*_OF_A_CONNECTION, "content-encoding"):
                    self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            with suppress(ConnectionError):
                self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _relay  # noqa: N815 - what the handler's base looks for

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with serving(Handler) as served:
        yield served


def stopping(reasons: Mapping[str, str]) -> Alter:
    """Change the stop_reason of some rows, by their custom_ids."""

    def alter(_: int, lines: list[bytes]) -> list[bytes]:
        rows = [json.loads(line) for line in lines]
        for each in rows:
            if each["custom_id"] in reasons:
                each["result"]["message"]["stop_reason"] = reasons[each["custom_id"]]
        return [json.dumps(each).encode() + b"\n" for each in rows]

    return alter


_OF_A_CONNECTION = ("host", "connection", "content-length", "transfer-encoding")


class JsonHandler(BaseHTTPRequestHandler):
    """Answers in JSON, and writes no lines about it."""

    def answer(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """An HTTP server on a free port, in threads; its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
