"""What all exchanges with the upstream have in common: limits, client options, bounded bodies, what a failure means."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterable
from functools import cached_property
from typing import TypedDict
from urllib.parse import urlsplit

import httpx2

from batches_mcp import __version__
from batches_mcp.core.errors import ErrorReport, Retry, UnusableAnswer, UpstreamUnreachable
from batches_mcp.core.limits import Limits
from batches_mcp.core.redact import excerpt
from batches_mcp.exchange.request import Request, Upload
from batches_mcp.exchange.result import MAX_BYTES, Answer, is_jsonl

log = logging.getLogger(__name__)

# The connection was never made, so the upstream cannot have seen the request.
NEVER_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
)

# Proxies of the environment are for the world outside, not for this machine.
_NO_PROXY: dict[str, None] = {"all://127.0.0.1": None, "all://localhost": None, "all://[::1]": None}


class ClientOptions(TypedDict):
    """The keyword arguments that all our clients are made with."""

    verify: ssl.SSLContext
    follow_redirects: bool
    mounts: dict[str, None]
    headers: dict[str, str]


class ClientSettings:
    """How clients are made, and the TLS context that they share, which is slow to make."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return httpx2.create_ssl_context()

    def options(self) -> ClientOptions:
        return {
            "verify": self._tls,
            "follow_redirects": False,
            "mounts": _NO_PROXY,
            # Identity: an answer's size is bounded as it arrives, and nothing can unpack into more.
            "headers": {"user-agent": f"batches-mcp/{__version__}", "accept": "*/*", "accept-encoding": "identity"},
        }

    def timeout(self, seconds: float | None) -> httpx2.Timeout:
        """Up to `seconds` for every read and write; connecting has a limit of its own."""
        return httpx2.Timeout(seconds, connect=self._limits.connect_s, pool=self._limits.connect_s)

    def load(self) -> None:
        """Import and make in advance, in any thread, what the first request would otherwise wait for."""
        httpx2.AsyncHTTPTransport(verify=self._tls)


class Body:
    """The body of an answer as it arrives, up to what can be used of it."""

    def __init__(self, response: httpx2.Response, limits: Limits, declared_jsonl: bool) -> None:
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s %s: %d", response.request.method, response.request.url.path, response.status_code)
        headers = {name.lower(): value for name, value in response.headers.items()}
        self._head = Answer(response.status_code, headers, b"")
        self._jsonl = is_jsonl(self._head.media_type, declared=declared_jsonl) and self._head.succeeded
        self._most = limits.answer_bytes if self._head.succeeded else limits.error_bytes
        self._content = bytearray()
        self._complete = True

    @property
    def succeeded(self) -> bool:
        return self._head.succeeded

    def jsonl(self) -> Answer:
        """The head of an answer that is JSONL.

        Raises:
            UnusableAnswer: it is something else.
        """
        if self._jsonl:
            return self._head
        message = f"expected JSONL, found {excerpt(self._head.media_type, 80)}."
        next_step = "Check the base URL: something else than the API answers there."
        raise UnusableAnswer(
            ErrorReport("unusable_answer", message, next_step, status=self._head.status, at_shell=next_step)
        )

    def take(self, chunk: bytes) -> bool:
        """Add a chunk; false when enough was there before it, so that it is known that there is more.

        Raises:
            UnusableAnswer: a success that is larger than anything one result could be made of.
        """
        if self._enough():
            self._complete = False
            return False
        self._content += chunk
        if self._head.succeeded and len(self._content) > self._most:
            message = f"the upstream's answer is larger than {self._most:,} bytes."
            next_step = "For a list, ask for less of it at a time."
            raise UnusableAnswer(ErrorReport("answer_too_large", message, next_step, status=self._head.status))
        return True

    def take_all(self, chunks: Iterable[bytes]) -> None:
        """Add chunks for as long as there is not enough; raises as `take` does."""
        for chunk in chunks:
            if not self.take(chunk):
                break

    def _enough(self) -> bool:
        if self._jsonl:
            return len(self._content) > MAX_BYTES and b"\n" in self._content
        return not self._head.succeeded and len(self._content) > self._most

    def answer(self) -> Answer:
        """The answer with what was taken of its body."""
        return Answer(self._head.status, self._head.headers, bytes(self._content), self._complete)


def no_answer(
    request: Request, error: TimeoutError | httpx2.TransportError, repeatable: bool, limits: Limits
) -> UpstreamUnreachable:
    """What is said of an exchange that ended without an answer, or in the middle of one."""
    host = urlsplit(request.url).netloc
    maybe_accepted = not isinstance(error, NEVER_SENT)
    match error:
        case httpx2.ConnectTimeout():
            what = f"no connection to {host} within {limits.connect_s:g} s"
        case TimeoutError() | httpx2.TimeoutException():
            time_s = limits.upload_s if isinstance(request.body, Upload) else limits.call_s
            what = f"{host} did not answer {request.method} within {round(time_s, 1):g} s"
        case httpx2.ConnectError() | httpx2.ProxyError():
            what = f"no connection to {host}: {excerpt(str(error), 200)}"
        case _:
            what = f"the connection to {host} broke before the answer was complete ({type(error).__name__})"
    kind = "timeout" if isinstance(error, TimeoutError | httpx2.TimeoutException) else "connection_error"
    if maybe_accepted and not repeatable:
        next_step = (
            "The request may have been carried out. Look at what exists upstream now (list it) before anything else."
        )
        return UpstreamUnreachable(
            ErrorReport(kind, f"{what}.", next_step, Retry.UNSAFE, at_shell=next_step), maybe_accepted=True
        )
    next_step = (
        "Check that the upstream can be reached from where this server runs, and the base URL it was started with."
    )
    at_shell = "Check that the upstream can be reached from here, and the base URL; then give the same command again."
    report = ErrorReport(kind, f"{what}.", next_step, Retry.HELPS, at_shell=at_shell)
    return UpstreamUnreachable(report, maybe_accepted=maybe_accepted)
