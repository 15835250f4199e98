"""A create that may cost more than its team spends unasked waits for somebody else, and is then sent once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest

from batches_mcp.sandbox import Sandbox
from tests.support.creates import existing, requests
from tests.support.rest import BATCHES, Served
from tests.support.servers import CREATE, LIST, RETRIEVE, STATE_DIR, http_server
from tests.support.shell import shell
from tests.support.slow_creates import slow_creates
from tests.support.states import another_machine, state_in
from tests.support.teams import Caller, bearer, service

pytestmark = pytest.mark.both_states

TEAMS = {"search": {"approve_over_usd": 0.001, "cap_usd": {"day": 0.009}}, "ads": {"approve_over_usd": 0.001}}
_LONGEST_S = 60


def dear(name: str, tokens: int = 10_000, **params: Any) -> list[dict[str, Any]]:
    """One request that may cost a quarter of a cent with 10,000 tokens."""
    return requests(1, name, max_tokens=tokens, **params)


@pytest.fixture
def served(sandbox: Sandbox, key: str, tmp_path: Path) -> Iterator[Served]:
    with service(sandbox.url, tmp_path, key=key, teams=TEAMS) as running:
        yield running


@pytest.fixture
def search(served: Served) -> Caller:
    return Caller(served, "search-key")


def pending(caller: Caller, name: str, **more: Any) -> str:
    """The id of the approval that a create waits for."""
    content, failed = caller.call(CREATE, requests=dear(name), **more)
    assert not failed, content
    assert "id" not in content
    approval_id: str = content["batches_mcp"]["pending_approval"]["id"]
    return approval_id


def until(condition: Callable[[], Any]) -> Any:
    """What a condition comes to that a server makes true by itself."""
    deadline_s = time.monotonic() + _LONGEST_S
    while not (found := condition()):
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    return found


@contextmanager
def state_of_approvals() -> Iterator[Any]:
    """A transaction on the tables of the one account."""
    state = state_in()
    [account] = list(state.with_ledger())
    database = account.database()
    with database.transaction() as db:
        yield db
    database.close()
    state.close()


def expired() -> None:
    """Let the time of all that waits be over."""
    with state_of_approvals() as db:
        db.execute("UPDATE approvals SET expires_s = 0")


def audited(**where: Any) -> list[str]:
    rows = [row for row in shell("audit").lines if where.items() <= row.items()]
    return [
        " ".join(filter(None, [row["event"], row["outcome"], row.get("reason"), row.get("approver")])) for row in rows
    ]


def test_a_create_waits_is_approved_and_sent(search: Caller, served: Served, sandbox: Sandbox, key: str) -> None:
    content, failed = search.call(CREATE, requests=dear("a"), label="nightly")
    assert not failed
    said = content["batches_mcp"]
    assert set(content) == {"batches_mcp"}
    assert set(said) == {"pending_approval", "estimate", "next_step"}
    assert set(said["pending_approval"]) == {"id", "expires_at"}
    assert said["estimate"]["cost_usd"]["high"] == 0.0026
    assert said["pending_approval"]["id"] in said["next_step"]
    assert existing(sandbox.url, key) == []
    lead = Caller(served, "search-lead")
    [waiting] = lead.approvals()
    approval_id = said["pending_approval"]["id"]
    assert (waiting["id"], waiting["principal"], waiting["label"]) == (approval_id, "search-key", "nightly")
    assert (waiting["rows"], waiting["over_usd"], waiting["may_answer"]) == (1, 0.001, True)
    assert search.call(CREATE, requests=dear("a"))[0]["batches_mcp"]["pending_approval"]["id"] == approval_id
    answer = lead.answer(approval_id)
    assert answer.status_code == 200, answer.text
    [batch_id] = existing(sandbox.url, key)
    assert (answer.json()["state"], answer.json()["batch_id"]) == ("used", batch_id)
    got, failed = search.call(CREATE, requests=dear("a"))
    assert (failed, got["id"]) == (False, batch_id)
    assert search.call(RETRIEVE, message_batch_id=batch_id)[0]["batches_mcp"]["label"] == "nightly"
    assert search.call(CREATE, requests=dear("a"))[0]["type"] == "duplicate_create"
    assert lead.approvals() == []
    assert audited(approval_id=approval_id) == [
        "approval asked", "create held approval_pending", "create held approval_pending", "approval approved search-lead",
        "create begun search-lead", "create sent search-lead", "create accepted search-lead",
    ]  # fmt: skip


def test_what_costs_less_does_not_wait(search: Caller) -> None:
    assert search.call(CREATE, requests=dear("cheap", 100))[0]["id"]


def test_who_may_answer(search: Caller, served: Served, sandbox: Sandbox, key: str) -> None:
    lead = Caller(served, "search-lead")
    own = pending(lead, "own")
    theirs = pending(search, "theirs")
    assert [each["may_answer"] for each in lead.approvals()] == [False, True]
    refused = lead.answer(own)
    assert (refused.status_code, "your own request" in refused.text) == (403, True)
    assert "approval refused own_request search-lead" in audited(approval_id=own)
    # Another team's are not there; an admin's are all of the workspace.
    other = Caller(served, "ads-approver")
    assert other.approvals() == []
    for approval_id in (theirs, "approval_0"):
        assert other.answer(approval_id).status_code == 404
    assert {each["id"] for each in Caller(served, "chief").approvals()} == {own, theirs}
    for name in ("search-key", "boss"):
        answer = Caller(served, name).answer(theirs)
        assert answer.status_code == 403
        assert "batches:approve" in answer.headers["www-authenticate"]
    assert httpx2.get(served.mcp.replace("/mcp", "/approvals")).status_code == 401
    assert existing(sandbox.url, key) == []
    assert Caller(served, "chief").answer(own).status_code == 200
    assert Caller(served, "search-approver").answer(theirs).status_code == 200
    assert len(existing(sandbox.url, key)) == 2


def test_what_was_denied_is_told_once_and_may_be_asked_again(search: Caller, served: Served) -> None:
    approval_id = pending(search, "no")
    lead = Caller(served, "search-lead")
    assert lead.answer(approval_id, "deny").json()["state"] == "denied"
    error, failed = search.call(CREATE, requests=dear("no"))
    assert (failed, error["type"]) == (True, "approval_denied")
    assert f"search-lead has denied these 1 requests ({approval_id})" in error["message"]
    again = pending(search, "no")
    assert again != approval_id
    assert lead.answer(approval_id, "deny").status_code == 200  # the same answer once more
    late = lead.answer(approval_id)
    assert (late.status_code, "denied by search-lead already" in late.text) == (409, True)


def test_an_approval_expires_and_frees_what_it_reserved(search: Caller, served: Served) -> None:
    first = pending(search, "late")
    pending(search, "late-two")
    pending(search, "late-three")
    error, _ = search.call(CREATE, requests=dear("late-four"))
    assert error["type"] == "cost_cap"
    assert "came to 0.0075" in error["message"]
    expired()
    late = Caller(served, "search-lead").answer(first)
    assert (late.status_code, "expired already" in late.text) == (409, True)
    assert pending(search, "late-four") != first
    assert "approval expired" in audited(approval_id=first)


def test_two_servers_on_which_it_is_approved_many_times_send_it_once(
    sandbox: Sandbox, key: str, tmp_path: Path, state: Path
) -> None:
    elsewhere = {STATE_DIR: str(another_machine(state))}
    with (
        service(sandbox.url, tmp_path, key=key, teams=TEAMS) as one,
        service(sandbox.url, tmp_path, key=key, teams=TEAMS, **elsewhere) as two,
        ThreadPoolExecutor(8) as pool,
    ):
        approval_id = pending(Caller(one, "search-key"), "many")
        assert pending(Caller(two, "search-two"), "many") == approval_id
        names = ("search-lead", "search-approver", "chief")
        callers = [Caller(served, name) for name in names for served in (one, two)]
        codes = [answer.status_code for answer in pool.map(lambda caller: caller.answer(approval_id), callers)]
        assert codes == [200] * 6
        [batch_id] = until(lambda: existing(sandbox.url, key))
        got = [Caller(served, "search-key").call(CREATE, requests=dear("many"))[0] for served in (one, two)]
        assert batch_id in str(got)
    assert existing(sandbox.url, key) == [batch_id]
    assert len(audited(approval_id=approval_id, outcome="begun")) == 1
    assert len(audited(approval_id=approval_id, outcome="approved")) == 1


def test_a_server_that_was_killed_before_it_sent_leaves_that_to_the_next(
    sandbox: Sandbox, key: str, tmp_path: Path
) -> None:
    with service(sandbox.url, tmp_path, key=key, teams=TEAMS) as served:
        approval_id = pending(Caller(served, "search-key"), "killed")
        served.process.popen.kill()
        served.process.popen.wait(30)
    approved = shell("approvals", "approve", approval_id)
    assert (approved.code, approved.err) == (
        0, f"batches-mcp: {approval_id} is approved; a server of the service sends it within a few seconds\n",
    )  # fmt: skip
    assert existing(sandbox.url, key) == []
    with service(sandbox.url, tmp_path, key=key, teams=TEAMS) as served:
        [batch_id] = until(lambda: existing(sandbox.url, key))
        got = until(lambda: Caller(served, "search-key").call(CREATE, requests=dear("killed"))[0].get("id"))
        assert got == batch_id
    assert existing(sandbox.url, key) == [batch_id]
    assert any(each.startswith("create accepted shell:") for each in audited(approval_id=approval_id))


@pytest.mark.folder_only
def test_a_create_that_a_killed_server_may_have_sent_is_not_sent_again(key: str, tmp_path: Path) -> None:
    with slow_creates() as upstream:
        with service(upstream.url, tmp_path, key=key, teams=TEAMS) as served:
            approval_id = pending(Caller(served, "search-key"), "doubt")
            assert shell("approvals", "approve", approval_id).code == 0
            upstream.wait_for(1)
            served.process.popen.kill()
            served.process.popen.wait(30)
        with service(upstream.url, tmp_path, key=key, teams=TEAMS) as served:
            error, _ = Caller(served, "search-key").call(CREATE, requests=dear("doubt"))
            assert (error["in_doubt"], error["retryable"]) == (True, True)
            late = Caller(served, "search-lead").answer(approval_id)
            assert (late.status_code, late.json()["state"]) == (200, "used")
        assert len(upstream.bodies) == 1


def test_at_a_shell(search: Caller) -> None:
    assert shell("approvals", "list").err == "batches-mcp: nothing waits for an approval\n"
    approval_id = pending(search, "shell", label="nightly")
    listed = shell("approvals", "list")
    assert listed.code == 0, listed.err
    for word in (approval_id, "search", "search-key", "up to $0.0025", "nightly"):
        assert word in listed.out
    assert shell("approvals", "deny", approval_id).err == f"batches-mcp: {approval_id} is denied\n"
    late = shell("approvals", "approve", approval_id)
    assert late.code == 1
    assert f"{approval_id} is denied by shell:" in late.err
    unknown = shell("approvals", "approve", "approval_none")
    assert (unknown.code, "nothing with the id approval_none waits" in unknown.err) == (1, True)
    assert search.call(CREATE, requests=dear("shell"))[0]["type"] == "approval_denied"


@pytest.mark.parametrize(
    "body", [b"", b"approve", b"[]", b'{"answer": 1}', b'{"answer": ["approve"]}', b'{"answer": "approve", "more": 1}']
)
def test_what_is_no_answer(body: bytes, search: Caller, served: Served) -> None:
    approval_id = pending(search, "bad")
    url = served.mcp.replace("/mcp", f"/approvals/{approval_id}")
    answer = httpx2.post(url, content=body, headers=bearer("search-lead"))
    assert (answer.status_code, answer.json()["type"]) == (400, "error")
    assert 'expected {"answer": "approve"} or {"answer": "deny"}' in answer.json()["error"]["message"]
    assert [each["id"] for each in Caller(served, "search-lead").approvals()] == [approval_id]


def test_over_rest_a_create_that_waits_is_no_batch(search: Caller, served: Served, sandbox: Sandbox, key: str) -> None:
    body = {"requests": dear("rest")}
    answer = search.rest("POST", BATCHES, body)
    assert answer.status_code == 403
    said = answer.json()
    assert (said["type"], said["error"]["type"]) == ("error", "permission_error")
    approval_id = said["batches_mcp"]["pending_approval"]["id"]
    assert approval_id in said["error"]["message"]
    assert Caller(served, "search-approver").answer(approval_id).status_code == 200
    again = search.rest("POST", BATCHES, body)
    assert (again.status_code, [again.json()["id"]]) == (200, existing(sandbox.url, key))


@pytest.mark.folder_only
def test_a_client_library_takes_it_for_an_error_and_does_not_repeat_it(search: Caller, served: Served) -> None:
    client = anthropic.Anthropic(base_url=served.url, api_key=search.key)
    with client, pytest.raises(anthropic.PermissionDeniedError) as caught:
        client.messages.batches.create(requests=dear("sdk"))  # type: ignore[arg-type]
    approval_id = caught.value.body["batches_mcp"]["pending_approval"]["id"]  # type: ignore[index]
    assert audited(approval_id=approval_id) == ["approval asked", "create held approval_pending"]


def test_the_betas_that_it_was_asked_for_with_are_sent(search: Caller, served: Served, sandbox: Sandbox) -> None:
    approval_id = pending(search, "beta", betas=["output-300k-2026-03-24"])
    Caller(served, "search-lead").answer(approval_id)
    [sent] = [each for each in sandbox.requests if each.method == "POST" and "beta0" in str(each.body)][-1:]
    assert sent.header("anthropic-beta") == "output-300k-2026-03-24"


def test_a_retry_and_a_second_batch_of_the_same_content_wait_as_well(
    search: Caller, served: Served, sandbox: Sandbox, key: str
) -> None:
    lead = Caller(served, "search-lead")
    failing = dear("f", messages=[{"role": "user", "content": "[[sandbox:expired]]"}])
    content = search.call(CREATE, requests=failing)[0]["batches_mcp"]
    batch_id = lead.answer(content["pending_approval"]["id"]).json()["batch_id"]
    sandbox.end(batch_id)
    said = search.call(CREATE, retry_of=batch_id)[0]["batches_mcp"]
    [waiting] = lead.approvals()
    assert waiting["retry_of"] == batch_id
    retry_id = lead.answer(said["pending_approval"]["id"]).json()["batch_id"]
    assert search.call(CREATE, retry_of=batch_id)[0]["id"] == retry_id
    second = pending(search, "x")
    lead.answer(second)
    assert search.call(CREATE, requests=dear("x"))[0]["id"]
    duplicate = pending(search, "x", allow_duplicate=True)
    assert pending(search, "x", allow_duplicate=True) == duplicate
    assert lead.answer(duplicate).json()["batch_id"] in existing(sandbox.url, key)
    assert len(existing(sandbox.url, key)) == 4


def test_what_was_sent_meanwhile_is_not_sent_again(sandbox: Sandbox, key: str, tmp_path: Path) -> None:
    with service(sandbox.url, tmp_path, key=key, teams=TEAMS) as served:
        approval_id = pending(Caller(served, "search-key"), "late")
    with service(sandbox.url, tmp_path, key=key, teams={"search": {}, "ads": {}}) as served:
        search, approver = Caller(served, "search-key"), Caller(served, "search-approver")
        assert search.call(CREATE, requests=dear("late"), allow_duplicate=True)[0]["id"]
        assert approver.answer(approval_id).json()["state"] == "rejected"
        assert approver.answer(approval_id).status_code == 409
    assert len(existing(sandbox.url, key)) == 1
    assert audited(approval_id=approval_id)[-1] == "approval rejected duplicate_create search-approver"


def test_a_dry_run_foresees_it(search: Caller, served: Served) -> None:
    def would() -> str:
        report = search.call(CREATE, requests=dear("dry"), dry_run=True)[0]["batches_mcp"]["dry_run"]
        return str(report["would"])

    assert would() == "wait for an approval: up to 0.0025 USD, where the team spends 0.001 USD without one"
    approval_id = pending(search, "dry")
    assert would() == f"wait for the approval {approval_id}, which was asked for before"
    Caller(served, "search-lead").answer(approval_id, "deny")
    assert would() == f"refused: search-lead has denied {approval_id}"


def test_what_waits_is_in_no_list_of_batches(search: Caller, served: Served) -> None:
    approval_id = pending(search, "quiet")
    for name in ("search-key", "ads-key", "boss"):
        assert approval_id not in str(Caller(served, name).call(LIST))
        assert Caller(served, name).call(RETRIEVE, message_batch_id=approval_id)[1]


def test_an_upstream_that_refuses_ends_it(search: Caller, served: Served, sandbox: Sandbox, key: str) -> None:
    approval_id = pending(search, "refused")
    sandbox.faults.add("spend_limit", on="create", key=key)
    assert Caller(served, "search-lead").answer(approval_id).json()["state"] == "rejected"
    assert existing(sandbox.url, key) == []
    assert pending(search, "refused") != approval_id


@pytest.mark.folder_only
def test_the_page_asks_for_what_waits_at_a_service_only(served: Served, sandbox: Sandbox) -> None:
    page = httpx2.get(served.mcp.replace("/mcp", "/")).text
    assert '"approvals":"approvals"' in page
    assert len(page.encode()) <= 20 * 1024
    with http_server("--base-url", sandbox.url) as url:
        assert '"approvals":' not in httpx2.get(url.replace("/mcp", "/")).text


def test_without_teams_there_is_no_such_place(sandbox: Sandbox, kind_of_state: str) -> None:
    with http_server("--base-url", sandbox.url) as url:
        assert httpx2.get(url.replace("/mcp", "/approvals")).status_code == 404
