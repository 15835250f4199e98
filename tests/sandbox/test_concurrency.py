"""Clients, the control surface, the page and the handle at the same time."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx2
import pytest

from batches_mcp.sandbox import running_sandbox

Ask = Callable[..., dict[str, Any]]

PATH = "/v1/messages/batches"


@pytest.mark.parametrize("rounds", [5, pytest.param(100, marks=pytest.mark.soak)])
def test_nothing_fails_while_others_work(ask: Ask, rounds: int) -> None:
    body = {"requests": [ask(f"row-{number}") for number in range(20)]}

    with running_sandbox(process_seconds=0) as sandbox:

        def work(worker: int) -> None:
            headers = {"x-api-key": f"key-{worker % 3}", "anthropic-version": "2026-10-21"}
            with httpx2.Client(base_url=sandbox.url, headers=headers, timeout=60) as http:
                for number in range(rounds):
                    batch_id = http.post(PATH, json=body).json()["id"]
                    for path in (PATH, f"{PATH}/{batch_id}", "/_sandbox/batches", "/"):
                        # 404 where another worker's reset was faster.
                        assert http.get(path).status_code in (200, 404)
                    # A batch that goes before its first row is read leaves a stream that breaks off.
                    with suppress(httpx2.RemoteProtocolError):
                        assert http.get(f"{PATH}/{batch_id}/results").status_code in (200, 404)
                    if worker == 0 and number % 4 == 3:
                        sandbox.reset()
                    assert {entry.status for entry in sandbox.requests} <= {200, 404}

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
