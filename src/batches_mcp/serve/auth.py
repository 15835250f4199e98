"""Who may reach the HTTP server: Host, Origin and bearer token, checked before anything else reads the request."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from batches_mcp.core.settings import LOOPBACK_HOSTS, Admission
from batches_mcp.serve.toolarge import MAX_BODY_BYTES

HEALTH_PATH = "/healthz"
READY_PATH = "/readyz"
# Answered without a credential, and while the server drains.
PROBES = frozenset({HEALTH_PATH, READY_PATH})

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(:\d{1,5})?")
_WILDCARDS = {"0.0.0.0", "::"}  # noqa: S104


Refuse = Callable[[int, str], Response]
"""Makes the answer to a request that is refused, of its status and what there is to say."""


def in_plain_text(status: int, text: str) -> Response:
    return PlainTextResponse(f"{text}\n", status)


@dataclass(frozen=True, slots=True)
class Gate:
    """ASGI middleware that lets through only requests meant for this server, from callers that may use it.

    A page in a browser can send requests to a local server: it is kept out because its Origin is foreign, and, when it
    has rebound its own name to this machine, because its Host is. `names` are host names without ports, `asked` is what
    a caller has to show, whose value may also stand alone in one of `key_headers`; on `open_paths` nothing has to be
    shown. `too_large` is what is said about a body over `MAX_BODY_BYTES`, of the length that was found; one whose
    length is not declared is for `app` to refuse with 413, and the same is said. None: a body may have any length.
    """

    app: ASGIApp
    names: frozenset[str]
    asked: Admission | None
    too_large: Callable[[int | None], str] | None = None
    key_headers: frozenset[str] = frozenset()
    open_paths: frozenset[str] = PROBES
    refuse: Refuse = in_plain_text

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif refusal := self._refusal(Headers(scope=scope), scope["path"]):
            await refusal(scope, receive, send)
        else:
            await self.app(scope, receive, self._explained(scope, receive, send))

    def _explained(self, scope: Scope, receive: Receive, send: Send) -> Send:
        """Sends an answer on, but one of 413 with our text in place of its own."""
        if (too_large := self.too_large) is None:
            return send
        refused = False

        async def sending(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and message["status"] == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                refused = True
                await self.refuse(message["status"], too_large(None))(scope, receive, send)
            elif not refused:
                await send(message)

        return sending

    def _refusal(self, headers: Headers, path: str) -> Response | None:
        host = headers.get("host", "")
        if self._name(host) not in self.names:
            return self.refuse(
                421,
                f"Not a host name of this server. Start it with --allow-host {_shown(host)} to allow it.",
            )
        origin = headers.get("origin")
        if origin is not None and self._name(urlsplit(origin).netloc) not in self.names:
            return self.refuse(403, "Requests from that web origin are not allowed.")
        if self.asked is not None and path not in self.open_paths and not _shows(headers, self.asked, self.key_headers):
            return self._unauthorized(self.asked)
        length_bytes = int(headers.get("content-length") or 0)
        if self.too_large is not None and length_bytes > MAX_BODY_BYTES:
            return self.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self.too_large(length_bytes))
        return None

    def _name(self, host: str) -> str:
        match = _HOST.fullmatch(host)
        return match[1].strip("[]").lower() if match else ""

    def _unauthorized(self, asked: Admission) -> Response:
        shown = f"{asked.scheme} <{asked.name}>".lstrip()
        what = "bearer token" if asked.scheme == "Bearer" else "credential"
        refusal = self.refuse(401, f"A valid {what} is needed: {asked.header}: {shown}")
        refusal.headers["www-authenticate"] = asked.scheme or f'ApiKey header="{asked.header}"'
        return refusal


def host_names(bind_host: str, allowed: Iterable[str]) -> frozenset[str]:
    """The names a server answers to: loopback, the address it is bound to, and what the operator allowed."""
    own = set() if bind_host in _WILDCARDS else {bind_host.lower()}
    return frozenset(LOOPBACK_HOSTS | own | {name.strip("[]").lower() for name in allowed})


def _shown(host: str) -> str:
    return host.rpartition(":")[0] or host if re.fullmatch(r"[A-Za-z0-9.:-]{1,253}", host) else "NAME"


def _shows(headers: Headers, asked: Admission, key_headers: Iterable[str]) -> bool:
    scheme, given = asked.scheme, headers.get(asked.header, "")
    if asked.scheme:
        scheme, _, given = given.partition(" ")
    # Compared in constant time, and compared even when the scheme is wrong.
    known = _is(asked.value, given.strip()) and scheme.lower() == asked.scheme.lower()
    return any([known, *(_is(asked.value, headers.get(name, "")) for name in key_headers)])


def _is(expected: SecretStr, given: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.get_secret_value().encode())
