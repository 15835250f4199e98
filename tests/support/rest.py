"""Our server with its REST adapter, and scripted callers of it."""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.support.servers import Process, running

BATCHES = "/v1/messages/batches"


@dataclass(frozen=True, slots=True)
class Served:
    """Where a running server is: `mcp` is its MCP endpoint, `url` the root of its REST paths."""

    mcp: str
    url: str
    process: Process

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port


@contextmanager
def rest_server(
    base_url: str,
    *flags: str,
    key: str | None = "test-key",
    limits: str | None = None,
    **env: str,
) -> Iterator[Served]:
    """Our server over HTTP on free ports, with REST."""
    serve = ["serve", "--transport", "http", "--port", "0", "--rest", "--rest-port", "0", "--base-url", base_url]
    with running([*serve, *flags], key, limits=limits, **env) as process:
        said = process.say_until(r"serving MCP at (http://\S+) and REST at (http://\S+)")
        yield Served(said[1], said[2], process)


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes


def raw(served: Served, method: str, target: str, body: bytes | None = None, /, **headers: str) -> Reply:
    """One request with its target exactly as given, on a connection of its own."""
    connection = http.client.HTTPConnection(*served.address, timeout=20)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, target, body, named)
        answer = connection.getresponse()
        return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()
