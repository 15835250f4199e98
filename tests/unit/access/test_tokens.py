"""Whatever comes as a token, or as the keys of an issuer, is taken for what it is or refused; nothing else happens."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import jwt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batches_mcp.access.principal import READ, WRITE, Principal, Team
from batches_mcp.access.tokens import NoTeam, Rejected, TokenRules, key_id, keys_in, principal_of
from tests.support.issuer import Issuer, SigningKey

KEY = SigningKey.new("one", "ES256")
ISSUER = Issuer("https://idp.example.com", keys=[KEY])
SEARCH = Team("search")
RULES = TokenRules(ISSUER.url, [ISSUER.audience], claims={"eng-search": SEARCH, "eng-ads": Team("ads")})
[PUBLIC] = set(keys_in(json.dumps({"keys": [KEY.jwk]}).encode()).values())

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
CLAIMS = ["iss", "aud", "sub", "exp", "nbf", "iat", "scope", "groups", "client_id", "azp", "jti"]


def read(token: str, rules: TokenRules = RULES) -> Principal:
    assert key_id(token) == "one"
    return principal_of(token, PUBLIC, rules)


def test_a_token_says_who_comes_from_where_and_what_for() -> None:
    found = read(ISSUER.token())
    assert found == Principal("alice", "claude", SEARCH, frozenset({READ, WRITE}))
    assert read(ISSUER.token(client_id=None, azp="app")).client == "app"
    assert read(ISSUER.token(groups="eng-search")).team == SEARCH
    assert read(ISSUER.token(groups=["eng-ads", "eng-search"])).team == SEARCH  # the first in the teams file
    assert read(ISSUER.token(scope=["batches:read", 7])).scopes == {READ}
    with pytest.raises(NoTeam):
        read(ISSUER.token(groups="eng"))
    roles = TokenRules(ISSUER.url, [ISSUER.audience], "roles", "team")
    assert read(ISSUER.token(roles=["batches:write"]), roles) == Principal("alice", "claude", None, frozenset({WRITE}))


@given(claim=st.sampled_from(CLAIMS), value=JSON)
@example(claim="exp", value=float("inf"))
@example(claim="exp", value=10**400)
@example(claim="groups", value=[{}])
@example(claim="sub", value="a\nb")
def test_strange_claims_are_refused_or_read(claim: str, value: Any) -> None:
    # By hand: PyJWT does not make every token that others might.
    token = signed({**json.loads(body_of(ISSUER.token())), claim: value})
    with contextlib.suppress(Rejected, NoTeam):
        found = read(token)
        assert found.name
        assert found.scopes <= {READ, WRITE}


def body_of(token: str) -> bytes:
    body = token.split(".")[1]
    return base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))


def signed(claims: dict[str, Any]) -> str:
    return jwt.PyJWS().encode(json.dumps(claims).encode(), KEY.private, KEY.algorithm, {"kid": KEY.kid})


@given(text=st.text(max_size=60) | st.from_regex(r"[A-Za-z0-9_-]{0,30}\.[A-Za-z0-9_-]{0,30}\.[A-Za-z0-9_-]{0,10}"))
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(Rejected):
        key_id(text)


@given(headers=st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "x"]), JSON, max_size=4))
def test_strange_headers_are_refused_or_read(headers: dict[str, Any]) -> None:
    head = base64.urlsafe_b64encode(json.dumps(headers).encode()).decode().rstrip("=")
    _, body, signature = ISSUER.token().split(".")
    token = f"{head}.{body}.{signature}"
    with pytest.raises(Rejected):
        _read_whole(token)


def _read_whole(token: str) -> Principal:
    key_id(token)
    return principal_of(token, PUBLIC, RULES)


@given(document=st.binary(max_size=40) | JSON.map(json.dumps).map(str.encode))
def test_what_is_no_set_of_keys_is_refused(document: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - told by its own text
        keys_in(document)


@given(rows=st.lists(st.dictionaries(st.sampled_from(["kty", "crv", "x", "y", "n", "e", "kid", "alg", "use", "k"]), JSON | st.sampled_from(["RSA", "EC", "oct", "OKP", "P-256", "AQAB"])), max_size=3))  # fmt: skip
def test_strange_keys_are_left_out(rows: list[dict[str, Any]]) -> None:
    found = keys_in(json.dumps({"keys": [*rows, KEY.jwk]}).encode())
    assert found["one"].algorithm_name == "ES256"
    assert {key.algorithm_name for key in found.values()} <= {"RS256", "ES256", "EdDSA"}


def test_symmetric_keys_are_none_of_an_issuers() -> None:
    secret = {"kty": "oct", "k": "c2VjcmV0", "kid": "s", "alg": "HS256"}
    assert keys_in(json.dumps({"keys": [secret]}).encode()) == {}


def test_a_key_for_another_use_is_left_out() -> None:
    other = {**KEY.jwk, "kid": "enc", "use": "enc"}
    assert "enc" not in keys_in(json.dumps({"keys": [other, KEY.jwk]}).encode())
