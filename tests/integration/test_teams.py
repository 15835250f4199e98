"""A team sees its own batches and no other, on every way in; what it may not see is told as what does not exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.client.client import Client

from batches_mcp.core.state import StateFolder
from batches_mcp.sandbox import ManualClock, Sandbox, running_sandbox
from batches_mcp.store.folders import FolderState
from batches_mcp.store.records import all_ledgers
from tests.support.creates import requests
from tests.support.rest import BATCHES, Served
from tests.support.servers import CANCEL, CREATE, DELETE, LIST, RESULTS, RETRIEVE, STATE_DIR, Era, http_client
from tests.support.teams import Caller, bearer, door, service

pytestmark = pytest.mark.anyio

ABSENT = "msgbatch_01AAAAAAAAAAAAAAAAAAAAAA"
API_KEY = "key@shared"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Sandbox]:
    with running_sandbox(clock=ManualClock()) as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("teams")


@pytest.fixture(scope="module")
def served(upstream: Sandbox, folder: Path) -> Iterator[Served]:
    with service(upstream.url, folder, key=API_KEY, teams=None, **{STATE_DIR: str(folder / "state")}) as running:
        yield running


@pytest.fixture
def search(served: Served) -> Caller:
    return Caller(served, "search-key")


@pytest.fixture
def ads(served: Served) -> Caller:
    return Caller(served, "ads-key")


@pytest.fixture
def boss(served: Served) -> Caller:
    return Caller(served, "boss")


_names = iter(range(1_000_000))


def made(caller: Caller, count: int = 2, **more: Any) -> str:
    """A batch of a content of its own."""
    content, failed = caller.call(CREATE, requests=requests(count, f"n{next(_names)}-"), **more)
    assert not failed, content
    batch_id: str = content["id"]
    return batch_id


def foreign(upstream: Sandbox) -> str:
    """A batch that was made beside the service, with the same API key."""
    answer = httpx2.post(
        f"{upstream.url}/v1/messages/batches",
        json={"requests": requests(1, f"n{next(_names)}-")},
        headers={"x-api-key": API_KEY, "anthropic-version": "2023-06-01"},
    )
    batch_id: str = answer.json()["id"]
    return batch_id


def without_id(value: Any, batch_id: str) -> str:
    """Text in which a batch's id, and a random reference, do not show."""
    text = json.dumps(value, sort_keys=True).replace(batch_id, "<id>")
    return re.sub(r"req_own_[0-9a-f]{16}", "<request>", text)


def rest_answer(answer: httpx2.Response, batch_id: str) -> str:
    told = {name: value for name, value in answer.headers.items() if name not in ("date", "request-id")}
    return without_id([answer.status_code, told, answer.json()], batch_id)


@pytest.mark.parametrize("tool", [RETRIEVE, RESULTS, CANCEL, DELETE])
def test_the_batch_of_another_team_is_refused_as_one_that_is_not_there(
    tool: str, search: Caller, ads: Caller, upstream: Sandbox
) -> None:
    theirs, nobodys = made(search), foreign(upstream)
    upstream.end(theirs)
    before = len(upstream.requests)
    answers = {without_id(ads.call(tool, message_batch_id=each), each) for each in (theirs, nobodys, ABSENT)}
    assert len(answers) == 1
    assert '"status": 404' in answers.pop()
    # Not even the upstream is asked, whose answers take their time.
    assert len(upstream.requests) == before
    assert search.call(RETRIEVE, message_batch_id=theirs)[0]["processing_status"] == "ended"


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "{}"), ("GET", "{}/results"), ("POST", "{}/cancel"), ("DELETE", "{}"), ("HEAD", "{}")]
)
def test_over_rest_as_well(method: str, path: str, search: Caller, ads: Caller, upstream: Sandbox) -> None:
    theirs, nobodys = made(search), foreign(upstream)
    upstream.end(theirs)
    before = len(upstream.requests)

    def told(batch_id: str) -> str:
        answer = ads.rest(method, f"{BATCHES}/{path.format(batch_id)}")
        return str(answer.status_code) if method == "HEAD" else rest_answer(answer, batch_id)

    answers = {told(each) for each in (theirs, nobodys, ABSENT)}
    assert len(answers) == 1
    assert "404" in answers.pop()
    assert len(upstream.requests) == before
    assert search.rest("GET", f"{BATCHES}/{theirs}").json()["id"] == theirs


def test_cursors_resources_and_retries_tell_nothing_of_others(search: Caller, ads: Caller, upstream: Sandbox) -> None:
    theirs = made(search)
    upstream.end(theirs)

    def same(answer: Any) -> str:
        answers = {without_id(answer(each), each) for each in (theirs, ABSENT)}
        assert len(answers) == 1
        return answers.pop()

    for cursor in ("after_id", "before_id"):
        assert '"status": 404' in same(lambda each, name=cursor: ads.call(LIST, **{name: each}))
        assert "404" in same(lambda each, name=cursor: rest_answer(ads.rest("GET", f"{BATCHES}?{name}={each}"), each))
    assert "has not created batch" in same(lambda each: ads.call(CREATE, retry_of=each))
    templates = ads.method("resources/templates/list")["resourceTemplates"]
    for template in templates:
        uri = re.sub(r"\{[^}]*\}", "{}", template["uriTemplate"])
        assert "there is no batch" in same(lambda each, uri=uri: ads.method("resources/read", uri=uri.format(each)))
    assert templates


def test_the_same_content_of_another_team_is_another_batch(search: Caller, ads: Caller) -> None:
    content = requests(3, "same-")
    first, _ = search.call(CREATE, requests=content, label="the secret project")
    second, failed = ads.call(CREATE, requests=content)
    assert not failed
    assert second["id"] != first["id"]
    for caller, own in ((search, first["id"]), (ads, second["id"])):
        again, _ = caller.call(CREATE, requests=content)
        assert (again["type"], own in again["message"]) == ("duplicate_create", True)
        would = caller.call(CREATE, requests=content, dry_run=True)[0]["batches_mcp"]["dry_run"]["would"]
        assert would == f"refused: same content as {own}"
    fresh = requests(2, f"n{next(_names)}-")
    assert search.rest("POST", BATCHES, {"requests": fresh}).status_code == 200
    assert ads.call(CREATE, requests=fresh, dry_run=True)[0]["batches_mcp"]["dry_run"]["would"] == "send"
    assert ads.rest("POST", BATCHES, {"requests": fresh}).status_code == 200
    assert ads.rest("POST", BATCHES, {"requests": fresh}).status_code == 409


def listed(caller: Caller, *, rest: bool, limit: int, back_from: str | None = None) -> list[str]:
    """The ids of all pages."""
    ids: list[str] = []
    query: dict[str, Any] = {"limit": limit} if back_from is None else {"limit": limit, "before_id": back_from}
    for _ in range(100):
        if rest:
            page = caller.rest("GET", f"{BATCHES}?" + "&".join(f"{k}={v}" for k, v in query.items())).json()
        else:
            page, failed = caller.call(LIST, **query)
            assert not failed, page
        here = [row["id"] for row in page["data"]]
        assert len(here) <= limit
        assert (page["first_id"], page["last_id"]) == ((here[0], here[-1]) if here else (None, None))
        ids = [*ids, *here] if back_from is None else [*here, *ids]
        if not page["has_more"]:
            return ids
        assert here
        query = {"limit": limit, **({"after_id": here[-1]} if back_from is None else {"before_id": here[0]})}
    raise AssertionError("the list has no end")


@pytest.mark.parametrize("rest", [False, True], ids=["mcp", "rest"])
@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
def test_a_team_pages_through_its_own_batches_and_misses_none(
    rest: bool, limit: int, upstream: Sandbox, tmp_path: Path
) -> None:
    with service(upstream.url, tmp_path, key=f"key@{tmp_path.name}{limit}{rest}") as served:
        one, two = Caller(served, "search-key"), Caller(served, "ads-key")
        order = [one, two, two, one, one, two, one, two, two]
        ids = [(caller, made(caller, 1)) for caller in order]
        for caller in (one, two):
            own = [batch_id for owner, batch_id in reversed(ids) if owner is caller]
            assert listed(caller, rest=rest, limit=limit) == own
            assert listed(caller, rest=rest, limit=limit, back_from=own[-1]) == own[:-1]
        assert listed(Caller(served, "boss"), rest=rest, limit=limit) == [batch_id for _, batch_id in reversed(ids)]


def test_an_admin_sees_every_batch_and_what_nobody_made(search: Caller, boss: Caller, upstream: Sandbox) -> None:
    theirs, nobodys = made(search), foreign(upstream)
    for each in (theirs, nobodys):
        assert boss.call(RETRIEVE, message_batch_id=each)[0]["id"] == each
        assert boss.rest("GET", f"{BATCHES}/{each}").status_code == 200
    ids = {row["id"] for row in boss.call(LIST, limit=1000)[0]["data"]}
    assert {theirs, nobodys} <= ids


def test_completion_offers_a_teams_own(search: Caller, ads: Caller, upstream: Sandbox) -> None:
    mine, theirs, nobodys = made(ads), made(search), foreign(upstream)
    template = ads.method("resources/templates/list")["resourceTemplates"][0]["uriTemplate"]
    ref, argument = {"type": "ref/resource", "uri": template}, {"name": "message_batch_id", "value": ""}
    values = ads.method("completion/complete", ref=ref, argument=argument)["completion"]["values"]
    assert mine in values
    assert {theirs, nobodys}.isdisjoint(values)


def test_files_with_results_are_a_teams_own(search: Caller, ads: Caller, boss: Caller, upstream: Sandbox) -> None:
    batch_id = made(search)
    upstream.end(batch_id)
    url = search.call(RESULTS, message_batch_id=batch_id, as_file="csv")[0]["file"]["url"]
    assert httpx2.get(url, headers=bearer("search-two")).status_code == 200
    assert httpx2.get(url, headers=bearer("boss")).status_code == 200
    theirs, absent = (httpx2.get(each, headers=bearer("ads-key")) for each in (url, url.replace(batch_id, ABSENT)))
    assert (theirs.status_code, theirs.content) == (absent.status_code, absent.content)
    assert theirs.status_code == 404
    assert httpx2.get(url).status_code == 401
    assert ads.call(RESULTS, message_batch_id=batch_id, as_file="csv")[1]


def test_a_retry_is_its_own_teams(search: Caller, upstream: Sandbox) -> None:
    content = [{**each, "custom_id": f"q{number}"} for number, each in enumerate(requests(3, f"n{next(_names)}-"))]
    content[0] = json.loads(json.dumps(content[0]).replace('"x"', '"[[sandbox:expired]]"'))
    batch_id = search.call(CREATE, requests=content)[0]["id"]
    upstream.end(batch_id)
    again, failed = search.call(CREATE, retry_of=batch_id)
    assert not failed, again
    assert search.call(RETRIEVE, message_batch_id=again["id"])[0]["batches_mcp"]["retry_of"] == batch_id


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_clients_of_both_eras_come_in_by_a_key(era: Era, served: Served) -> None:
    async with http_client(door(served), bearer("search-key"), era) as client:
        content = await client.call_tool(CREATE, {"requests": requests(1, f"n{next(_names)}-")})
        assert not content.is_error
        batch_id = (content.structured_content or {})["id"]
    async with http_client(door(served), bearer("ads-key"), era) as client:
        assert (await client.call_tool(RETRIEVE, {"message_batch_id": batch_id})).is_error
    async with http_client(served.mcp, bearer("search-two"), era) as client:  # without an issuer, here as well
        assert not (await client.call_tool(RETRIEVE, {"message_batch_id": batch_id})).is_error


def test_rows_that_another_team_had_answered_are_not_told_of(search: Caller, ads: Caller, upstream: Sandbox) -> None:
    rows = requests(4, "answered-", system=f"n{next(_names)}")
    batch_id = search.call(CREATE, requests=rows)[0]["id"]
    upstream.end(batch_id)
    assert search.call(RESULTS, message_batch_id=batch_id)[0]["totals_complete"]
    more = [*rows, *requests(1, "new-", system=f"n{next(_names)}")]
    told = search.call(CREATE, requests=more, dry_run=True)[0]
    assert batch_id in json.dumps(told)
    assert "answered before" not in json.dumps(ads.call(CREATE, requests=more, dry_run=True))
    assert "answered before" not in json.dumps(ads.call(CREATE, requests=more))


def test_the_ledger_knows_who_made_a_batch(served: Served, search: Caller, folder: Path) -> None:
    batch_ids = {made(search), made(Caller(served, "search-two"))}
    with all_ledgers(FolderState(StateFolder(folder / "state"))) as ledgers:
        entries = [entry for ledger in ledgers.values() for entry in ledger.entries() if entry.batch_id in batch_ids]
    assert {(entry.principal, entry.client, entry.team) for entry in entries} == {
        ("search-key", "key", "search"),
        ("search-two", "key", "search"),
    }


def test_without_a_key_nobody_comes_in(served: Served) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    for url in (served.mcp, door(served)):
        answers = [
            httpx2.post(url, json=message, headers={"accept": "application/json, text/event-stream", **shown})
            for shown in ({}, bearer("nobodys-key"), {"authorization": "Bearer"}, {"authorization": "Basic search-key"})
        ]
        assert {answer.status_code for answer in answers} == {401}
        assert {answer.headers["www-authenticate"] for answer in answers} == {
            'Bearer scope="batches:read batches:write"'
        }
        assert len({answer.content for answer in answers}) == 1
    for path in ("oauth-protected-resource", "oauth-protected-resource/mcp", "openid-configuration", "x"):
        for root in (served.mcp.removesuffix("/mcp"), served.url):
            assert httpx2.get(f"{root}/.well-known/{path}").status_code == 404
    assert httpx2.get(f"{served.url}{BATCHES}").status_code == 401
    assert httpx2.get(f"{served.mcp.removesuffix('mcp')}healthz").status_code == 200
    assert "key/mcp" in httpx2.get(served.mcp.removesuffix("mcp")).text


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_scope_that_is_missing_is_named(era: Era, served: Served) -> None:
    async with http_client(door(served), bearer("ads-reader"), era) as client:
        assert not (await client.call_tool(LIST, {})).is_error
    call = {"name": CREATE, "arguments": {"requests": requests(1)}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    headers = {"accept": "application/json, text/event-stream", **bearer("ads-reader")}
    refused = httpx2.post(door(served), json=message, headers=headers)
    assert refused.status_code == 403
    challenge = 'Bearer error="insufficient_scope", scope="batches:read batches:write"'
    assert refused.headers["www-authenticate"] == challenge
    no_read = httpx2.post(
        door(served), json={**message, "method": "tools/list"}, headers=headers | bearer("ads-writer")
    )
    assert (no_read.status_code, no_read.headers["www-authenticate"]) == (403, challenge)
    over_rest = Caller(served, "ads-reader").rest("POST", BATCHES, {"requests": requests(1)})
    assert (over_rest.status_code, over_rest.headers["www-authenticate"]) == (403, challenge)
    assert over_rest.json()["error"]["type"] == "permission_error"
    assert Caller(served, "ads-reader").rest("GET", BATCHES).status_code == 200


async def test_a_client_without_a_key_is_told_so(served: Served) -> None:
    with pytest.raises(BaseExceptionGroup):
        async with Client(door(served)) as client:
            await client.list_tools()
