"""A small identity provider on a real socket: metadata, keys that change, and tokens of every kind, good and bad."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.support.results import JsonHandler, serving

_MAKERS = {
    "RS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


@dataclass(frozen=True)
class SigningKey:
    """A key of the issuer's, by its id."""

    kid: str
    algorithm: str
    private: Any

    @classmethod
    def new(cls, kid: str, algorithm: str = "RS256") -> SigningKey:
        return cls(kid, algorithm, _MAKERS[algorithm]())

    @property
    def jwk(self) -> dict[str, Any]:
        to_jwk = jwt.get_algorithm_by_name(self.algorithm).to_jwk
        return {**to_jwk(self.private.public_key(), as_dict=True), "kid": self.kid, "use": "sig"}

    @property
    def pem(self) -> bytes:
        """The public key, as whoever has only that would use it for a secret."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        found: bytes = self.private.public_key().public_bytes(serialization.Encoding.PEM, form)
        return found


@dataclass
class Issuer:
    """What a test steers: its keys, whether their answer hangs, and how often they were asked for."""

    url: str
    audience: str = "https://batches.example.com/mcp"
    keys: list[SigningKey] = field(default_factory=lambda: [SigningKey.new("one")])
    metadata: dict[str, Any] = field(default_factory=dict)
    asked: int = 0
    answers: threading.Event = field(default_factory=threading.Event)

    def token(self, key: SigningKey | None = None, /, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token that is good but for what `claims` say; a claim that is None is left out."""
        signed = key or self.keys[0]
        now_s = int(time.time())
        given = {
            "iss": self.url,
            "aud": self.audience,
            "sub": "alice",
            "client_id": "claude",
            "iat": now_s,
            "exp": now_s + 600,
            "scope": "openid batches:read batches:write",
            "groups": ["staff", "eng-search"],
            **claims,
        }
        body = {name: value for name, value in given.items() if value is not None}
        header = {"kid": signed.kid, "typ": "at+jwt", **(headers or {})}
        named = {name: value for name, value in header.items() if value is not None}
        return jwt.encode(body, signed.private, signed.algorithm, named)

    def signed_with_the_public_key(self) -> str:
        """A token whose secret is what everybody knows: it passes where HS256 is taken for RS256."""
        return self._handmade("HS256", lambda text: hmac.new(self.keys[0].pem, text, hashlib.sha256).digest())

    def unsigned(self, algorithm: str = "none") -> str:
        return self._handmade(algorithm, lambda _: b"")

    def _handmade(self, algorithm: str, sign: Any) -> str:
        body = self.token().split(".")[1]
        header = _encoded(json.dumps({"alg": algorithm, "kid": self.keys[0].kid}).encode())
        text = f"{header}.{body}"
        return f"{text}.{_encoded(sign(text.encode()))}"


def tampered(token: str, **claims: Any) -> str:
    """A token of which somebody has changed what it says, and kept the signature."""
    header, body, signature = token.split(".")
    found = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return f"{header}.{_encoded(json.dumps({**found, **claims}).encode())}.{signature}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@contextmanager
def running_issuer(path: str = "") -> Iterator[Issuer]:
    """An issuer until the end of the block, whose URL has a path if one is given."""

    class Handler(JsonHandler):
        def do_GET(self) -> None:  # noqa: N802 - what the base looks for
            metadata = {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys", **issuer.metadata}
            if self.path == f"{path}/.well-known/openid-configuration":
                self.answer(metadata)
            elif self.path == f"{path}/keys":
                issuer.asked += 1
                issuer.answers.wait(30)
                self.answer({"keys": [key.jwk for key in issuer.keys]})
            else:
                self.send_error(404)

    with serving(Handler) as url:
        issuer = Issuer(f"{url}{path}")
        issuer.answers.set()
        try:
            yield issuer
        finally:
            issuer.answers.set()
