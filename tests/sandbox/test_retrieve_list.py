"""Retrieve and list, and who may see what."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import anthropic
import httpx2
import pytest

from batches_mcp.sandbox import ManualClock, Sandbox

Ask = Callable[..., dict[str, Any]]
Refusal = Callable[[httpx2.Response], tuple[int, str, str]]

PATH = "/v1/messages/batches"


@pytest.fixture
def five(raw: httpx2.Client, ask: Ask, clock: ManualClock) -> list[str]:
    """The ids of five batches, oldest first, the last two created in the same instant."""
    ids = []
    for number in range(5):
        if number < 4:
            clock.advance(1)
        ids.append(raw.post(PATH, json={"requests": [ask()]}).json()["id"])
    return ids


def test_in_progress_until_the_very_end(raw: httpx2.Client, ask: Ask, clock: ManualClock) -> None:
    created = raw.post(PATH, json={"requests": [ask("a"), ask("b")]}).json()
    clock.advance(4.999999)
    response = raw.get(f"{PATH}/{created['id']}")
    assert response.json() == created  # counts included: all processing
    assert response.headers["retry-after"] == "10"
    clock.advance(0.000001)
    response = raw.get(f"{PATH}/{created['id']}")
    ended = response.json()
    assert "retry-after" not in response.headers
    assert ended["processing_status"] == "ended"
    assert ended["request_counts"] == {"processing": 0, "succeeded": 2, "errored": 0, "canceled": 0, "expired": 0}
    assert ended["results_url"] == f"{str(raw.base_url).rstrip('/')}{PATH}/{created['id']}/results"
    assert (ended["archived_at"], ended["cancel_initiated_at"]) == (None, None)
    assert created["created_at"] < ended["ended_at"] < created["expires_at"]


def test_sdk_retrieve(client: anthropic.Anthropic, ask: Ask, clock: ManualClock) -> None:
    requests: Any = [ask()]
    batch = client.messages.batches.create(requests=requests)
    assert client.messages.batches.retrieve(batch.id) == batch
    clock.advance(5)
    ended = client.messages.batches.retrieve(batch.id)
    assert ended.ended_at is not None
    assert (ended.ended_at - batch.created_at).total_seconds() == 5


@pytest.mark.parametrize("batch_id", ["msgbatch_013Zva2CMHLNnXjNJJKqJ2EF", "nonsense", "x y", "%"])
@pytest.mark.parametrize(("method", "suffix"), [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/results")])
def test_unknown_id(raw: httpx2.Client, refusal: Refusal, batch_id: str, method: str, suffix: str) -> None:
    response = raw.request(method, f"{PATH}/{batch_id}{suffix}")
    assert refusal(response) == (404, "not_found_error", f"Message Batch {batch_id} not found.")
    assert response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(("method", "suffix"), [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/results")])
def test_another_key_sees_nothing(
    raw: httpx2.Client, refusal: Refusal, ask: Ask, clock: ManualClock, method: str, suffix: str
) -> None:
    batch_id = raw.post(PATH, json={"requests": [ask()]}).json()["id"]
    clock.advance(5)
    other = {"x-api-key": f"other-{uuid4().hex}"}
    response = raw.request(method, f"{PATH}/{batch_id}{suffix}", headers=other)
    assert refusal(response) == (404, "not_found_error", f"Message Batch {batch_id} not found.")
    assert raw.get(PATH, headers=other).json()["data"] == []
    assert raw.get(f"{PATH}/{batch_id}").json()["processing_status"] == "ended"


def test_empty_list(raw: httpx2.Client) -> None:
    assert raw.get(PATH).json() == {"data": [], "has_more": False, "first_id": None, "last_id": None}


def test_newest_first(raw: httpx2.Client, five: list[str]) -> None:
    page = raw.get(PATH).json()
    assert [batch["id"] for batch in page["data"]] == five[::-1]
    assert (page["first_id"], page["last_id"], page["has_more"]) == (five[4], five[0], False)
    assert page["data"][0] == raw.get(f"{PATH}/{five[4]}").json()


@pytest.mark.parametrize(
    ("query", "expected", "has_more"),
    [
        ({"limit": 1}, [4], True),
        ({"limit": 5}, [4, 3, 2, 1, 0], False),
        ({"limit": 1000}, [4, 3, 2, 1, 0], False),
        ({"limit": 2, "after_id": 3}, [2, 1], True),
        ({"limit": 3, "after_id": 3}, [2, 1, 0], False),
        ({"after_id": 4}, [3, 2, 1, 0], False),
        ({"after_id": 0}, [], False),
        ({"limit": 2, "before_id": 0}, [2, 1], True),
        ({"limit": 3, "before_id": 1}, [4, 3, 2], False),
        ({"before_id": 3}, [4], False),
        ({"before_id": 4}, [], False),
    ],
    ids=str,
)
def test_pages(raw: httpx2.Client, five: list[str], query: dict[str, int], expected: list[int], has_more: bool) -> None:
    params = {name: five[value] if name.endswith("_id") else value for name, value in query.items()}
    page = raw.get(PATH, params=params).json()
    assert [five.index(batch["id"]) for batch in page["data"]] == expected
    assert page["has_more"] is has_more
    ids = [batch["id"] for batch in page["data"]] or [None]
    assert (page["first_id"], page["last_id"]) == (ids[0], ids[-1])


def test_sdk_walks_all_pages_in_both_directions(client: anthropic.Anthropic, five: list[str]) -> None:
    older = [batch.id for batch in client.messages.batches.list(limit=2)]
    assert older == five[::-1]
    newer = [batch.id for batch in client.messages.batches.list(limit=2, before_id=five[0])]
    assert sorted(newer) == sorted(five[1:])


def test_default_page_is_20(raw: httpx2.Client, ask: Ask) -> None:
    for _ in range(21):
        raw.post(PATH, json={"requests": [ask()]})
    page = raw.get(PATH).json()
    assert (len(page["data"]), page["has_more"]) == (20, True)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"limit": "0"}, "limit: Input should be greater than or equal to 1"),
        ({"limit": "-1"}, "limit: Input should be greater than or equal to 1"),
        ({"limit": "1001"}, "limit: Input should be less than or equal to 1000"),
        *(
            ({"limit": limit}, "limit: Input should be a valid integer, unable to parse string as an integer")
            for limit in ("many", "", "1.5", "1_0", "9" * 5000)
        ),
        ({"after_id": "msgbatch_x"}, "after_id: Message Batch msgbatch_x not found."),
        ({"before_id": "msgbatch_x"}, "before_id: Message Batch msgbatch_x not found."),
    ],
    ids=lambda value: str(value)[:40],
)
def test_refused_queries(raw: httpx2.Client, refusal: Refusal, query: dict[str, str], message: str) -> None:
    assert refusal(raw.get(PATH, params=query)) == (400, "invalid_request_error", message)


def test_both_cursors(raw: httpx2.Client, refusal: Refusal, five: list[str]) -> None:
    response = raw.get(PATH, params={"after_id": five[3], "before_id": five[1]})
    message = "after_id and before_id cannot be used together"
    assert refusal(response) == (400, "invalid_request_error", message)


def test_another_tenants_cursor_is_unknown(raw: httpx2.Client, refusal: Refusal, five: list[str]) -> None:
    response = raw.get(PATH, params={"after_id": five[2]}, headers={"x-api-key": f"other-{uuid4().hex}"})
    assert refusal(response)[0] == 400


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("sandbox.test:1234", "http://sandbox.test:1234"),
        ("[::1]:80", "http://[::1]:80"),
        ("api.anthropic.com", None),
        ("API.Anthropic.com:443", None),
        ("evil.test/path?", None),
        ("user@evil.test", None),
    ],
)
def test_results_url_is_the_sandboxes_own(
    raw: httpx2.Client, sandbox: Sandbox, ask: Ask, clock: ManualClock, host: str, expected: str | None
) -> None:
    batch_id = raw.post(PATH, json={"requests": [ask()]}).json()["id"]
    clock.advance(5)
    batch = raw.get(f"{PATH}/{batch_id}", headers={"host": host}).json()
    assert batch["results_url"] == f"{expected or sandbox.url}{PATH}/{batch_id}/results"
