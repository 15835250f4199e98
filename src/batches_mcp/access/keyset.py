"""The keys that an identity provider signs with: fetched when needed, kept, and fetched again in moderation."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import anyio

from batches_mcp.access.principal import Principal
from batches_mcp.access.tokens import Key, NoTeam, Rejected, TokenRules, key_id, keys_in, principal_of
from batches_mcp.core.errors import CallError
from batches_mcp.core.limits import Limits
from batches_mcp.core.redact import excerpt
from batches_mcp.core.settings import is_safe
from batches_mcp.exchange.request import Request
from batches_mcp.exchange.upstream import Upstream

__all__ = ("KeySet", "NoTeam", "Rejected", "Unavailable", "Verifier")

log = logging.getLogger(__name__)

# Both documents together; nobody is let in meanwhile who is not known already.
_FETCH_S = 5.0
_KEPT_S = 600.0
# However many tokens name keys that nobody has.
_UNKNOWN_EVERY_S = 60.0
_AFTER_FAILURE_S = 10.0


class Unavailable(Exception):
    """The issuer's keys cannot be had now; `retry_after_s` is when to ask again."""

    def __init__(self, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__("the keys of the identity provider cannot be fetched")


class KeySet:
    """The keys of an issuer, who has `fetch_s` to answer. Time (`now_s`) is one that only goes forward."""

    def __init__(self, issuer: str, upstream: Upstream, now_s: Callable[[], float] = anyio.current_time) -> None:
        self._issuer = issuer
        self._upstream = upstream
        self._now_s = now_s
        self.fetch_s = _FETCH_S
        self._keys: dict[str | None, Key] | None = None
        self._old_s = 0.0
        self._again_s = 0.0
        self._unknown_s = 0.0
        self._fetching = anyio.Lock()

    async def find(self, kid: str | None) -> Key | None:
        """The key with an id, or the only one there is without; None when the issuer has no such key.

        Raises:
            Unavailable: no keys are known, and they cannot be fetched.
        """
        if self._keys is None or (self._now_s() >= self._old_s and not self._fetching.locked()):
            await self._fetch()
        assert self._keys is not None  # noqa: S101 - or it was raised
        if kid not in self._keys and self._now_s() >= self._unknown_s:
            # The issuer may have begun to sign with a new key.
            self._unknown_s = self._now_s() + _UNKNOWN_EVERY_S
            await self._fetch(anew=True)
        return self._keys.get(kid)

    async def _fetch(self, *, anew: bool = False) -> None:
        """Fetch the keys, unless that was done or has failed while this waited for its turn; old ones stay until then.

        Raises:
            Unavailable: there are none.
        """
        async with self._fetching:
            now_s = self._now_s()
            if now_s >= self._again_s and (anew or self._keys is None or now_s >= self._old_s):
                try:
                    with anyio.fail_after(self.fetch_s):
                        self._keys = await self._fetched()
                    self._old_s = self._now_s() + _KEPT_S
                except (CallError, ValueError, TimeoutError) as error:
                    self._again_s = self._now_s() + _AFTER_FAILURE_S
                    reason = str(error) or f"no answer within {self.fetch_s:g} s"
                    log.warning("the keys of %s cannot be fetched: %s", self._issuer, excerpt(reason, 300))
            if self._keys is None:
                raise Unavailable(max(1.0, self._again_s - self._now_s()))

    async def _fetched(self) -> dict[str | None, Key]:
        base, parts = self._issuer.rstrip("/"), urlsplit(self._issuer)
        path = parts.path.rstrip("/")
        places = (
            f"{base}/.well-known/openid-configuration",
            f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{path}",
        )
        for place in places:
            found = await self._get(place)
            if found is not None:
                break
        else:
            raise ValueError(f"it has no metadata, neither at {' nor at '.join(places)}")
        metadata = json.loads(found)
        if not isinstance(metadata, dict) or metadata.get("issuer") != self._issuer:
            said = metadata.get("issuer") if isinstance(metadata, dict) else None
            raise ValueError(f"its metadata is that of {said!s:.200}; --oidc-issuer must be the same to the letter")
        uri = metadata.get("jwks_uri")
        if not isinstance(uri, str) or not is_safe(uri):
            raise ValueError("its metadata has no jwks_uri that is https")
        document = await self._get(uri)
        if document is None:
            raise ValueError(f"there are no keys at {excerpt(uri, 200)}")
        return keys_in(document)

    async def _get(self, url: str) -> bytes | None:
        request = Request("GET", url, (("Accept", "application/json"),), None)
        answer = await self._upstream.send(request, repeatable=True, once=True)
        if answer.succeeded:
            return answer.body
        if answer.status == 404:
            return None
        raise ValueError(f"{excerpt(url, 200)} answers {answer.status}")


class Verifier:
    """Tells who a bearer token was made for."""

    def __init__(self, rules: TokenRules, keys: KeySet) -> None:
        self._rules = rules
        self._keys = keys

    async def principal(self, token: str) -> Principal:
        """Who it was made for.

        Raises:
            Rejected: it opens nothing.
            NoTeam: its holder is in no team.
            Unavailable: it cannot be known now.
        """
        key = await self._keys.find(key_id(token))
        if key is None:
            raise Rejected("it is signed with a key that the issuer does not have")
        return principal_of(token, key, self._rules)


@asynccontextmanager
async def verifier(rules: TokenRules) -> AsyncIterator[Verifier]:
    """A verifier with a client of its own, until the end of the block."""
    async with Upstream(Limits(call_s=_FETCH_S, answer_bytes=1_000_000)) as upstream:
        yield Verifier(rules, KeySet(rules.issuer, upstream))
