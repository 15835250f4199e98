"""The control surface over HTTP, and that nobody but a program of this machine can use it."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from batches_mcp.sandbox import (
    FAULTS,
    FaultKind,
    ManualClock,
    NotPossible,
    Sandbox,
    SandboxConfig,
    UnknownBatch,
    create_app,
    fingerprint,
    running_sandbox,
)
from batches_mcp.sandbox.origin import host_name

Ask = Callable[..., dict[str, Any]]

PATH = "/v1/messages/batches"
KEY = "sk-control"


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with running_sandbox(clock=ManualClock()) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    """As at the start, for each test."""
    running.reset()
    running.clock.freeze()
    return running


@pytest.fixture
def http(sandbox: Sandbox) -> Iterator[httpx2.Client]:
    headers = {"x-api-key": KEY, "anthropic-version": "2026-10-21"}
    with httpx2.Client(base_url=sandbox.url, headers=headers) as client:
        yield client


def _create(http: httpx2.Client, ask: Ask, *texts: str) -> str:
    requests = [ask(f"row-{number}", text) for number, text in enumerate(texts or ("hi",))]
    batch_id: str = http.post(PATH, json={"requests": requests}).json()["id"]
    return batch_id


def _counts(http: httpx2.Client, batch_id: str) -> dict[str, int]:
    counts: dict[str, int] = http.get(f"{PATH}/{batch_id}").json()["request_counts"]
    return {name: number for name, number in counts.items() if number}


def test_the_clock(http: httpx2.Client) -> None:
    start = http.get("/_sandbox/clock").json()
    assert start["frozen"] is True
    moved = http.post("/_sandbox/clock/advance", json={"seconds": 90.5}).json()
    assert datetime.fromisoformat(moved["now"]) - datetime.fromisoformat(start["now"]) == timedelta(seconds=90.5)
    assert http.post("/_sandbox/clock/unfreeze").json()["frozen"] is False
    frozen = http.post("/_sandbox/clock/freeze").json()
    assert http.get("/_sandbox/clock").json() == frozen


def test_end(http: httpx2.Client, ask: Ask) -> None:
    batch_id = _create(http, ask, "hi", "[[sandbox:errored]]", "[[sandbox:slow 100]]")
    assert http.post(f"/_sandbox/batches/{batch_id}/end").json() == {"ended": batch_id}
    assert _counts(http, batch_id) == {"succeeded": 2, "errored": 1}
    assert http.get(f"{PATH}/{batch_id}/results").text.count("\n") == 3
    again = http.post(f"/_sandbox/batches/{batch_id}/end")
    assert (again.status_code, again.json()) == (409, {"error": f"batch {batch_id} has ended already"})


def test_end_of_a_batch_being_canceled(http: httpx2.Client, ask: Ask) -> None:
    batch_id = _create(http, ask)
    http.post(f"{PATH}/{batch_id}/cancel")
    http.post(f"/_sandbox/batches/{batch_id}/end")
    assert _counts(http, batch_id) == {"canceled": 1}


def test_expire(http: httpx2.Client, ask: Ask) -> None:
    batch_id = _create(http, ask, "a", "b", "c", "d", "e")
    http.post("/_sandbox/clock/advance", json={"seconds": 2})
    assert http.post(f"/_sandbox/batches/{batch_id}/expire").json() == {"expired": batch_id}
    assert _counts(http, batch_id) == {"succeeded": 2, "expired": 3}
    assert http.post(f"/_sandbox/batches/{batch_id}/expire").status_code == 409


def test_archive(http: httpx2.Client, ask: Ask) -> None:
    batch_id = _create(http, ask)
    assert http.post(f"/_sandbox/batches/{batch_id}/archive").status_code == 409
    http.post(f"/_sandbox/batches/{batch_id}/end")
    assert http.post(f"/_sandbox/batches/{batch_id}/archive").json() == {"archived": batch_id}
    assert http.get(f"{PATH}/{batch_id}").json()["archived_at"] is not None
    assert http.get(f"{PATH}/{batch_id}/results").status_code == 404


def test_the_same_in_process(sandbox: Sandbox, http: httpx2.Client, ask: Ask) -> None:
    ended, expired = _create(http, ask), _create(http, ask)
    sandbox.end(ended)
    sandbox.archive(ended)
    sandbox.expire(expired)
    assert (_counts(http, ended), _counts(http, expired)) == ({"succeeded": 1}, {"expired": 1})
    for action in (sandbox.end, sandbox.expire, sandbox.archive):
        with pytest.raises(UnknownBatch, match="there is no batch msgbatch_x"):
            action("msgbatch_x")
        with pytest.raises(NotPossible, match=ended):
            action(ended)


def test_unknown_batch(http: httpx2.Client) -> None:
    response = http.post("/_sandbox/batches/msgbatch_x/end")
    assert (response.status_code, response.json()) == (404, {"error": "there is no batch msgbatch_x"})


def test_all_batches_of_all_keys(http: httpx2.Client, ask: Ask) -> None:
    first, second = _create(http, ask), _create(http, ask)
    listed = http.get("/_sandbox/batches").json()
    assert (listed["total"], [batch["id"] for batch in listed["batches"]]) == (2, [second, first])
    assert {batch["key"] for batch in listed["batches"]} == {fingerprint(KEY)}


def test_faults(http: httpx2.Client) -> None:
    sent = {"kind": "rate_limit", "on": "list", "count": 2, "retry_after": 3, "key": KEY}
    shown = {**sent, "key": fingerprint(KEY)}
    assert http.post("/_sandbox/faults", json=sent).json() == shown
    assert http.get("/_sandbox/faults").json() == {"faults": [shown]}
    response = http.get(PATH)
    assert (response.status_code, response.headers["retry-after"]) == (429, "3")
    assert http.get("/_sandbox/faults").json() == {"faults": [{**shown, "count": 1}]}
    assert http.request("DELETE", "/_sandbox/faults").json() == {"faults": []}


def test_requests(http: httpx2.Client, ask: Ask) -> None:
    _create(http, ask)
    http.get("/_sandbox/clock")
    http.get("/")
    (entry,) = http.get("/_sandbox/requests").json()["requests"]
    assert (entry["method"], entry["path"], entry["status"], entry["answer"]) == ("POST", PATH, 200, "created")
    assert KEY not in str(entry)
    assert ["x-api-key", fingerprint(KEY)] in entry["headers"]


def test_reset(sandbox: Sandbox, http: httpx2.Client, ask: Ask) -> None:
    before = _create(http, ask)
    http.post("/_sandbox/faults", json={"kind": "reset"})
    http.post("/_sandbox/reset")
    assert http.get("/_sandbox/batches").json() == {"total": 0, "batches": []}
    assert (sandbox.requests, sandbox.faults.pending()) == ([], [])
    # As at the start: the same call has the same answer.
    assert _create(http, ask) == before


@pytest.mark.parametrize(
    ("method", "path", "body", "error"),
    [
        ("POST", "clock/advance", b"", 'send {"seconds": …} and nothing else'),
        ("POST", "clock/advance", b'{"seconds": 1, "x": 2}', 'send {"seconds": …} and nothing else'),
        ("POST", "clock/advance", b'{"seconds": "1"}', "seconds is not a number"),
        ("POST", "clock/advance", b'{"seconds": true}', "seconds is not a number"),
        ("POST", "clock/advance", b'{"seconds": -1}', "time does not go back"),
        ("POST", "clock/advance", b'{"seconds": 1e300}', "that is too far away"),
        ("POST", "clock/advance", b'{"seconds": ' + b"9" * 5_000 + b"}", "the body is not JSON"),
        ("POST", "clock/freeze", b'{"x": 1}', "this takes no arguments"),
        ("POST", "reset", b"[]", "the body is not a JSON object"),
        ("POST", "reset", b"{", "the body is not JSON"),
        ("POST", "faults", b"{}", 'say which fault: {"kind": "overloaded"}'),
        ("POST", "faults", b'{"kind": "reset", "count": "1"}', "count is not a whole number"),
        ("POST", "faults", b'{"kind": "reset", "seconds": 1}', "reset takes no seconds"),
        ("POST", "faults", b'{"kind": "reset", "kinds": 1}', "there is no option 'kinds'"),
    ],
)
def test_bad_requests(http: httpx2.Client, method: str, path: str, body: bytes, error: str) -> None:
    response = http.request(method, f"/_sandbox/{path}", content=body)
    assert response.status_code == 400
    assert response.json()["error"].startswith(error)


def test_a_body_that_is_too_long(http: httpx2.Client) -> None:
    assert http.post("/_sandbox/reset", content=b" " * 70_000).status_code == 413


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "nothing", 404), ("GET", "", 404), ("GET", "reset", 405), ("PUT", "faults", 405)],
)
def test_unknown_paths(http: httpx2.Client, method: str, path: str, status: int) -> None:
    response = http.request(method, f"/_sandbox/{path}")
    assert (response.status_code, list(response.json())) == (status, ["error"])


@pytest.mark.parametrize("path", ["/", "/_sandbox/clock"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost"}, 200),
        ({"host": "LOCALHOST:8080"}, 200),
        ({"host": "[::1]:8080"}, 200),
        ({"host": "sandbox.example"}, 403),
        ({"host": "127.0.0.1.example:80"}, 403),
        ({"host": "localhost@example"}, 403),
        ({"host": ""}, 403),
        ({"host": "127.0.0.1:80", "origin": "http://127.0.0.1:80"}, 200),
        ({"host": "127.0.0.1:80", "origin": "http://127.0.0.1:81"}, 403),
        ({"host": "127.0.0.1:80", "origin": "https://127.0.0.1:80"}, 403),
        ({"host": "127.0.0.1:80", "origin": "https://example.com"}, 403),
        ({"host": "127.0.0.1:80", "origin": "null"}, 403),
    ],
    ids=str,
)
def test_hosts_and_origins(http: httpx2.Client, path: str, headers: dict[str, str], status: int) -> None:
    assert http.get(path, headers=headers).status_code == status


def test_a_web_page_cannot_act(http: httpx2.Client, sandbox: Sandbox) -> None:
    response = http.post("/_sandbox/faults", json={"kind": "reset"}, headers={"origin": "https://example.com"})
    assert (response.status_code, sandbox.faults.pending()) == (403, [])
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    ("peer", "status"),
    [("127.0.0.1", 200), ("::1", 200), ("::ffff:127.0.0.1", 200), ("192.0.2.1", 403), ("testclient", 403)],
)
@pytest.mark.parametrize("path", ["/", "/_sandbox/clock"])
def test_other_machines(peer: str, status: int, path: str) -> None:
    with TestClient(create_app(SandboxConfig()), base_url="http://localhost", client=(peer, 1)) as client:
        assert client.get(path).status_code == status


values: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers(-2, 5) | st.floats() | st.text(max_size=3) | st.just([])
)
taken = {name for info in FAULTS.values() for name in info.options}
options = st.sampled_from(sorted(taken | {"on", "count", "key", "x"}))
kinds = st.sampled_from([*FaultKind, "x", None, 1])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.fixed_dictionaries({"kind": kinds}), st.dictionaries(options, values, max_size=2))
def test_any_fault_is_taken_or_refused_in_plain_words(
    sandbox: Sandbox, http: httpx2.Client, kind: dict[str, Any], more: dict[str, Any]
) -> None:
    sandbox.faults.clear()
    response = http.post("/_sandbox/faults", content=json.dumps({**kind, **more}))
    assert (response.status_code == 200) == bool(sandbox.faults.pending())
    assert response.status_code in (200, 400)
    assert (list(response.json()) == ["error"]) == (response.status_code == 400)


@given(st.text())
def test_any_host_header_is_a_name_or_none(host: str) -> None:
    name = host_name(host)
    assert name is None or (name == name.lower() and "/" not in name and "@" not in name)
