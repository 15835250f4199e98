"""A batch of 100,000 requests, up to over 200 MB, goes in and comes out while the server's memory stays where it was;
and how many requests a second are answered."""

import http.client
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from multiprocessing import get_context
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


def body(rows: int, words: int) -> Iterator[bytes]:
    params = {
        "model": "claude-haiku-5-5",
        "max_tokens": 64,
        "messages": [{"role": "user", "content": "Summarise: " + "lorem ipsum é " * words}],
    }
    tail = b'","params":' + json.dumps(params, ensure_ascii=False).encode() + b"}"
    yield b'{"requests":['
    for start in range(0, rows, 100):
        part = b",".join(b'{"custom_id":"row-%06d' % number + tail for number in range(start, min(start + 100, rows)))
        yield part if start == 0 else b"," + part
    yield b"]}"


@contextmanager
def served() -> Iterator[tuple[int, httpx2.Client]]:
    """The process id of a sandbox on its own, and a client of it."""
    headers = {"x-api-key": "k", "anthropic-version": "2026-10-21"}
    with subprocess.Popen([sys.executable, "-c", SERVE], stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            url = server.stderr.readline().split()[-1]
            with httpx2.Client(base_url=url, headers=headers, timeout=100) as client:
                yield server.pid, client
        finally:
            server.terminate()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize(
    ("words", "over_bytes"), [(20, 40_000_000), pytest.param(145, 200_000_000, marks=pytest.mark.soak)]
)
def test_100_000_requests_in_constant_memory(words: int, over_bytes: int) -> None:
    with served() as (pid, client):
        small = client.post(PATH, content=body(100, words)).json()["id"]
        client.get(f"{PATH}/{small}/results")
        before = memory_mib(pid, "VmRSS")
        created = client.post(PATH, content=body(ROWS, words))
        batch = client.get(f"{PATH}/{created.json()['id']}").json()
        rows = size = 0
        with client.stream("GET", f"{PATH}/{batch['id']}/results") as results:
            for part in results.iter_raw():
                rows += part.count(b"\n")
                size += len(part)
        growth = memory_mib(pid, "VmHWM") - before
    assert sum(len(part) for part in body(ROWS, words)) > over_bytes
    assert batch["request_counts"]["succeeded"] == rows == ROWS
    assert size > 40_000_000
    assert growth < ALLOWED_GROWTH_MIB


def retrieve(host: str, path: str, count: int) -> None:
    connection = http.client.HTTPConnection(host)
    with closing(connection):
        for _ in range(count):
            connection.request("GET", path, headers={"x-api-key": "k", "anthropic-version": "2026-10-21"})
            assert connection.getresponse().read().startswith(b'{"id":"msgbatch_')


@pytest.mark.soak
def test_1_000_retrieves_a_second() -> None:
    with served() as (_, client):
        batch_id = client.post(PATH, content=body(100, 1)).json()["id"]
        host = client.base_url.netloc.decode()
        retrieve(host, f"{PATH}/{batch_id}", 200)
        start = time.perf_counter()
        with ProcessPoolExecutor(2, get_context("spawn")) as pool:
            for done in [pool.submit(retrieve, host, f"{PATH}/{batch_id}", 2_000) for _ in range(2)]:
                done.result()
        rate = 4_000 / (time.perf_counter() - start)
    assert rate > 1_000
