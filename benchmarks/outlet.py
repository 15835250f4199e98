"""An upstream with one batch that has ended, whose results it sends as fast as they are taken.

Run as a process of its own, with the number of rows; it prints its port, and ends when its standard input does.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from contextlib import suppress
from typing import Any

from benchmarks.stub import BATCH

_END_OF_HEAD = b"\r\n\r\n"


def _row(number: int) -> bytes:
    usage = {
        "input_tokens": 16,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 430,
        "service_tier": "batch",
        "inference_geo": "not_available",
    }
    message: dict[str, Any] = {
        "id": f"msg_{number:024}",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-5-5",
        "content": [{"type": "text", "text": "lorem ipsum dolor " * 77}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": usage,
    }
    row = {"custom_id": f"row-{number:06}", "result": {"type": "succeeded", "message": message}}
    return json.dumps(row, separators=(",", ":")).encode() + b"\n"


def _answer(kind: bytes, content: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: " + kind + b"\r\ncontent-length: " + str(len(content)).encode()
    return head + _END_OF_HEAD + content


def _serve(connection: socket.socket, batch: bytes, results: bytes) -> None:
    pending = b""
    with connection, suppress(ConnectionError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            while _END_OF_HEAD not in pending:
                chunk = connection.recv(1 << 16)
                if not chunk:
                    return
                pending += chunk
            head, _, pending = pending.partition(_END_OF_HEAD)
            connection.sendall(results if head.split(b" ", 2)[1].endswith(b"/results") else batch)


def _main() -> None:
    rows = int(sys.argv[1])
    counts = {"processing": 0, "succeeded": rows, "errored": 0, "canceled": 0, "expired": 0}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        url = f"http://127.0.0.1:{port}/v1/messages/batches/{BATCH['id']}/results"
        ended = BATCH | {"processing_status": "ended", "request_counts": counts, "results_url": url}
        batch = _answer(b"application/json", json.dumps(ended | {"ended_at": "2026-11-20T19:00:00+00:00"}).encode())
        results = _answer(b"application/x-jsonl", b"".join(map(_row, range(rows))))
        print(port, flush=True)
        threading.Thread(target=_accept, args=(listener, batch, results), daemon=True).start()
        sys.stdin.read()


def _accept(listener: socket.socket, batch: bytes, results: bytes) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_serve, args=(connection, batch, results), daemon=True).start()


if __name__ == "__main__":
    _main()
