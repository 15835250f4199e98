"""Who may reach the HTTP server: Host, Origin and bearer token, checked before anything else reads the request."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from batches_mcp.settings import LOOPBACK_HOSTS

HEALTH_PATH = "/healthz"

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(:\d{1,5})?")
_WILDCARDS = {"0.0.0.0", "::"}  # noqa: S104


@dataclass(frozen=True, slots=True)
class Gate:
    """ASGI middleware that lets through only requests meant for this server, from callers that know its token.

    A page in a browser can send requests to a local server: it is kept out because its Origin is foreign, and, when it
    has rebound its own name to this machine, because its Host is. `names` are host names without ports; the token may
    also stand alone in one of `key_headers`. `refuse` makes the answer to what is kept out.
    """

    app: ASGIApp
    names: frozenset[str]
    token: SecretStr | None
    max_body_bytes: int | None = None
    key_headers: frozenset[str] = frozenset()
    refuse: Callable[[int, str], Response] = field(default=lambda status, text: PlainTextResponse(text + "\n", status))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(Headers(scope=scope), scope["path"]) if scope["type"] == "http" else None
        await (refusal or self.app)(scope, receive, send)

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
        if self.token is not None and path != HEALTH_PATH and not self._knows_token(headers):
            refusal = self.refuse(401, "A valid bearer token is needed: Authorization: Bearer <BATCHES_MCP_TOKEN>")
            refusal.headers["www-authenticate"] = "Bearer"
            return refusal
        if self.max_body_bytes is not None and int(headers.get("content-length") or 0) > self.max_body_bytes:
            return self.refuse(
                413,
                f"The request is larger than {self.max_body_bytes >> 20} MiB. Create several smaller batches, "
                "or use the server over stdio, which has no such limit.",
            )
        return None

    def _name(self, host: str) -> str:
        match = _HOST.fullmatch(host)
        return match[1].strip("[]").lower() if match else ""

    def _knows_token(self, headers: Headers) -> bool:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        # Compared in constant time, and compared even when the scheme is wrong.
        known = self._is_token(bearer.strip()) and scheme.lower() == "bearer"
        return any([known, *(self._is_token(headers.get(name, "")) for name in self.key_headers)])

    def _is_token(self, given: str) -> bool:
        expected = self.token.get_secret_value() if self.token else ""
        return hmac.compare_digest(given.encode(), expected.encode())


def host_names(bind_host: str, allowed: Iterable[str]) -> frozenset[str]:
    """The names a server answers to: loopback, the address it is bound to, and what the operator allowed."""
    own = set() if bind_host in _WILDCARDS else {bind_host.lower()}
    return frozenset(LOOPBACK_HOSTS | own | {name.strip("[]").lower() for name in allowed})


def _shown(host: str) -> str:
    return host.rpartition(":")[0] or host if re.fullmatch(r"[A-Za-z0-9.:-]{1,253}", host) else "NAME"
