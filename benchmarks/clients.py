"""Many clients at once: each has a connection, a revision of the protocol and a key of its own, one call at a time."""

from __future__ import annotations

import selectors
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self

from benchmarks.load import Load
from benchmarks.measure import percentile
from benchmarks.wire import Era, answer_in, http_request, result_of

_ANSWER_S = 120.0


@dataclass(frozen=True, slots=True)
class Place:
    """A port of this machine, the name that clients reach it by, and with TLS what they trust."""

    port: int
    host: str = "127.0.0.1"
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the calls of many clients came to; `errors` are those that failed, each by what was found."""

    load: Load
    calls: int
    errors: tuple[str, ...]


class Client:
    """A client, connected."""

    def __init__(self, place: Place, era: Era, token: str | None = None) -> None:
        self.era, self._place, self._token = era, place, token
        self.sent_s = 0.0
        self._connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, message: dict[str, Any]) -> None:
        request = http_request(f"{self._place.host}:{self._place.port}", self.era, message, self._token)
        self._received.clear()
        self.sent_s = time.perf_counter()
        self.socket.sendall(request)

    def received(self) -> dict[str, Any] | None:
        """The result of the call, once it is all there; waits for a part of it.

        Raises:
            OSError, EOFError, ValueError: there is none.
        """
        chunk = self.socket.recv(1 << 16)
        if not chunk:
            raise EOFError("the server closed the connection")
        self._received += chunk
        answer = answer_in(bytes(self._received))
        return None if answer is None else result_of(answer)

    def call(self, message: dict[str, Any]) -> dict[str, Any]:
        """The result of a call, waited for."""
        self.send(message)
        while (result := self.received()) is None:
            pass
        return result

    def reconnect(self) -> None:
        self.socket.close()
        self._connect()

    def _connect(self) -> None:
        made = socket.create_connection(("127.0.0.1", self._place.port), timeout=_ANSWER_S)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tls = self._place.tls
        self.socket = made if tls is None else tls.wrap_socket(made, server_hostname=self._place.host)
        self._received = bytearray()


def drive(
    clients: Iterable[Client], message: Callable[[Era], dict[str, Any]], batch_id: str, seconds: float
) -> Outcome:
    """Let each client call again as soon as it is answered, for some seconds; every answer must be the batch's.

    Before the clock starts each of them makes a call, which takes the handshakes away.
    """
    taken_ms: list[float] = []
    errors: list[str] = []
    with ExitStack() as stack, selectors.DefaultSelector() as waiting:
        connected = [stack.enter_context(each) for each in clients]
        for each in connected:
            each.call(message(each.era))
        begun_s = time.perf_counter()
        for each in connected:
            each.send(message(each.era))
            waiting.register(each.socket, selectors.EVENT_READ, each)
        while waiting.get_map():
            ready = waiting.select(_ANSWER_S)
            if not ready:
                raise TimeoutError(f"no answer within {_ANSWER_S:g} s")
            for key, _ in ready:
                client: Client = key.data
                try:
                    result = client.received()
                    if result is None:
                        continue
                    if result["structuredContent"]["id"] != batch_id:
                        raise ValueError("the answer is not the batch")
                    taken_ms.append(1000 * (time.perf_counter() - client.sent_s))
                    failed = False
                except (OSError, EOFError, ValueError) as error:
                    errors.append(f"{type(error).__name__}: {error}")
                    failed = True
                waiting.unregister(key.fileobj)
                if failed:
                    client.reconnect()
                if time.perf_counter() < begun_s + seconds:
                    client.send(message(client.era))
                    waiting.register(client.socket, selectors.EVENT_READ, client)
        taken_s = time.perf_counter() - begun_s
    if not taken_ms:
        raise ValueError(f"no call succeeded: {errors[0]}")
    load = Load(percentile(taken_ms, 0.5), percentile(taken_ms, 0.95), len(taken_ms) / taken_s)
    return Outcome(load, len(taken_ms) + len(errors), tuple(errors))
