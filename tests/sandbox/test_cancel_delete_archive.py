"""The ends of a batch: cancel, delete, expiry, and the end of its results."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import anthropic
import httpx2
import pytest

from batches_mcp.sandbox import ManualClock, running_sandbox

Ask = Callable[..., dict[str, Any]]
Refusal = Callable[[httpx2.Response], tuple[int, str, str]]

PATH = "/v1/messages/batches"


@pytest.fixture
def ten(client: anthropic.Anthropic, ask: Ask) -> str:
    """The id of a new batch of ten requests, row-0 to row-9; the second one fails."""
    requests: Any = [ask(f"row-{number}", max_tokens=0 if number == 1 else 64) for number in range(10)]
    return client.messages.batches.create(requests=requests).id


def test_cancel_until_it_ends(client: anthropic.Anthropic, clock: ManualClock, ten: str) -> None:
    before = client.messages.batches.retrieve(ten)
    clock.advance(2)  # of 5 s: four of ten are processed
    canceling = client.messages.batches.cancel(ten)
    assert canceling.processing_status == "canceling"
    assert canceling.cancel_initiated_at == before.created_at + timedelta(seconds=2)
    assert canceling.request_counts == before.request_counts
    assert canceling.results_url is None
    assert client.messages.batches.retrieve(ten) == canceling
    clock.advance(0.999999)
    assert client.messages.batches.retrieve(ten).processing_status == "canceling"
    clock.advance(0.000001)
    ended = client.messages.batches.retrieve(ten)
    assert ended.processing_status == "ended"
    assert ended.cancel_initiated_at == canceling.cancel_initiated_at
    assert ended.ended_at == before.created_at + timedelta(seconds=3)
    assert ended.request_counts.to_dict() == {
        "processing": 0,
        "succeeded": 3,
        "errored": 1,
        "canceled": 6,
        "expired": 0,
    }
    rows = {row.custom_id: row.result.type for row in client.messages.batches.results(ten)}
    expected = ["succeeded", "errored", "succeeded", "succeeded"] + ["canceled"] * 6
    assert rows == {f"row-{number}": outcome for number, outcome in enumerate(expected)}


def test_cancel_at_once_cancels_all(client: anthropic.Anthropic, clock: ManualClock, ten: str) -> None:
    client.messages.batches.cancel(ten)
    clock.advance(1)
    assert client.messages.batches.retrieve(ten).request_counts.canceled == 10
    assert {row.result.type for row in client.messages.batches.results(ten)} == {"canceled"}


def test_cancel_near_the_end_settles_at_the_end(client: anthropic.Anthropic, clock: ManualClock, ten: str) -> None:
    clock.advance(4.9)
    client.messages.batches.cancel(ten)
    clock.advance(0.1)
    counts = client.messages.batches.retrieve(ten).request_counts
    assert (counts.processing, counts.canceled) == (0, 1)


def test_cancel_twice_changes_nothing(raw: httpx2.Client, clock: ManualClock, ten: str) -> None:
    first = raw.post(f"{PATH}/{ten}/cancel", json={}).json()
    clock.advance(0.5)
    second = raw.post(f"{PATH}/{ten}/cancel")
    assert (second.status_code, second.json()) == (200, first)


def test_canceling_has_no_polling_hint_and_no_results(raw: httpx2.Client, refusal: Refusal, ten: str) -> None:
    assert "retry-after" not in raw.post(f"{PATH}/{ten}/cancel").headers
    assert "retry-after" not in raw.get(f"{PATH}/{ten}").headers
    response = raw.get(f"{PATH}/{ten}/results")
    assert refusal(response) == (404, "not_found_error", f"Message Batch {ten} has no available results.")
    assert response.headers["x-should-retry"] == "false"


def test_cancel_after_the_end(raw: httpx2.Client, refusal: Refusal, clock: ManualClock, ten: str) -> None:
    clock.advance(5)
    message = f"Message Batch {ten} has ended and cannot be canceled."
    assert refusal(raw.post(f"{PATH}/{ten}/cancel")) == (400, "invalid_request_error", message)
    assert raw.get(f"{PATH}/{ten}").json()["cancel_initiated_at"] is None


def test_delete_needs_the_end(raw: httpx2.Client, refusal: Refusal, clock: ManualClock, ten: str) -> None:
    message = "In progress batches cannot be deleted. Consider canceling the batch instead."
    assert refusal(raw.delete(f"{PATH}/{ten}")) == (400, "invalid_request_error", message)
    raw.post(f"{PATH}/{ten}/cancel")
    assert refusal(raw.delete(f"{PATH}/{ten}")) == (400, "invalid_request_error", message)
    clock.advance(1)
    assert raw.delete(f"{PATH}/{ten}").json() == {"id": ten, "type": "message_batch_deleted"}


def test_deleted_is_gone(client: anthropic.Anthropic, clock: ManualClock, ten: str) -> None:
    clock.advance(5)
    deleted = client.messages.batches.delete(ten)
    assert (deleted.id, deleted.type) == (ten, "message_batch_deleted")
    for call in (
        client.messages.batches.delete,
        client.messages.batches.retrieve,
        client.messages.batches.cancel,
        client.messages.batches.results,
    ):
        with pytest.raises(anthropic.NotFoundError, match=f"Message Batch {ten} not found"):
            call(ten)
    assert list(client.messages.batches.list()) == []


def test_deleting_does_not_cut_a_stream(raw: httpx2.Client, ask: Ask, clock: ManualClock) -> None:
    requests = [ask(f"row-{number}") for number in range(3_000)]
    batch_id = raw.post(PATH, json={"requests": requests}).json()["id"]
    clock.advance(5)
    with raw.stream("GET", f"{PATH}/{batch_id}/results") as stream:
        parts = stream.iter_raw()
        lines = next(parts).count(b"\n")
        assert raw.delete(f"{PATH}/{batch_id}").status_code == 200
        lines += sum(part.count(b"\n") for part in parts)
    assert lines == 3_000


def test_results_go_29_days_after_the_creation(
    raw: httpx2.Client, refusal: Refusal, clock: ManualClock, ten: str
) -> None:
    clock.advance(29 * 86_400 - 1)
    before = raw.get(f"{PATH}/{ten}").json()
    assert before["archived_at"] is None
    assert raw.get(f"{PATH}/{ten}/results").status_code == 200
    clock.advance(1)
    after = raw.get(f"{PATH}/{ten}").json()
    kept = datetime.fromisoformat(after["archived_at"]) - datetime.fromisoformat(after["created_at"])
    assert kept == timedelta(days=29)
    assert after == {**before, "archived_at": after["archived_at"]}
    response = raw.get(f"{PATH}/{ten}/results")
    assert refusal(response) == (404, "not_found_error", f"Message Batch {ten} has no available results.")
    assert response.headers["x-should-retry"] == "false"
    assert raw.delete(f"{PATH}/{ten}").status_code == 200


@pytest.fixture
def slow(clock: ManualClock, api_key: str) -> Iterator[anthropic.Anthropic]:
    """A client of a sandbox that needs 32 hours for a batch, 8 more than the API gives it."""
    with (
        running_sandbox(clock=clock, process_seconds=32 * 3_600, retry_after_seconds=7) as sandbox,
        anthropic.Anthropic(base_url=sandbox.url, api_key=api_key, max_retries=0) as client,
    ):
        yield client


def test_expiry_keeps_what_is_done(slow: anthropic.Anthropic, ask: Ask, clock: ManualClock) -> None:
    requests: Any = [ask(f"row-{number}") for number in range(8)]
    batch = slow.messages.batches.create(requests=requests)
    clock.advance(24 * 3_600 - 1)
    response = slow.messages.batches.with_raw_response.retrieve(batch.id)
    assert response.parse().processing_status == "in_progress"
    assert response.headers["retry-after"] == "7"
    clock.advance(1)
    ended = slow.messages.batches.retrieve(batch.id)
    assert ended.ended_at == batch.expires_at
    assert (ended.request_counts.succeeded, ended.request_counts.expired) == (6, 2)
    outcomes = Counter(row.result.type for row in slow.messages.batches.results(batch.id))
    assert outcomes == {"succeeded": 6, "expired": 2}


def test_create_answers_in_progress_even_without_processing_time(ask: Ask) -> None:
    with (
        running_sandbox(process_seconds=0) as sandbox,
        anthropic.Anthropic(base_url=sandbox.url, api_key="k", max_retries=0) as client,
    ):
        requests: Any = [ask()]
        batch = client.messages.batches.create(requests=requests)
        assert batch.processing_status == "in_progress"
        assert client.messages.batches.retrieve(batch.id).processing_status == "ended"
