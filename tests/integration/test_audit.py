"""What a service decides is written down: calls with the keys of two teams, then what `audit` prints of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batches_mcp.sandbox import Sandbox
from tests.support.creates import requests
from tests.support.rest import BATCHES, Served
from tests.support.servers import CANCEL, CREATE, DELETE, LIST, RESULTS, RETRIEVE
from tests.support.shell import shell
from tests.support.teams import Caller, service

pytestmark = pytest.mark.both_states

CANARY = "the-canary-of-a-prompt"
TEAMS = {"search": {"cap_usd": {"day": 0.005}}, "ads": {"requests_per_minute": 30}}


@pytest.fixture
def served(sandbox: Sandbox, key: str, tmp_path: Path) -> Iterator[Served]:
    with service(sandbox.url, tmp_path, key=key, teams=TEAMS) as running:
        yield running


def said(name: str, **params: Any) -> dict[str, Any]:
    return {"requests": requests(1, name, messages=[{"role": "user", "content": CANARY}], **params)}


def told(**where: Any) -> list[dict[str, Any]]:
    """The rows of the audit that have these values, oldest first."""
    found = shell("audit")
    assert found.code == 0, found.err
    return [row for row in found.lines if where.items() <= row.items()]


def outcomes(rows: list[dict[str, Any]]) -> list[str]:
    return [" ".join(filter(None, [row["event"], row["outcome"], row.get("reason")])) for row in rows]


def test_the_life_of_a_batch(served: Served, sandbox: Sandbox) -> None:
    search = Caller(served, "search-key")
    batch_id = search.call(CREATE, **said("a"))[0]["id"]
    assert search.call(CREATE, **said("a"))[1]
    assert search.call(CREATE, **said("dear", max_tokens=30_000))[0]["type"] == "cost_cap"
    assert not search.call(CANCEL, message_batch_id=batch_id)[1]
    sandbox.end(batch_id)
    assert not search.call(DELETE, message_batch_id=batch_id)[1]
    assert search.call(DELETE, message_batch_id=batch_id)[1]
    rows = told(principal="search-key")
    assert outcomes(rows) == [
        "create begun", "create sent", "create accepted", "create refused duplicate_create", "create refused cost_cap",
        "cancel begun", "cancel done", "delete begun", "delete done", "delete begun", "delete failed not_found_error",
    ]  # fmt: skip
    begun, sent, accepted = rows[:3]
    assert begun["team"] == "search"
    assert (begun["tool"], begun["door"], begun["rows"], begun["cap_usd"]) == (CREATE, "/key/mcp", 1, 0.005)
    assert begun["estimate_usd"] > 0
    assert len(begun["content"]) == 64
    assert begun["request_id"] == sent["request_id"] == accepted["request_id"]
    assert accepted["batch_id"] == batch_id
    assert {row["batch_id"] for row in rows[5:]} == {batch_id}
    assert len({row["request_id"] for row in rows}) == 6


def test_rows_that_are_sent_again(served: Served, sandbox: Sandbox) -> None:
    search = Caller(served, "search-key")
    failing = requests(1, "f", messages=[{"role": "user", "content": "[[sandbox:expired]]"}])
    batch_id = search.call(CREATE, requests=failing)[0]["id"]
    sandbox.end(batch_id)
    again = search.call(CREATE, retry_of=batch_id)[0]["id"]
    assert outcomes(told(event="retry")) == ["retry begun", "retry sent", "retry accepted"]
    assert told(event="retry", outcome="accepted")[0]["batch_id"] == again
    assert Caller(served, "ads-key").call(CREATE, retry_of=batch_id)[1]
    assert outcomes(told(principal="ads-key", batch_id=batch_id)) == ["call refused not_own_batch"]


def test_what_is_refused(served: Served) -> None:
    batch_id = Caller(served, "search-key").call(CREATE, **said("b"))[0]["id"]
    ads, reader = Caller(served, "ads-key"), Caller(served, "ads-reader")
    for tool in (RETRIEVE, RESULTS, CANCEL):
        assert ads.call(tool, message_batch_id=batch_id)[1]
    assert ads.rest("DELETE", f"{BATCHES}/{batch_id}").status_code == 404
    assert reader.rest("POST", BATCHES, said("c")).status_code == 403
    with pytest.raises(AssertionError):
        reader.call(CREATE, **said("c"))  # 403 of HTTP
    rows = told(principal="ads-key")
    assert outcomes(rows) == ["call refused not_own_batch"] * 4
    assert [row["tool"] for row in rows[:3]] == [RETRIEVE, RESULTS, CANCEL]
    assert [row["door"] for row in rows] == ["/key/mcp"] * 3 + ["rest"]
    rows = told(principal="ads-reader")
    assert outcomes(rows) == ["call refused insufficient_scope"] * 2
    assert [(row["door"], row["tool"]) for row in rows] == [("rest", BATCHES), ("/key/mcp", CREATE)]
    assert not told(principal="ads-key", outcome="begun")


def test_calls_beyond_the_allowance_are_one_row_a_minute(sandbox: Sandbox, key: str, tmp_path: Path) -> None:
    with service(sandbox.url, tmp_path, key=key, teams={"search": {"requests_per_minute": 1}, "ads": {}}) as served:
        search = Caller(served, "search-key")
        assert [search.call(LIST)[1] for _ in range(4)] == [False, True, True, True]
        assert Caller(served, "search-two").call(LIST)[1]
    assert [row["principal"] for row in told(reason="rate_limited")] == ["search-key", "search-two"]


def test_over_rest_as_well(served: Served, sandbox: Sandbox) -> None:
    search = Caller(served, "search-key")
    batch_id = search.rest("POST", BATCHES, said("r")).json()["id"]
    assert search.rest("POST", f"{BATCHES}/{batch_id}/cancel").status_code == 200
    sandbox.end(batch_id)
    assert search.rest("DELETE", f"{BATCHES}/{batch_id}").status_code == 200
    assert search.rest("DELETE", f"{BATCHES}/{batch_id}").status_code == 404
    rows = told(door="rest")
    assert outcomes(rows) == [
        "create begun", "create sent", "create accepted", "cancel begun", "cancel done", "delete begun", "delete done",
        "delete begun", "delete failed http_404",
    ]  # fmt: skip


def test_nothing_of_a_prompt_or_a_credential_is_printed(served: Served, key: str, sandbox: Sandbox) -> None:
    search = Caller(served, "search-key")
    batch_id = search.call(CREATE, **said("secret"), label=CANARY[::-1])[0]["id"]
    sandbox.end(batch_id)
    search.call(RESULTS, message_batch_id=batch_id)
    printed = shell("audit").out + shell("audit", "--format", "ocsf").out
    assert batch_id in printed
    for secret in (CANARY, CANARY[::-1], key, "Bearer"):
        assert secret not in printed


def test_rows_are_picked_by_time(served: Served) -> None:
    Caller(served, "search-key").call(CREATE, **said("t"))
    assert shell("audit", "--since", "1h").lines
    assert shell("audit", "--since", "2199-01-01").lines == []
    wrong = shell("audit", "--since", "yesterday")
    assert wrong.code == 2
    assert "--since: 'yesterday' is not a time; expected one as in 2026-11-20T08:00:00Z" in wrong.err


def test_events_of_ocsf(served: Served) -> None:
    search = Caller(served, "search-key")
    batch_id = search.call(CREATE, **said("o"))[0]["id"]
    search.call(CREATE, **said("o"))
    events = shell("audit", "--format", "ocsf").lines
    accepted = next(each for each in events if each["status_detail"] == "accepted")
    assert accepted["type_uid"] == accepted["class_uid"] * 100 + accepted["activity_id"] == 600301
    assert (accepted["category_uid"], accepted["severity_id"], accepted["status"]) == (6, 1, "Success")
    assert accepted["actor"]["user"]["name"] == "search-key"
    assert accepted["resources"] == [{"uid": batch_id, "type": "message_batch"}]
    assert accepted["metadata"]["version"] == "1.8.0"
    assert accepted["api"]["operation"] == CREATE
    refused = events[-1]
    assert (refused["status_id"], refused["status_detail"]) == (2, "refused: duplicate_create")
    assert len({each["metadata"]["uid"] for each in events}) == len(events)
    assert json.dumps(events).count("search-key") == len(events)


@pytest.mark.folder_only
def test_without_teams_nothing_is_written(sandbox: Sandbox, key: str, state: Path) -> None:
    made = shell(
        "call",
        CREATE,
        f"requests={json.dumps(said('n')['requests'])}",
        "--base-url",
        sandbox.url,
        ANTHROPIC_API_KEY=key,
    )
    assert made.code == 0, made.err
    assert shell("audit").lines == []
    assert not (state / "audit.sqlite").exists()
