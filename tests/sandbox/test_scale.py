"""A batch of 100,000 requests and over 200 MB goes in and comes out while the server's memory stays where it was."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

PATH = "/v1/messages/batches"
ROWS = 100_000
ALLOWED_GROWTH_MIB = 32

SERVE = """
from batches_mcp.sandbox import SandboxConfig, run_sandbox
run_sandbox("127.0.0.1", 0, SandboxConfig(process_seconds=0))
"""


def memory_mib(pid: int, name: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    match = re.search(rf"{name}:\s+(\d+) kB", status)
    assert match
    return int(match[1]) / 1024


def body(rows: int) -> Iterator[bytes]:
    params = {
        "model": "claude-haiku-5-5",
        "max_tokens": 64,
        "messages": [{"role": "user", "content": "Summarise: " + "lorem ipsum é " * 145}],
    }
    tail = b'","params":' + json.dumps(params, ensure_ascii=False).encode() + b"}"
    yield b'{"requests":['
    for start in range(0, rows, 100):
        part = b",".join(b'{"custom_id":"row-%06d' % number + tail for number in range(start, min(start + 100, rows)))
        yield part if start == 0 else b"," + part
    yield b"]}"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_100_000_requests_in_constant_memory() -> None:
    headers = {"x-api-key": "k", "anthropic-version": "2026-10-21"}
    with subprocess.Popen([sys.executable, "-c", SERVE], stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            url = server.stderr.readline().split()[-1]
            with httpx2.Client(base_url=url, headers=headers, timeout=100) as client:
                small = client.post(PATH, content=body(100)).json()["id"]
                client.get(f"{PATH}/{small}/results")
                before = memory_mib(server.pid, "VmRSS")
                created = client.post(PATH, content=body(ROWS))
                batch = client.get(f"{PATH}/{created.json()['id']}").json()
                rows = size = 0
                with client.stream("GET", f"{PATH}/{batch['id']}/results") as results:
                    for part in results.iter_raw():
                        rows += part.count(b"\n")
                        size += len(part)
                sent = sum(len(part) for part in body(ROWS))
                growth = memory_mib(server.pid, "VmHWM") - before
        finally:
            server.terminate()
    assert sent > 200_000_000
    assert batch["request_counts"]["succeeded"] == rows == ROWS
    assert size > 50_000_000
    assert growth < ALLOWED_GROWTH_MIB
