"""What a team may spend and how often it may call, and with which API key it does: each team by itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from batches_mcp.sandbox import Sandbox, fingerprint
from tests.support.creates import requests
from tests.support.rest import BATCHES, Served
from tests.support.servers import CREATE, LIST, RESULTS, RETRIEVE, STATE_DIR, running
from tests.support.teams import Caller, bearer, service, teams_file

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def served(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("limits")
    teams = {
        "search": {"cap_usd": {"day": 0.005, "month": 100}, "api_key_env": "SEARCH_KEY"},
        "ads": {"cap_usd": {"month": 0.005}, "requests_per_minute": 1_000},
    }
    env = {STATE_DIR: str(folder / "state"), "SEARCH_KEY": "search-upstream@search-workspace"}
    with service(sandbox.url, folder, key="ads-upstream@ads-workspace", teams=teams, **env) as running_service:
        yield running_service


def dear(name: str, tokens: int = 10_000) -> list[dict[str, Any]]:
    """One request that may cost a quarter of a cent with 10,000 tokens."""
    return requests(1, name, max_tokens=tokens)


@pytest.mark.parametrize(
    ("key", "window", "cap"),
    [("search-key", "the last 24 hours of team search", "day"), ("ads-key", "this month (UTC) of team ads", "month")],
)
def test_a_team_spends_up_to_its_cap_and_no_other_teams(served: Served, key: str, window: str, cap: str) -> None:
    team, other = Caller(served, key), Caller(served, "search-key" if key == "ads-key" else "ads-key")
    assert not team.call(CREATE, requests=dear(f"{key}-1"))[1]
    second = dear(f"{key}-2", 12_000)
    would = team.call(CREATE, requests=second, dry_run=True)[0]["batches_mcp"]["dry_run"]["would"]
    assert would.startswith("over the cap: up to 0.003")
    error, failed = team.call(CREATE, requests=second)
    assert (failed, error["type"]) == (True, "cost_cap")
    assert f"and {window} came to 0.0025" in error["message"]
    assert f"only the operator can raise the team's cap for a {cap}" in error["text"]
    over_rest = team.rest("POST", BATCHES, {"requests": second})
    assert (over_rest.status_code, over_rest.json()["error"]["type"]) == (402, "billing_error")
    unknown = requests(1, f"{key}-3", model="claude-none-9")
    assert team.call(CREATE, requests=unknown)[0]["type"] == "cost_unknown"
    assert other.call(CREATE, requests=requests(1, f"{key}-other"))[1] is False


def test_creates_at_the_same_time_stay_under_the_cap_together(sandbox: Sandbox, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    teams = {"search": {"cap_usd": {"day": 0.0099}}, "ads": {}}
    with (
        service(sandbox.url, tmp_path, key=f"k@{tmp_path.name}", teams=teams) as served,
        ThreadPoolExecutor(16) as pool,
    ):
        callers = [Caller(served, "search-key" if number % 2 else "search-two") for number in range(16)]
        done = list(pool.map(lambda item: item[1].call(CREATE, requests=dear(f"t{item[0]}-")), enumerate(callers)))
    assert sum(not failed for _, failed in done) == 3
    assert {content["type"] for content, failed in done if failed} == {"cost_cap"}


def test_what_another_team_may_have_spent_is_not_named(sandbox: Sandbox, tmp_path: Path) -> None:
    env = {STATE_DIR: str(tmp_path / "state")}
    with service(sandbox.url, tmp_path, key=f"k@{tmp_path.name}", teams=None, **env) as served:
        unpriced = Caller(served, "search-key").call(CREATE, requests=requests(1, "u-", model="claude-none-9"))[0]["id"]
    flags = ("--max-cost-usd", "5")
    with service(sandbox.url, tmp_path, *flags, key=f"k@{tmp_path.name}", teams=None, **env) as served:
        own, other = (
            Caller(served, key).call(CREATE, requests=requests(1, key))[0] for key in ("search-two", "ads-key")
        )
    assert own["type"] == other["type"] == "cost_unknown"
    assert unpriced in own["message"]
    assert unpriced not in other["text"]
    assert "a create of another team" in other["message"]


def test_a_team_goes_upstream_with_its_own_key(served: Served, sandbox: Sandbox) -> None:
    search, ads, boss = (Caller(served, name) for name in ("search-key", "ads-key", "boss"))
    batch_id = search.call(CREATE, requests=requests(1, "own-key-"))[0]["id"]
    assert sandbox.requests[-1].method == "POST"
    assert sandbox.requests[-1].header("x-api-key") == fingerprint("search-upstream@search-workspace")
    assert ads.call(LIST)[1] is False
    assert sandbox.requests[-1].header("x-api-key") == fingerprint("ads-upstream@ads-workspace")
    # Not even an admin of another workspace reaches it: the API has no such batch there.
    assert boss.call(RETRIEVE, message_batch_id=batch_id)[1]
    sandbox.end(batch_id)
    file = search.call(RESULTS, message_batch_id=batch_id, as_file="jsonl")[0]["file"]
    assert httpx2.get(file["url"], headers=bearer("search-two")).status_code == 200
    assert httpx2.get(file["url"], headers=bearer("boss")).status_code == 404
    assert "search-upstream" not in "\n".join(served.process.lines)


def test_who_calls_too_often_is_told_when_to_come_back(sandbox: Sandbox, tmp_path: Path) -> None:
    teams = {"search": {"requests_per_minute": 2}, "ads": {}}
    with service(sandbox.url, tmp_path, key="rpm", teams=teams) as served:
        search = Caller(served, "search-key")
        assert [search.call(LIST)[1] for _ in range(2)] == [False, False]
        error, failed = search.call(LIST)
        assert (failed, error["type"], error["retryable"]) == (True, "rate_limited", True)
        assert 0 < error["retry_after_s"] <= 30
        assert "team search has made its 2 calls a minute" in error["message"]
        over_rest = Caller(served, "search-two").rest("GET", BATCHES)
        assert (over_rest.status_code, over_rest.json()["error"]["type"]) == (429, "rate_limit_error")
        assert 0 < int(over_rest.headers["retry-after"]) <= 30
        assert Caller(served, "ads-key").call(LIST)[1] is False
        assert "tools" in search.method("tools/list")  # only what works with batches is counted


@pytest.mark.parametrize(
    ("flags", "env", "words"),
    [
        (["--transport", "stdio"], {}, "--teams is for a service over HTTP; add --transport http"),
        (["--no-ledger"], {}, "--teams needs the ledger"),
        ([], {"BATCHES_MCP_TOKEN": "t" * 32}, "--teams and BATCHES_MCP_TOKEN are both set"),
        (["--account", "a"], {}, "--account names one workspace, but the teams file has API keys of others"),
        (["--resource-url", "https://x/mcp"], {}, "--resource-url is about an identity provider's tokens"),
        (["--oidc-issuer", "https://idp"], {}, "--oidc-issuer needs --resource-url"),
        (["--oidc-issuer", "http://idp", "--resource-url", "https://x/mcp"], {}, "is not a URL that can be trusted"),
        (["--oidc-issuer", "https://idp", "--resource-url", "https://x"], {}, "names no path"),
    ],
)
def test_settings_that_would_not_keep_callers_apart_are_refused(
    flags: list[str], env: dict[str, str], words: str, tmp_path: Path
) -> None:
    teams = {"search": {"api_key_env": "SEARCH_KEY"}, "ads": {}}
    serve = ["serve", "--transport", "http", "--port", "0", "--teams", str(teams_file(tmp_path, teams)), *flags]
    with running(serve, SEARCH_KEY="sk-1", **env) as process:
        assert process.popen.wait(30) == 2
    assert words in "\n".join(process.lines)


def test_a_service_without_callers_is_refused(tmp_path: Path) -> None:
    nobody = tmp_path / "nobody.yaml"
    nobody.write_text("teams: {a: {}}\nclaims: {x: a}\n")
    with running(["serve", "--transport", "http", "--port", "0", "--teams", str(nobody)]) as process:
        assert process.popen.wait(30) == 2
    assert "nobody could come in" in "\n".join(process.lines)


def test_a_plain_operation_on_batches_is_not_served_to_teams(tmp_path: Path) -> None:
    from tests.support.servers import CAPABILITY

    text = CAPABILITY.read_text()
    assert "x-behavior: delete\n" in text
    text = text.replace("x-behavior: delete\n", "\n")
    file = tmp_path / "capability.yaml"
    file.write_text(text)
    flags = ["--transport", "http", "--port", "0", "--capability", str(file), "--teams", str(teams_file(tmp_path))]
    with running(["serve", *flags]) as process:
        assert process.popen.wait(30) == 2
    assert "whose they are would not be looked at" in "\n".join(process.lines)


def test_bad_teams_are_told_before_anything_is_served(tmp_path: Path) -> None:
    path = tmp_path / "teams.yaml"
    path.write_text(json.dumps({"teams": {"a": {"cap_us": {}}}, "claims": {"x": "b"}}))
    with running(["serve", "--transport", "http", "--port", "0", "--teams", str(path)]) as process:
        assert process.popen.wait(30) == 1
    said = "\n".join(process.lines)
    assert "did you mean `cap_usd`?" in said
    assert "there is no team `b`" in said
    assert said.endswith("the teams file does not load")


def test_a_door_is_named_only_where_there_is_one() -> None:
    with running(["serve", "--transport", "http", "--port", "0"]) as process:
        url = process.say_until(r"serving MCP at (http://\S+)")[1]
        assert httpx2.post(url.replace("/mcp", "/key/mcp")).status_code == 404
        assert httpx2.get(url.replace("/mcp", "/.well-known/oauth-protected-resource/mcp")).status_code == 404
