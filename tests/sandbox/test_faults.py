"""Faults, ordered in process and met by the official SDK; what breaks a connection breaks it for real."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import anthropic
import httpx2
import pytest

from batches_mcp.sandbox import FAULTS, FaultKind, ManualClock, Sandbox, running_sandbox

Ask = Callable[..., dict[str, Any]]
Refusal = Callable[[httpx2.Response], tuple[int, str, str]]

PATH = "/v1/messages/batches"


@pytest.fixture(scope="module")
def sandbox(clock: ManualClock) -> Iterator[Sandbox]:
    """One of this file's own: a fault without a key is everybody's."""
    with running_sandbox(clock=clock) as sandbox:
        yield sandbox


@pytest.fixture(autouse=True)
def _all_faults_happened(sandbox: Sandbox) -> Iterator[None]:
    yield
    pending = sandbox.faults.pending()
    sandbox.faults.clear()
    assert pending == []


@pytest.mark.parametrize(
    ("kind", "error", "status", "message"),
    [
        ("rate_limit", anthropic.RateLimitError, 429, "rate limit"),
        ("spend_cap", anthropic.RateLimitError, 429, "spend limit"),
        ("spend_limit", anthropic.BadRequestError, 400, "You have reached your specified API usage limits"),
        ("server_error", anthropic.InternalServerError, 500, "Internal server error"),
        ("bad_gateway", anthropic.InternalServerError, 502, "502 Bad Gateway"),
        ("timeout", anthropic.InternalServerError, 504, "timed out"),
        ("overloaded", anthropic.InternalServerError, 529, "Overloaded"),
    ],
)
def test_refusals_through_the_sdk(
    sandbox: Sandbox,
    client: anthropic.Anthropic,
    ask: Ask,
    kind: str,
    error: type[anthropic.APIStatusError],
    status: int,
    message: str,
) -> None:
    sandbox.faults.add(kind, on="create")
    assert list(client.messages.batches.list()) == []  # another endpoint is not met
    requests: Any = [ask()]
    with pytest.raises(error, match=message) as caught:
        client.messages.batches.create(requests=requests)
    assert caught.value.status_code == status
    assert list(client.messages.batches.list()) == []
    client.messages.batches.create(requests=requests)


def test_retry_after_is_there_or_not(sandbox: Sandbox, raw: httpx2.Client, refusal: Refusal) -> None:
    sandbox.faults.add("rate_limit")
    assert "retry-after" not in raw.get(PATH).headers
    sandbox.faults.add("rate_limit", retry_after=17)
    response = raw.get(PATH)
    assert (response.headers["retry-after"], refusal(response)[:2]) == ("17", (429, "rate_limit_error"))


def test_the_spend_cap_is_told_by_its_code(sandbox: Sandbox, raw: httpx2.Client) -> None:
    sandbox.faults.add("spend_cap")
    response = raw.get(PATH)
    assert response.json()["error"]["details"] == {"error_code": "enforced_spend_limit_reached"}
    assert "retry-after" not in response.headers


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK tries again without waiting."""
    monkeypatch.setattr(anthropic.Anthropic, "_calculate_retry_timeout", lambda *_: 0)


@pytest.mark.usefixtures("_at_once")
def test_the_sdk_retries_until_it_is_over(sandbox: Sandbox, api_key: str, ask: Ask) -> None:
    sandbox.faults.add("rate_limit", on="create", count=2, retry_after=0)
    with anthropic.Anthropic(base_url=sandbox.url, api_key=api_key, max_retries=2) as client:
        requests: Any = [ask()]
        batch = client.messages.batches.create(requests=requests)
    assert batch.processing_status == "in_progress"
    assert [entry.status for entry in sandbox.requests[-3:]] == [429, 429, 200]


def test_another_key_is_not_met(sandbox: Sandbox, raw: httpx2.Client, api_key: str) -> None:
    sandbox.faults.add("server_error", key=api_key)
    assert raw.get(PATH, headers={"x-api-key": "another"}).status_code == 200
    assert raw.get(PATH).status_code == 500


def test_faults_are_met_in_order(sandbox: Sandbox, raw: httpx2.Client) -> None:
    sandbox.faults.add("overloaded", count=2)
    sandbox.faults.add("timeout", on="retrieve")
    sandbox.faults.add("server_error")
    assert [fault.count for fault in sandbox.faults.pending()] == [2, 1, 1]
    assert [raw.get(PATH).status_code for _ in range(4)] == [529, 529, 500, 200]
    assert raw.get(f"{PATH}/msgbatch_1").status_code == 504


def test_redirect(sandbox: Sandbox, raw: httpx2.Client) -> None:
    sandbox.faults.add("redirect", location="https://elsewhere.example/x?y=1")
    response = raw.get(PATH)
    assert (response.status_code, response.headers["location"]) == (307, "https://elsewhere.example/x?y=1")


def test_not_found_after_the_creation(sandbox: Sandbox, client: anthropic.Anthropic, ask: Ask) -> None:
    requests: Any = [ask()]
    batch = client.messages.batches.create(requests=requests)
    sandbox.faults.add("not_found", on="retrieve", count=2)
    for _ in range(2):
        with pytest.raises(anthropic.NotFoundError, match=f"Message Batch {batch.id} not found"):
            client.messages.batches.retrieve(batch.id)
    assert client.messages.batches.retrieve(batch.id) == batch


def test_delay(sandbox: Sandbox, raw: httpx2.Client) -> None:
    sandbox.faults.add("delay", seconds=30)
    with pytest.raises(httpx2.ReadTimeout):
        raw.get(PATH, timeout=0.05)
    sandbox.faults.add("delay", seconds=0.001)
    assert raw.get(PATH).status_code == 200


def _talk(sandbox: Sandbox, api_key: str, body: bytes, *, announced: int | None = None) -> bytes:
    """Send a create on a bare socket and return what comes back; ConnectionResetError on RST."""
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\nx-api-key: {api_key}\r\nanthropic-version: 2026-10-21\r\n"
    head += f"content-length: {len(body) if announced is None else announced}\r\n\r\n"
    with closing(socket.create_connection(("127.0.0.1", sandbox.port), timeout=10)) as connection:
        connection.sendall(head.encode() + body)
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer


def test_reset_before_the_body_is_read(sandbox: Sandbox, raw: httpx2.Client, api_key: str, ask: Ask) -> None:
    sandbox.faults.add("reset", on="create")
    # Reset although most of the announced body never comes: nobody waits for it.
    with pytest.raises(ConnectionResetError):
        _talk(sandbox, api_key, b'{"requests":[', announced=1_000_000)
    assert raw.get(PATH).json()["data"] == []
    entry = sandbox.requests[-2]
    assert (entry.method, entry.status, entry.answer) == ("POST", None, None)


def test_reset_after_the_batch_exists(sandbox: Sandbox, raw: httpx2.Client, api_key: str, ask: Ask) -> None:
    sandbox.faults.add("reset_after", on="create")
    with pytest.raises(ConnectionResetError):
        _talk(sandbox, api_key, json.dumps({"requests": [ask()]}).encode())
    (batch,) = raw.get(PATH).json()["data"]
    assert batch["processing_status"] == "in_progress"


@pytest.mark.usefixtures("_at_once")
def test_a_lost_answer_makes_the_sdk_pay_twice(sandbox: Sandbox, api_key: str, ask: Ask) -> None:
    sandbox.faults.add("reset_after", on="create")
    with anthropic.Anthropic(base_url=sandbox.url, api_key=api_key, max_retries=1) as client:
        requests: Any = [ask()]
        client.messages.batches.create(requests=requests)
        assert len(client.messages.batches.list().data) == 2


def test_reset_after_a_refusal_is_a_refusal(sandbox: Sandbox, raw: httpx2.Client) -> None:
    sandbox.faults.add("reset_after", on="create")
    assert raw.post(PATH, content=b"{").status_code == 400


@pytest.mark.parametrize("mid_row", [False, True])
@pytest.mark.parametrize("rows", [0, 1, 700, 2_999])
def test_cut_results(
    sandbox: Sandbox, raw: httpx2.Client, ask: Ask, clock: ManualClock, rows: int, mid_row: bool
) -> None:
    requests = [ask(f"row-{number}") for number in range(3_000)]
    batch_id = raw.post(PATH, json={"requests": requests}).json()["id"]
    clock.advance(5)
    whole = raw.get(f"{PATH}/{batch_id}/results").content.splitlines(keepends=True)
    sandbox.faults.add("cut", rows=rows, mid_row=mid_row)
    received: list[bytes] = []
    with raw.stream("GET", f"{PATH}/{batch_id}/results") as stream:
        assert stream.status_code == 200
        with pytest.raises(httpx2.RemoteProtocolError):
            received.extend(stream.iter_raw(1))
    left = b"".join(received).removeprefix(b"".join(whole[:rows]))
    assert bool(left) is mid_row
    assert whole[rows].startswith(left)
    assert b"\n" not in left


def test_cut_results_through_the_sdk(
    sandbox: Sandbox, client: anthropic.Anthropic, ask: Ask, clock: ManualClock
) -> None:
    requests: Any = [ask(f"row-{number}") for number in range(10)]
    batch = client.messages.batches.create(requests=requests)
    clock.advance(5)
    sandbox.faults.add("cut", rows=4)
    rows = iter(client.messages.batches.results(batch.id))
    assert len({next(rows).custom_id for _ in range(4)}) == 4
    with pytest.raises(httpx2.RemoteProtocolError):
        next(rows)


def test_no_results_are_not_cut(sandbox: Sandbox, raw: httpx2.Client) -> None:
    sandbox.faults.add("cut")
    assert raw.get(f"{PATH}/msgbatch_1/results").status_code == 404


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("explode", {}, "no fault 'explode'; there are rate_limit, "),
        ("overloaded", {"rows": 1}, "overloaded takes no rows"),
        ("cut", {"on": "create"}, "cut happens on results, not on 'create'"),
        ("not_found", {"on": "list"}, "not_found happens on cancel, delete, results, retrieve"),
        ("reset", {"on": "delet"}, "not on 'delet'"),
        ("reset", {"count": 0}, "count must be 1 or more"),
        ("rate_limit", {"retry_after": -1}, "retry_after must not be negative"),
        ("delay", {"seconds": -1}, "seconds must be from 0 to 3600"),
        ("delay", {"seconds": float("nan")}, "seconds must be from 0 to 3600"),
        ("cut", {"rows": -1}, "rows must not be negative"),
        ("redirect", {"location": "x\r\ny"}, "location must be a URL"),
    ],
)
def test_faults_that_make_no_sense(sandbox: Sandbox, kind: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sandbox.faults.add(kind, **options)


def test_the_table_names_every_fault() -> None:
    assert set(FAULTS) == set(FaultKind)
