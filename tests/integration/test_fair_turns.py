"""Calls of the API in turns: no caller waits for all of another's, and who is turned away is told so."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from tests.support.creates import requests
from tests.support.held import chunk, chunked, held_upstream
from tests.support.rest import BATCHES, raw, rest_server
from tests.support.results import JsonHandler, serving
from tests.support.servers import CREATE, RETRIEVE
from tests.support.slow_creates import batch, slow_creates
from tests.support.teams import Caller, service

_WAIT_S = 60
WAITS = r"calls of the API are under way; another one waits"


@dataclass(slots=True)
class HeldLooks:
    """An upstream that holds every look at a batch until the test lets one go, and answers all else at once.

    `arrived` gets the id of each batch that is looked at.
    """

    url: str = ""
    created: int = 0
    arrived: queue.Queue[str] = field(default_factory=queue.Queue)
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def next_look(self) -> str:
        return self.arrived.get(timeout=_WAIT_S)


@contextmanager
def held_looks() -> Iterator[HeldLooks]:
    upstream = HeldLooks()

    class Handler(JsonHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:  # noqa: N802 - what the base looks for
            self.rfile.read(int(self.headers["content-length"]))
            upstream.created += 1
            self.answer(batch(f"msgbatch_{upstream.created}"))

        def do_GET(self) -> None:  # noqa: N802 - what the base looks for
            name = self.path.partition("?")[0].rpartition("/")[2]
            if name == "batches":
                self.answer({"data": [], "has_more": False, "first_id": None, "last_id": None})
                return
            upstream.arrived.put(name)
            upstream.go.acquire(timeout=_WAIT_S)
            self.answer(batch(name))

    with serving(Handler) as upstream.url:
        try:
            yield upstream
        finally:
            upstream.go.release(1000)


@pytest.mark.parametrize("over", ["mcp", "rest"])
def test_one_call_of_a_team_does_not_wait_for_all_of_another_ones(over: str, tmp_path: Path) -> None:
    flags = ("--upstream-calls", "3", "--log-level", "debug")
    with (
        held_looks() as upstream,
        service(upstream.url, tmp_path, *flags, key="k") as served,
        ThreadPoolExecutor(16) as pool,
    ):
        callers = [Caller(served, "search-key"), Caller(served, "ads-key")]
        ids = [each.call(CREATE, requests=requests(1, f"{each.key}-"))[0]["id"] for each in callers]
        many, one = ids

        def look(caller: Caller, batch_id: str) -> bool:
            if over == "rest":
                return caller.rest("GET", f"{BATCHES}/{batch_id}").status_code == 200
            return not caller.call(RETRIEVE, message_batch_id=batch_id)[1]

        answers = [pool.submit(look, callers[0], many) for _ in range(8)]
        assert [upstream.next_look(), upstream.next_look()] == [many, many]
        for _ in range(6):
            served.process.say_until(WAITS)
        # Of three turns a team has two, so that another one's first call need not wait at all.
        answers.append(pool.submit(look, callers[1], one))
        assert upstream.next_look() == one
        answers += [pool.submit(look, callers[1], one) for _ in range(2)]
        for _ in range(2):
            served.process.say_until(WAITS)
        upstream.go.release(2)
        assert {upstream.next_look(), upstream.next_look()} == {many, one}
        upstream.go.release(100)
        assert all(each.result(_WAIT_S) for each in answers)


def test_one_create_of_a_team_does_not_wait_for_all_of_another_ones(tmp_path: Path) -> None:
    with (
        slow_creates() as upstream,
        service(upstream.url, tmp_path, "--log-level", "debug", key="k", limits='{"uploads": 1}') as served,
        ThreadPoolExecutor(8) as pool,
    ):
        answers = []
        for number, (key, name) in enumerate(
            (("search-key", "s0"), ("search-key", "s1"), ("search-key", "s2"), ("ads-key", "a"))
        ):
            answers.append(pool.submit(Caller(served, key).call, CREATE, requests=requests(1, f"{name}-")))
            if number:
                served.process.say_until("1 creates are under way; another one waits")
            else:
                upstream.wait_for(1)
        upstream.answered.set()
        assert not any(each.result(_WAIT_S)[1] for each in answers)
    ids = [json.loads(body)["requests"][0]["custom_id"] for body in upstream.bodies]
    assert ids == ["s0-0", "s1-0", "a-0", "s2-0"]


def test_who_finds_the_queue_full_is_told_when_to_come_again_and_nothing_is_sent(tmp_path: Path) -> None:
    limits = '{"waiting": 0, "upstream_calls": 1}'
    with (
        held_looks() as upstream,
        service(upstream.url, tmp_path, key="k", limits=limits) as served,
        ThreadPoolExecutor(1) as pool,
    ):
        caller = Caller(served, "ads-key")
        batch_id = caller.call(CREATE, requests=requests(1))[0]["id"]
        held = pool.submit(caller.call, RETRIEVE, message_batch_id=batch_id)
        assert upstream.next_look() == batch_id
        error, failed = caller.call(RETRIEVE, message_batch_id=batch_id)
        assert failed
        assert (error["type"], error["retryable"], error["retry_after_s"]) == ("server_busy", True, 5.0)
        assert (
            "this server is busy: 1 calls of the API are under way, and 0 more wait. Nothing was sent." in error["text"]
        )
        for method, path in (("GET", f"{BATCHES}/{batch_id}"), ("POST", f"{BATCHES}/{batch_id}/cancel")):
            said = caller.rest(method, path)
            assert (said.status_code, said.headers["retry-after"]) == (503, "5")
            assert "x-should-retry" not in said.headers
            assert said.json()["error"]["type"] == "overloaded_error"
            assert "Nothing was sent" in said.json()["error"]["message"]
        assert upstream.arrived.empty()
        upstream.go.release()
        assert not held.result(_WAIT_S)[1]


def test_looks_do_not_wait_for_long_results() -> None:
    with (
        held_upstream() as held,
        rest_server(held.url, limits='{"downloads": 1}') as served,
        ThreadPoolExecutor(4) as pool,
    ):
        results = pool.submit(raw, served, "GET", f"{BATCHES}/msgbatch_1/results")
        long = held.accept()
        long.sendall(chunked("application/x-jsonl") + chunk(b"1\n"))
        look = pool.submit(httpx2.get, f"{served.url}{BATCHES}/msgbatch_1", timeout=_WAIT_S)
        quick = held.accept()
        quick.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
        assert look.result(_WAIT_S).json() == {}
        long.sendall(b"0\r\n\r\n")
        assert results.result(_WAIT_S).body == b"1\n"
