"""The doors of a service: who comes in by a token of the identity provider, or by a named key, and how far.

`/mcp` is an OAuth 2.1 resource server where there is an issuer (RFC 6750, 9728; MCP, basic/authorization). `/key/mcp`
takes named keys; its refusals name no metadata: clients that find some try to log in instead of showing their key.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from pydantic_core import from_json
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from batches_mcp.access.keys import NamedKey, holder
from batches_mcp.access.principal import APPROVE, READ, SCOPES, WRITE, Principal, needed
from batches_mcp.core.context import current
from batches_mcp.serve.auth import Refuse, in_plain_text
from batches_mcp.serve.callers import DOOR_KEY, SCOPE_KEY
from batches_mcp.serve.toolarge import MAX_BODY_BYTES

if TYPE_CHECKING:
    from batches_mcp.access.keyset import Verifier
    from batches_mcp.access.tokens import TokenRules

log = logging.getLogger(__name__)

PATH, KEY_PATH = "/mcp", "/key/mcp"
WELL_KNOWN = "/.well-known/"
APPROVALS_PATH = "/approvals"
# What the audit calls the door of REST, whose paths are the capability's.
_REST = "rest"
_METADATA = f"{WELL_KNOWN}oauth-protected-resource"
# What a client is to ask for that has not asked for anything yet: some providers let it ask only once.
_ASKED = frozenset({READ, WRITE})

Audit = Callable[[Request, Sequence[str]], Awaitable[None]]
"""Writes down that a request was refused whose principal lacks a scope, with the tools that it would have called."""


@dataclass(frozen=True, slots=True)
class Resource:
    """This service as its callers and the identity provider know it; both URLs are kept as they were written."""

    url: str
    issuer: str
    title: str

    @property
    def metadata_path(self) -> str:
        """Where its metadata is, with its own path inserted (RFC 9728 section 3.1)."""
        return _METADATA + urlsplit(self.url).path.rstrip("/")

    @property
    def metadata_url(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}{self.metadata_path}"

    def metadata(self) -> dict[str, Any]:
        return {
            "resource": self.url,
            "authorization_servers": [self.issuer],
            "scopes_supported": sorted(_ASKED),
            "bearer_methods_supported": ["header"],
            "resource_name": self.title,
        }


@dataclass(frozen=True, slots=True)
class Access:
    """What opens the doors of a service; `rules` and `resource` are there when it has an identity provider.

    `routes` lead to what only a service has.
    """

    keys: Sequence[NamedKey]
    rules: TokenRules | None
    resource: Resource | None
    audit: Audit | None = None
    routes: Sequence[Route] = ()


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why somebody is not let in. `error` is what RFC 6750 calls it; none where nothing was shown."""

    status: int
    text: str
    error: str = ""
    retry_after_s: float | None = None


_UNKNOWN = "A valid bearer token is needed: Authorization: Bearer <token>"


@dataclass(frozen=True, slots=True)
class Doors:
    """ASGI middleware that lets in whoever shows a credential, and leaves the principal in the scope.

    `methods` are the HTTP methods of the operations of the tools. On `open_paths` nothing has to be shown; a key may
    also stand alone in one of `key_headers`. With `rest`, `app` has no MCP, and its paths are whatever they are.
    """

    app: ASGIApp
    access: Access
    verifier: Callable[[], Verifier] | None
    open_paths: frozenset[str]
    methods: Mapping[str, str] = field(default_factory=dict)
    key_headers: frozenset[str] = frozenset()
    rest: bool = False
    refuse: Refuse = in_plain_text

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"] if scope["type"] == "http" else ""
        if scope["type"] != "http" or path in self.open_paths:
            await self.app(scope, receive, send)
        elif path.startswith(WELL_KNOWN):
            await self._well_known(scope)(scope, receive, send)
        else:
            await self._guarded(path, scope, receive, send)

    def _well_known(self, scope: Scope) -> Response:
        # Any other answer than 404 is taken for some metadata by some client.
        if self.access.resource is None or self.rest or scope["path"] != self.access.resource.metadata_path:
            return PlainTextResponse("Not found.\n", 404)
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("Only GET is allowed here.\n", 405, {"allow": "GET, HEAD"})
        headers = {"access-control-allow-origin": "*", "cache-control": "public, max-age=300"}
        return JSONResponse(self.access.resource.metadata(), headers=headers)

    async def _guarded(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        found = await self._principal(path, Headers(scope=scope))
        if isinstance(found, _Refusal):
            await self._refused(path, found, _ASKED)(scope, receive, send)
            return
        if (call := current()) is not None:
            call.team, call.principal = found.team_name, found.name
        door = _REST if self.rest else path if path in (PATH, KEY_PATH) else f"/{path.split('/')[1]}"
        inner = {**scope, SCOPE_KEY: found, DOOR_KEY: door, "user": _user(found, self.access.resource)}
        lacking, tools, receive = await self._lacking(found, scope, receive)
        if lacking:
            if self.access.audit is not None:
                await self.access.audit(Request(inner), tools)
            named = " and ".join(sorted(lacking))
            text = f"This needs the scope {named}, which the credential does not have."
            refusal = _Refusal(HTTPStatus.FORBIDDEN, text, "insufficient_scope")
            await self._refused(path, refusal, found.scopes | lacking)(scope, receive, send)
            return
        if path == KEY_PATH and not self.rest:
            inner |= {"path": PATH, "raw_path": PATH.encode()}
        await AuthContextMiddleware(self.app)(inner, receive, send)

    async def _principal(self, path: str, headers: Headers) -> Principal | _Refusal:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        shown = [given.strip()] if scheme.lower() == "bearer" and given.strip() else []
        takes_tokens = self.verifier is not None and (self.rest or path != KEY_PATH)
        if self.rest or path != PATH or not takes_tokens:
            for each in [*shown, *(headers[name] for name in self.key_headers if name in headers)]:
                if (known := holder(self.access.keys, each)) is not None:
                    return known
        if takes_tokens and shown and self.verifier is not None:
            return await _of_token(self.verifier(), shown[0])
        return _Refusal(HTTPStatus.UNAUTHORIZED, _UNKNOWN, "invalid_token" if shown else "")

    async def _lacking(
        self, principal: Principal, scope: Scope, receive: Receive
    ) -> tuple[frozenset[str], list[str], Receive]:
        """The scopes that a request needs and its principal has not, the tools that it calls, and its body, to be read
        again.

        What a call needs is checked once more when it is made; here it is said in HTTP's words, for clients that then
        ask the identity provider for more.
        """
        if self.rest:
            return principal.lacks(needed(scope["method"])), [], receive
        if f"{scope['path']}/".startswith(f"{APPROVALS_PATH}/"):
            return principal.lacks({APPROVE}), [], receive
        lacking, tools = principal.lacks({READ}), list[str]()
        if scope["method"] == "POST" and principal.lacks(_ASKED):
            body, receive = await _read(receive)
            tools = _called(body)
            for name in tools:
                lacking |= principal.lacks(needed(self.methods.get(name, "GET")))
        return lacking, tools, receive

    def _refused(self, path: str, refusal: _Refusal, scopes: Collection[str]) -> Response:
        response = self.refuse(refusal.status, refusal.text)
        with_metadata = self.access.resource is not None and not self.rest and path != KEY_PATH
        parameters = {
            "error": refusal.error if with_metadata or refusal.status == HTTPStatus.FORBIDDEN else "",
            "scope": " ".join(each for each in SCOPES if each in scopes),
            "resource_metadata": self.access.resource.metadata_url if self.access.resource and with_metadata else "",
        }
        if refusal.status == HTTPStatus.UNAUTHORIZED or refusal.error:
            said = ", ".join(f'{name}="{value}"' for name, value in parameters.items() if value)
            response.headers["www-authenticate"] = f"Bearer {said}"
        if refusal.retry_after_s is not None:
            response.headers["retry-after"] = f"{refusal.retry_after_s:.0f}"
        return response


async def _of_token(verifier: Verifier, token: str) -> Principal | _Refusal:
    from batches_mcp.access.keyset import NoTeam, Rejected, Unavailable

    try:
        return await verifier.principal(token)
    except Rejected as error:
        log.info("a token was refused: %s", error)
        return _Refusal(HTTPStatus.UNAUTHORIZED, _UNKNOWN, "invalid_token")
    except NoTeam:
        text = "Nothing in the token stands for a team of this service: ask its operator to add yours."
        return _Refusal(HTTPStatus.FORBIDDEN, text)
    except Unavailable as error:
        text = "The keys of the identity provider cannot be fetched now, so that nobody can be let in."
        return _Refusal(HTTPStatus.SERVICE_UNAVAILABLE, text, retry_after_s=error.retry_after_s)


def _user(principal: Principal, resource: Resource | None) -> AuthenticatedUser:
    """The principal in the SDK's terms, which binds to it what it hands out; the credential is not handed on."""
    claims = {"iss": resource.issuer} if resource is not None and principal.client != "key" else {"iss": "key"}
    token = AccessToken(
        token="",
        client_id=principal.client,
        scopes=sorted(principal.scopes),
        subject=principal.name,
        claims=claims,
    )
    return AuthenticatedUser(token)


async def _read(receive: Receive) -> tuple[bytes, Receive]:
    """The body of a request, and what gives it once more; of one that is too large, just its beginning."""
    messages: list[Message] = []
    body = bytearray()
    more = True
    while more and len(body) <= MAX_BODY_BYTES:
        message = await receive()
        messages.append(message)
        body += message.get("body", b"")
        more = message["type"] == "http.request" and message.get("more_body", False)
    ahead = iter(messages)

    async def again() -> Message:
        return next(ahead, None) or await receive()

    return (b"" if len(body) > MAX_BODY_BYTES else bytes(body)), again


def _called(body: bytes) -> list[str]:
    """The tools that a message of JSON-RPC calls."""
    try:
        found = from_json(body)
    except ValueError:
        return []
    names: list[str] = []
    for message in found if isinstance(found, list) else [found]:
        match message:
            case {"method": "tools/call", "params": {"name": str(name)}}:
                names.append(name)
    return names
