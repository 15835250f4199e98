"""The door of an identity provider's tokens: which open it, what a refusal says, and that both eras come in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from batches_mcp.sandbox import Sandbox
from tests.support.creates import existing, requests
from tests.support.issuer import Issuer, SigningKey, running_issuer, tampered
from tests.support.rest import BATCHES, Served, rest_server
from tests.support.servers import CREATE, LIST, RETRIEVE, STATE_DIR, Era, http_client
from tests.support.teams import HEADERS, Caller, bearer, door, teams_file

pytestmark = pytest.mark.anyio

RESOURCE = "https://batches.example.com/mcp"
METADATA = "/.well-known/oauth-protected-resource/mcp"
PING = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
CHALLENGE = f'resource_metadata="https://batches.example.com{METADATA}"'


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with running_issuer("/realms/team") as running:
        running.keys = [SigningKey.new("one"), SigningKey.new("two", "ES256"), SigningKey.new("three", "EdDSA")]
        yield running


@pytest.fixture(scope="module")
def served(sandbox: Sandbox, issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("oidc")
    file = teams_file(folder, claims={"eng-search": "search", "eng-ads": "ads"})
    flags = ["--teams", str(file), "--oidc-issuer", issuer.url, "--resource-url", RESOURCE]
    with rest_server(sandbox.url, *flags, key="oidc-key", **{STATE_DIR: str(folder / "state")}) as running:
        yield running


def post(served: Served, token: str | None, message: dict[str, Any] = PING) -> httpx2.Response:
    shown = {} if token is None else bearer(token)
    return httpx2.post(served.mcp, json=message, headers=HEADERS | shown, timeout=30)


def calling(name: str, **arguments: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}


def test_the_metadata_is_where_clients_look_for_it_and_nowhere_else(served: Served, issuer: Issuer) -> None:
    root = served.mcp.removesuffix("/mcp")
    answer = httpx2.get(root + METADATA)
    assert answer.status_code == 200
    assert answer.json()["resource"] == RESOURCE
    assert answer.json()["authorization_servers"] == [issuer.url]
    assert answer.json()["scopes_supported"] == ["batches:read", "batches:write"]
    for other in ("/.well-known/oauth-protected-resource", f"{METADATA}/x", "/.well-known/openid-configuration"):
        found = httpx2.get(root + other)
        assert (found.status_code, found.headers["content-type"]) == (404, "text/plain; charset=utf-8")
        assert httpx2.get(served.url + other).status_code == 404
    assert httpx2.get(root + METADATA, headers={"host": "batches.example.com"}).status_code == 200


def test_who_shows_nothing_is_told_where_to_log_in(served: Served) -> None:
    answer = post(served, None)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == f'Bearer scope="batches:read batches:write", {CHALLENGE}'


FUTURE_S, PAST_S = 3_600, -3_600
BAD: dict[str, Callable[[Issuer], str]] = {
    "garbage": lambda _: "garbage",
    "not a token": lambda _: "a.b.c",
    "a named key": lambda _: "search-key",
    "tampered": lambda issuer: tampered(issuer.token(), groups=["eng-ads"]),
    "expired": lambda issuer: issuer.token(exp=int(time.time()) + PAST_S),
    "without an end": lambda issuer: issuer.token(exp=None),
    "not yet valid": lambda issuer: issuer.token(nbf=int(time.time()) + FUTURE_S),
    "made in the future": lambda issuer: issuer.token(iat=int(time.time()) + FUTURE_S),
    "of a foreign issuer": lambda issuer: issuer.token(iss="https://idp.example.com"),
    "of no issuer": lambda issuer: issuer.token(iss=None),
    "for another audience": lambda issuer: issuer.token(aud="https://other.example.com/mcp"),
    "for no audience": lambda issuer: issuer.token(aud=None),
    "of nobody": lambda issuer: issuer.token(sub=None),
    "of an empty subject": lambda issuer: issuer.token(sub=""),
    "unsigned": lambda issuer: issuer.unsigned(),
    "unsigned, in capitals": lambda issuer: issuer.unsigned("None"),
    "unsigned RS256": lambda issuer: issuer.unsigned("RS256"),
    "signed with the public key": lambda issuer: issuer.signed_with_the_public_key(),
    "signed by a stranger": lambda issuer: issuer.token(SigningKey.new("one")),
    "signed by a stranger without a name": lambda issuer: issuer.token(SigningKey.new("one"), headers={"kid": None}),
    "signed in another way than its key": lambda issuer: issuer.token(SigningKey.new("one", "ES256")),
    "with a key of its own": lambda issuer: issuer.token(
        stranger := SigningKey.new("one"), headers={"jwk": stranger.jwk, "jku": "http://127.0.0.1:9/keys"}
    ),
    "of 20,000 characters": lambda issuer: issuer.token(more="x" * 20_000),
}


@pytest.mark.parametrize("make", BAD.values(), ids=BAD)
def test_a_bad_token_opens_nothing(make: Callable[[Issuer], str], served: Served, issuer: Issuer) -> None:
    answer = post(served, make(issuer))
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == (
        f'Bearer error="invalid_token", scope="batches:read batches:write", {CHALLENGE}'
    )
    assert answer.text == post(served, None).text
    expected = 200 if make is BAD["a named key"] else 401  # REST takes both kinds of credentials
    assert httpx2.get(served.url + BATCHES, headers=bearer(make(issuer))).status_code == expected


@pytest.mark.parametrize("number", range(3), ids=["RS256", "ES256", "EdDSA"])
def test_a_good_token_of_each_kind_opens_the_door(number: int, served: Served, issuer: Issuer) -> None:
    key = issuer.keys[number]
    assert post(served, issuer.token(key)).status_code == 200
    assert post(served, issuer.token(key, aud=["https://other.example.com", RESOURCE])).status_code == 200
    assert post(served, issuer.token(key, exp=int(time.time()) - 10)).status_code == 200  # clocks differ
    assert httpx2.get(served.url + BATCHES, headers=bearer(issuer.token(key))).status_code == 200


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_clients_of_both_eras_work_for_their_teams(era: Era, served: Served, issuer: Issuer) -> None:
    token, theirs = issuer.token(), issuer.token(groups="eng-ads", sub="bob")
    async with http_client(served.mcp, bearer(token), era) as client:
        made = await client.call_tool(CREATE, {"requests": requests(1, f"{era}-")})
        assert not made.is_error
        batch_id = (made.structured_content or {})["id"]
    async with http_client(served.mcp, bearer(theirs), era) as client:
        assert (await client.call_tool(RETRIEVE, {"message_batch_id": batch_id})).is_error
    # A named key of the same team sees it by the other door.
    assert Caller(served, "search-key").call(RETRIEVE, message_batch_id=batch_id)[0]["id"] == batch_id


def test_each_credential_has_its_door(served: Served, issuer: Issuer) -> None:
    refused = httpx2.post(door(served), json=PING, headers=HEADERS | bearer(issuer.token()))
    assert refused.status_code == 401
    assert "resource_metadata" not in refused.headers["www-authenticate"]
    assert post(served, "search-key").status_code == 401


def test_a_scope_that_is_missing_is_asked_for_with_those_there_are(served: Served, issuer: Issuer) -> None:
    reader = issuer.token(scope="openid offline_access batches:read")
    assert post(served, reader, calling(LIST)).status_code == 200
    answer = post(served, reader, calling(CREATE, requests=requests(1)))
    assert answer.status_code == 403
    assert answer.headers["www-authenticate"] == (
        f'Bearer error="insufficient_scope", scope="batches:read batches:write", {CHALLENGE}'
    )
    other = post(served, issuer.token(scope="batches:admin"))
    assert other.status_code == 403
    assert 'scope="batches:read batches:admin"' in other.headers["www-authenticate"]
    # Headers that name another tool do not open the door to this one.
    lie = HEADERS | bearer(reader) | {"mcp-method": "tools/call", "mcp-name": LIST}
    lied = httpx2.post(served.mcp, json=calling(CREATE, requests=requests(1)), headers=lie)
    assert lied.status_code == 403


def test_who_is_in_no_team_is_told_so(served: Served, issuer: Issuer) -> None:
    for groups in (None, [], ["staff"], {"eng-search": True}, 7):
        answer = post(served, issuer.token(groups=groups))
        assert (answer.status_code, "team" in answer.text) == (403, True)


def test_a_flood_of_unknown_keys_is_not_handed_on_to_the_issuer(served: Served, issuer: Issuer) -> None:
    strangers = [SigningKey.new(f"unknown-{number}", "ES256") for number in range(20)]
    assert post(served, issuer.token()).status_code == 200
    before = issuer.asked
    assert {post(served, issuer.token(stranger)).status_code for stranger in strangers} == {401}
    assert issuer.asked <= before + 1
    assert post(served, issuer.token()).status_code == 200


def test_other_names_of_claims_and_no_teams(sandbox: Sandbox, issuer: Issuer) -> None:
    flags = ["--oidc-issuer", issuer.url, "--resource-url", RESOURCE, "--audience", "app-1", "--audience", "app-2"]
    with rest_server(sandbox.url, *flags, "--scope-claim", "scp", key="no-teams") as served:
        assert post(served, issuer.token()).status_code == 401
        token = issuer.token(aud="app-2", scp=["batches:read", "batches:write"], scope=None, groups=None)
        assert post(served, token, calling(CREATE, requests=requests(1))).status_code == 200
        assert post(served, issuer.token(aud="app-1"), calling(LIST)).status_code == 403


def test_an_issuer_that_cannot_be_reached_lets_nobody_in(sandbox: Sandbox, issuer: Issuer) -> None:
    flags = ["--oidc-issuer", "http://127.0.0.1:9", "--resource-url", RESOURCE]
    with rest_server(sandbox.url, *flags) as served:
        answer = post(served, issuer.token())
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert "identity provider" in answer.text


def test_who_may_approve_by_a_token(sandbox: Sandbox, issuer: Issuer, key: str, tmp_path: Path) -> None:
    teams = {"search": {"approve_over_usd": 0.001}, "ads": {}}
    file = teams_file(tmp_path, teams, claims={"eng-search": "search"})
    flags = ["--teams", str(file), "--oidc-issuer", issuer.url, "--resource-url", RESOURCE]
    with rest_server(sandbox.url, *flags, key=key) as served:
        content, _ = Caller(served, "search-key").call(CREATE, requests=requests(1, "t", max_tokens=10_000))
        url = served.mcp.replace("/mcp", f"/approvals/{content['batches_mcp']['pending_approval']['id']}")

        def answered(**claims: Any) -> httpx2.Response:
            token = issuer.token(groups=["eng-search"], **claims)
            return httpx2.post(url, json={"answer": "approve"}, headers=bearer(token), timeout=30)

        lacking = answered(scope="batches:read batches:write")
        assert lacking.status_code == 403
        assert lacking.headers["www-authenticate"] == (
            f'Bearer error="insufficient_scope", scope="batches:read batches:write batches:approve", {CHALLENGE}'
        )
        # Whoever has the name of the key that asked may be the same person.
        assert answered(scope="batches:approve", sub="search-key").status_code == 403
        approved = answered(scope="batches:approve", sub="someone@example.com")
        assert (approved.status_code, approved.json()["approver"]) == (200, "someone@example.com")
        assert existing(sandbox.url, key) == [approved.json()["batch_id"]]
