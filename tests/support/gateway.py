"""A gateway between our program and a sandbox that loses, delays, garbles and reorders, as a seed says.

It speaks HTTP/1.1 over real sockets and answers one request for each connection. What it does to a request follows from
the seed, the endpoint, the content that a create is of, and how often it has come: not from the order of arrival, so
that a run can be repeated. It hands a create on once at most. Its `Date` is off by up to 90 s from the sandbox's clock
and drifts.
"""

from __future__ import annotations

import http.client
import json
import math
import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from batches_mcp.sandbox import Sandbox
from tests.support.fates import FATES, LATEST_S, REFUSED, Post
from tests.support.garbled import garbled_batches, garbled_rows
from tests.support.raw_http import RawAnswer, RawRequest, read_head, read_rest, read_until, reset

_MOST_SKEW_S = 90.0
_WAIT_S = 30.0

_ERRORS = {
    "400": ("invalid_request_error", "You have reached your specified API usage limits."),
    "429": ("rate_limit_error", "Too many requests."),
    "529": ("overloaded_error", "Overloaded"),
    "500": ("api_error", "Internal server error"),
    "504": ("timeout_error", "Gateway time-out"),
}
_HTML = b"<html><head><title>502 Bad Gateway</title></head><body><center>nginx</center></body></html>"
_MARK = re.compile(rb"soak:(\w+) ")
# A create longer than this can be cut while it is sent; a shorter one is in the buffers of the system by then.
_BUFFERED_BYTES = 5_000_000


@dataclass(slots=True)
class _Late:
    due_s: float
    post: Post
    request: RawRequest


@dataclass(slots=True)
class Gateway:
    """A running gateway; `calm` lets everything pass from then on. `log` is what it did, in words."""

    url: str
    sandbox: Sandbox
    seed: str
    calm: bool = False
    posts: list[Post] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    met: Counter[str] = field(default_factory=Counter)
    passed: Callable[[], None] = lambda: None
    _came: Counter[str] = field(default_factory=Counter)
    _late: list[_Late] = field(default_factory=list)
    _busy: int = 0
    _answered: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _closing: threading.Event = field(default_factory=threading.Event)

    @property
    def now_s(self) -> float:
        """The sandbox's time (Unix)."""
        return self.sandbox.clock.now().timestamp()

    @property
    def date_s(self) -> float:
        """What the gateway takes the time to be."""
        chance = random.Random(f"{self.seed} date")
        base_s, phase = chance.uniform(-60, 60), chance.uniform(0, math.tau)
        skew_s = base_s + 30 * math.sin(phase + math.tau * self.now_s / 7_200)
        return self.now_s + max(-_MOST_SKEW_S, min(_MOST_SKEW_S, skew_s))

    def advance(self, seconds: float) -> None:
        """Let the sandbox's time pass while no create is under way here, handing on what is late when it is due."""
        until_s = self.now_s + seconds
        while (now_s := self.now_s) < until_s:
            with self._changed:
                self._changed.wait_for(lambda: not self._busy, _WAIT_S)
                step_s = min([until_s - now_s, 100.0, *(max(0.0, late.due_s - now_s) for late in self._late)])
                self.sandbox.clock.advance(step_s)
                self.passed()
                due = [late for late in self._late if late.due_s <= self.now_s + 1e-6]
                for late in due:
                    self._late.remove(late)
                    self._hand_on(late.request, late.post)
                    self.note(f"handed on late: {late.post.number} of {late.post.content}: {late.post.batch_id}")
            time.sleep(0.01)

    def note(self, text: str) -> None:
        self.log.append(f"{time.monotonic():.3f} world {self.now_s:.1f} {text}")

    def _fate(self, endpoint: str, identity: str) -> tuple[str, random.Random]:
        name = f"{endpoint} {identity}"
        self._came[name] += 1
        chance = random.Random(f"{self.seed} {name} {self._came[name]}")
        table = {"passed": 1} if self.calm else FATES[endpoint]
        [fate] = chance.choices(list(table), list(table.values()))
        self.met[f"{endpoint}: {fate}"] += 1
        return fate, chance

    def converse(self, connection: socket.socket) -> None:
        with connection, suppress(OSError, http.client.HTTPException):
            connection.settimeout(_WAIT_S)
            head = read_head(connection)
            if head is None:
                return
            if head.endpoint != "create":
                body = read_rest(connection, head)
                if body is not None:
                    self._read(connection, RawRequest(head.method, head.target, head.headers, body))
                return
            with self._changed:
                self._busy += 1
            try:
                self._create(connection, head)
            finally:
                with self._changed:
                    self._busy -= 1
                    self._changed.notify_all()

    def _create(self, connection: socket.socket, head: RawRequest) -> None:
        head = read_until(connection, head, _MARK)
        mark = _MARK.search(head.body)
        content = mark[1].decode() if mark else "?"
        with self._changed:
            fate, chance = self._fate("create", content)
            post = Post(len(self.posts), content, fate, self.now_s, time.monotonic())
            self.posts.append(post)
        length = int(head.headers.get("content-length", 0))
        cut = fate == "unsent, cut" and length > _BUFFERED_BYTES
        body = None if cut else read_rest(connection, head)
        post.whole = body is not None
        self.note(f"create {post.number} of {content}: {fate}{'' if post.whole else ' before all of it came'}")
        if body is None:
            reset(connection)
            return
        request = RawRequest(head.method, head.target, head.headers, body)
        if fate in REFUSED or fate.startswith(("unsent", "late")):
            if fate.startswith("late"):
                with self._changed:
                    self._late.append(_Late(self.now_s + chance.uniform(30, LATEST_S), post, request))
            _slow(chance)
            self._fail(connection, fate.rpartition(", ")[2])
            return
        answer = self._hand_on(request, post)
        self.note(f"create {post.number} of {content}: batch {post.batch_id}")
        self._distort(connection, answer, fate.removeprefix("sent, "), chance)

    def _read(self, connection: socket.socket, request: RawRequest) -> None:
        endpoint = request.endpoint
        with self._changed:
            fate, chance = self._fate(endpoint, "")
        self.note(f"{endpoint} {request.target.rpartition('batches')[2]}: {fate}")
        if fate in ("dropped", "502", "529", "429"):
            self._fail(connection, fate)
        else:
            self._distort(connection, self._forward(request), fate, chance)

    def _hand_on(self, request: RawRequest, post: Post) -> RawAnswer:
        answer = self._forward(request)
        if answer.status == http.HTTPStatus.OK:
            post.batch_id = json.loads(answer.body)["id"]
        return answer

    def _forward(self, request: RawRequest) -> RawAnswer:
        upstream = http.client.HTTPConnection("127.0.0.1", self.sandbox.port, timeout=_WAIT_S)
        try:
            named = {name: value for name, value in request.headers.items() if name not in ("host", "connection")}
            upstream.request(request.method, request.target, request.body or None, named)
            answer = upstream.getresponse()
            kept = {name.lower(): value for name, value in answer.getheaders()}
            for name in ("date", "content-length", "transfer-encoding", "connection"):
                kept.pop(name, None)
            return RawAnswer(answer.status, kept, answer.read())
        finally:
            upstream.close()

    def _fail(self, connection: socket.socket, how: str) -> None:
        """Answer with an error of the gateway's own, or not at all."""
        if how in ("dropped", "cut"):
            reset(connection)
        elif how == "502":
            self._send(connection, RawAnswer(502, {"content-type": "text/html"}, _HTML))
        else:
            kind, message = _ERRORS[how]
            error = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_gateway"}
            self._send(
                connection, RawAnswer(int(how), {"content-type": "application/json"}, json.dumps(error).encode())
            )

    def _distort(self, connection: socket.socket, answer: RawAnswer, how: str, chance: random.Random) -> None:
        """Send an answer of the sandbox's as `how` says."""
        if how in ("dropped", "502", "500"):
            self._fail(connection, how)
            return
        body, length = answer.body, None
        match how:
            case "slow":
                _slow(chance)
            case "swapped":
                self._after_another()
            case "cut":
                length, body = len(body), body[: len(body) // 2]
            case "short":
                length = len(body) // 2
            case "long":
                length = len(body) + 100
            case "truncated":
                body = body[: len(body) // 2]
            case "no id" | "odd counts" | "stale":
                body = garbled_batches(body, how, self.now_s)
            case "repeated" | "foreign" | "cut row" | "garbled row" | "missing row":
                body = garbled_rows(body, how, chance)
            case _:
                pass
        self._send(connection, RawAnswer(answer.status, answer.headers, body), length)

    def _send(self, connection: socket.socket, answer: RawAnswer, length: int | None = None) -> None:
        with self._changed:
            self._answered += 1
            self._changed.notify_all()
        headers: dict[str, Any] = {
            **answer.headers,
            "date": formatdate(self.date_s, usegmt=True),
            "content-length": len(answer.body) if length is None else length,
            "connection": "close",
        }
        lines = [f"HTTP/1.1 {answer.status} Whatever", *(f"{name}: {value}" for name, value in headers.items())]
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + answer.body)

    def _after_another(self) -> None:
        """Wait until another answer has been sent, so that they change places."""
        with self._changed:
            before = self._answered
            self._changed.wait_for(lambda: self._answered > before, 0.2)


@contextmanager
def running_gateway(sandbox: Sandbox, seed: str) -> Iterator[Gateway]:
    """Run a gateway in front of a sandbox."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        gateway = Gateway(f"http://127.0.0.1:{listener.getsockname()[1]}", sandbox, seed)
        accepting = threading.Thread(target=_accept, args=(listener, gateway), daemon=True)
        accepting.start()
        try:
            yield gateway
        finally:
            gateway._closing.set()
            with suppress(OSError):
                socket.create_connection(listener.getsockname(), timeout=1).close()
            accepting.join(5)


def _accept(listener: socket.socket, gateway: Gateway) -> None:
    while True:
        connection, _ = listener.accept()
        if gateway._closing.is_set():
            connection.close()
            return
        threading.Thread(target=gateway.converse, args=(connection,), daemon=True).start()


def _slow(chance: random.Random) -> None:
    time.sleep(chance.choice((0.0, 0.02, 0.1, 0.3)))
