"""Faults, ordered in process and met by the official SDK; what breaks a connection breaks it for real."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
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


@pytest.mark.parametrize("reset", [False, True])
def test_a_create_carried_out_later_than_its_answer(
    sandbox: Sandbox, raw: httpx2.Client, clock: ManualClock, api_key: str, ask: Ask, refusal: Refusal, reset: bool
) -> None:
    sandbox.faults.add("late_create", seconds=40, reset=reset)
    body = {"requests": [ask("late"), ask("later")]}
    if reset:
        with pytest.raises(ConnectionResetError):
            _talk(sandbox, api_key, json.dumps(body).encode())
    else:
        response = raw.post(PATH, json=body)
        assert response.headers["x-sandbox-answer"] == "injected-late-create"
        assert refusal(response) == (504, "timeout_error", "Request timed out")
    begun = clock.now()
    assert raw.get(PATH).json()["data"] == []
    clock.advance(39.9)
    assert raw.get(PATH).json()["data"] == []
    clock.advance(2.1)
    (batch,) = raw.get(PATH).json()["data"]
    assert datetime.fromisoformat(batch["created_at"]) == begun + timedelta(seconds=40)
    assert (batch["processing_status"], batch["request_counts"]["processing"]) == ("in_progress", 2)
    clock.advance(3)
    rows = raw.get(f"{PATH}/{batch['id']}/results").text.splitlines()
    assert {json.loads(row)["custom_id"] for row in rows} == {"late", "later"}


def test_a_late_create_is_seen_by_who_steers(
    sandbox: Sandbox, raw: httpx2.Client, clock: ManualClock, ask: Ask
) -> None:
    before = httpx2.get(f"{sandbox.url}/_sandbox/batches").json()["total"]
    sandbox.faults.add("late_create", seconds=10)
    raw.post(PATH, json={"requests": [ask()]})
    assert httpx2.get(f"{sandbox.url}/_sandbox/batches").json()["total"] == before
    clock.advance(10)
    assert httpx2.get(f"{sandbox.url}/_sandbox/batches").json()["total"] == before + 1


def test_a_late_create_that_is_refused_is_refused_at_once(
    sandbox: Sandbox, raw: httpx2.Client, clock: ManualClock
) -> None:
    sandbox.faults.add("late_create", seconds=1)
    assert raw.post(PATH, json={"requests": []}).status_code == 400
    clock.advance(1)
    assert raw.get(PATH).json()["data"] == []


def test_what_ends_a_late_create_before_its_time(clock: ManualClock, tmp_path: Path, ask: Ask) -> None:
    """A reset, and a stop, after which the clock is where it was."""
    headers = {"x-api-key": "late", "anthropic-version": "2026-10-21"}
    with running_sandbox(clock=ManualClock(), state=tmp_path / "state") as sandbox:
        for _ in range(2):
            sandbox.faults.add("late_create", seconds=100)
            httpx2.post(sandbox.url + PATH, headers=headers, json={"requests": [ask()]})
            sandbox.reset()
            sandbox.clock.advance(100)
            assert httpx2.get(sandbox.url + PATH, headers=headers).json()["data"] == []
        sandbox.faults.add("late_create", seconds=100)
        httpx2.post(sandbox.url + PATH, headers=headers, json={"requests": [ask()]})
        left = sandbox.clock.now()
    with running_sandbox(clock=ManualClock(), state=tmp_path / "state") as sandbox:
        assert sandbox.clock.now() == left
        sandbox.clock.advance(100)
        assert httpx2.get(sandbox.url + PATH, headers=headers).json()["data"] == []


def test_late_creates_over_the_queue_limit_never_exist(ask: Ask) -> None:
    headers = {"x-api-key": "late", "anthropic-version": "2026-10-21"}
    requests = [ask(f"row-{number}") for number in range(70_000)]
    with running_sandbox(clock=ManualClock(), process_seconds=3_600, tier="start") as sandbox:
        for seconds in (1, 2, 3):
            sandbox.faults.add("late_create", seconds=seconds)
            httpx2.post(sandbox.url + PATH, headers=headers, json={"requests": requests}, timeout=60)
        sandbox.clock.advance(3)
        assert len(httpx2.get(sandbox.url + PATH, headers=headers).json()["data"]) == 2


@pytest.mark.parametrize("seconds", [0, 90, -7_200])
def test_a_date_that_is_off(sandbox: Sandbox, raw: httpx2.Client, clock: ManualClock, seconds: int) -> None:
    sandbox.faults.add("date_skew", seconds=seconds, count=2)
    due = clock.now().replace(microsecond=0) + timedelta(seconds=seconds)
    for path, status in ((PATH, 200), (f"{PATH}/msgbatch_1", 404)):
        response = raw.get(path)
        assert (response.status_code, parsedate_to_datetime(response.headers["date"])) == (status, due)
    assert parsedate_to_datetime(raw.get(PATH).headers["date"]) == clock.now().replace(microsecond=0)


def test_a_count_nobody_knows(sandbox: Sandbox, raw: httpx2.Client, client: anthropic.Anthropic, ask: Ask) -> None:
    sandbox.faults.add("extra_count", count=4)
    known = {"processing": 1, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
    response = raw.post(PATH, json={"requests": [ask()]})
    assert response.headers["content-length"] == str(len(response.content))
    batch = response.json()
    assert batch["request_counts"] == {**known, "paused": 1}
    path = f"{PATH}/{batch['id']}"
    response = raw.get(path)
    assert (response.json(), response.headers["retry-after"]) == (batch, "10")
    assert raw.get(PATH).json()["data"] == [batch]
    assert raw.post(f"{path}/cancel").json()["request_counts"] == {**known, "paused": 1}
    sandbox.faults.add("extra_count", counter="queued", number=-3)
    assert raw.get(path).json()["request_counts"] == {**known, "queued": -3}
    sandbox.faults.add("extra_count", on="retrieve")
    assert raw.get(f"{PATH}/msgbatch_1").status_code == 404


@pytest.fixture
def ended(raw: httpx2.Client, ask: Ask, clock: ManualClock) -> tuple[str, list[bytes]]:
    """The path of results of more than one block, and their rows."""
    requests = [ask(f"row-{number}") for number in range(1_000)]
    path = f"{PATH}/{raw.post(PATH, json={'requests': requests}).json()['id']}/results"
    clock.advance(5)
    return path, raw.get(path).content.splitlines(keepends=True)


@pytest.mark.parametrize(("rows", "lines"), [(0, 1), (0, 1_000), (500, 2), (999, 5), (1_000, 1)])
def test_rows_that_come_twice(
    sandbox: Sandbox, raw: httpx2.Client, ended: tuple[str, list[bytes]], rows: int, lines: int
) -> None:
    path, whole = ended
    sandbox.faults.add("repeat_rows", rows=rows, lines=lines)
    twice = [row for row in whole[rows : rows + lines] for _ in range(2)]
    response = raw.get(path)
    assert response.headers["content-type"] == "application/x-jsonl"
    assert response.content.splitlines(keepends=True) == whole[:rows] + twice + whole[rows + lines :]


def test_rows_of_no_request(sandbox: Sandbox, raw: httpx2.Client, ended: tuple[str, list[bytes]]) -> None:
    path, whole = ended
    sandbox.faults.add("foreign_rows", rows=500, lines=2)
    received = raw.get(path).content.splitlines(keepends=True)
    assert [*received[:500], received[501], *received[503:]] == whole
    assert [json.loads(received[place])["custom_id"] for place in (500, 502)] == ["foreign-1", "foreign-2"]


def test_rows_that_are_garbled(sandbox: Sandbox, raw: httpx2.Client, ended: tuple[str, list[bytes]]) -> None:
    path, whole = ended
    sandbox.faults.add("garble_rows", rows=500, lines=2)
    received = raw.get(path).content.splitlines(keepends=True)
    assert received[:500] + received[502:] == whole[:500] + whole[502:]
    for row in received[500:502]:
        with pytest.raises(UnicodeDecodeError):
            row.decode()
        with pytest.raises(json.JSONDecodeError):
            json.loads(row.decode(errors="replace"))


@pytest.mark.parametrize("mid_row", [False, True])
def test_results_without_end(
    sandbox: Sandbox, raw: httpx2.Client, ended: tuple[str, list[bytes]], mid_row: bool
) -> None:
    path, whole = ended
    rows = b"".join(whole)
    sandbox.faults.add("endless", mid_row=mid_row)
    received = b""
    with raw.stream("GET", path) as response:
        for part in response.iter_raw():
            received += part
            if len(received) > 3 * len(rows):
                break
    assert received.startswith(rows)
    rest = received[len(rows) :]
    if mid_row:
        assert rest.startswith(b'{"custom_id":"xxx')
        assert b"\n" not in rest
    else:
        assert rest.splitlines(keepends=True)[:3] == whole[:3]
        assert set(rest.splitlines(keepends=True)[:-1]) <= set(whole)
    # Who left is noticed: the next answer comes, and the sandbox stops.
    assert raw.get(path).content == rows


def test_answers_without_rows_have_none_to_alter(sandbox: Sandbox, raw: httpx2.Client) -> None:
    for kind in ("repeat_rows", "foreign_rows", "garble_rows", "endless"):
        sandbox.faults.add(kind)
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
        ("repeat_rows", {"lines": 0}, "lines must be 1 or more"),
        ("extra_count", {"counter": ""}, "counter must be a name"),
        ("late_create", {"seconds": -1}, "seconds must be from 0 to 31536000"),
        ("late_create", {"on": "list"}, "late_create happens on create, not on 'list'"),
        ("date_skew", {"seconds": 1e9}, "seconds must be from -31536000 to 31536000"),
        ("extra_count", {"on": "results"}, "extra_count happens on cancel, create, list, retrieve, not on 'results'"),
        ("redirect", {"location": "x\r\ny"}, "location must be a URL"),
    ],
)
def test_faults_that_make_no_sense(sandbox: Sandbox, kind: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sandbox.faults.add(kind, **options)


def test_the_table_names_every_fault() -> None:
    assert set(FAULTS) == set(FaultKind)
