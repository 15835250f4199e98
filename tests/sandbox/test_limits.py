"""The limits of a usage tier, on the sandbox's clock."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import anthropic
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batches_mcp.sandbox import ManualClock, Sandbox, running_sandbox
from batches_mcp.sandbox.errors import ApiError
from batches_mcp.sandbox.limits import LIMITS, RateLimiter

Ask = Callable[..., dict[str, Any]]

PATH = "/v1/messages/batches"
LIMIT = "anthropic-ratelimit-requests-limit"
REMAINING = "anthropic-ratelimit-requests-remaining"
RESET = "anthropic-ratelimit-requests-reset"
MINUTE_US = 60_000_000


@pytest.fixture
def sandbox(clock: ManualClock) -> Iterator[Sandbox]:
    with running_sandbox(clock=clock, tier="start") as sandbox:
        yield sandbox


def test_headers_count_down_and_fill_up(raw: httpx2.Client, clock: ManualClock) -> None:
    first, second = raw.get(PATH), raw.get(f"{PATH}/msgbatch_1")
    assert (first.headers[LIMIT], first.headers[REMAINING]) == ("1000", "999")
    assert second.headers[REMAINING] == "998"
    full = datetime.fromisoformat(second.headers[RESET])
    assert full - clock.now() == timedelta(milliseconds=120)
    clock.advance(0.12)
    assert raw.get(PATH).headers[REMAINING] == "999"
    assert raw.get(PATH, headers={"x-api-key": "another"}).headers[REMAINING] == "999"


def test_without_a_tier_there_are_no_limits(clock: ManualClock) -> None:
    with running_sandbox(clock=clock) as sandbox:
        response = httpx2.get(sandbox.url + PATH, headers={"x-api-key": "k", "anthropic-version": "2026-10-21"})
        assert LIMIT not in response.headers


def test_one_too_many(raw: httpx2.Client, client: anthropic.Anthropic, clock: ManualClock) -> None:
    for _ in range(1_000):
        response = raw.get(f"{PATH}/msgbatch_1")
    assert response.headers[REMAINING] == "0"
    with pytest.raises(anthropic.RateLimitError) as caught:
        client.messages.batches.list()
    assert caught.value.response.headers["retry-after"] == "1"
    assert caught.value.response.headers[REMAINING] == "0"
    assert raw.get(PATH, headers={"x-api-key": "another"}).status_code == 200
    clock.advance(1)
    assert list(client.messages.batches.list()) == []


def test_reset_fills_up(sandbox: Sandbox, raw: httpx2.Client) -> None:
    raw.get(PATH)
    sandbox.reset()
    assert raw.get(PATH).headers[REMAINING] == "999"


def test_queue(raw: httpx2.Client, sandbox: Sandbox) -> None:
    full = b'{"requests":[' + b",".join(b'{"custom_id":"%d","params":{}}' % i for i in range(100_000)) + b"]}"
    one = {"requests": [{"custom_id": "a", "params": {}}]}
    ids = [raw.post(PATH, content=full).json()["id"] for _ in range(2)]
    refused = raw.post(PATH, json=one)
    assert (refused.status_code, refused.json()["error"]["type"]) == (429, "rate_limit_error")
    assert "limit of 200000" in refused.json()["error"]["message"]
    assert "retry-after" not in refused.headers
    assert len(raw.get(PATH).json()["data"]) == 2
    assert raw.post(PATH, json=one, headers={"x-api-key": "another"}).status_code == 200
    sandbox.end(ids[0])
    assert raw.post(PATH, json=one).status_code == 200


def test_published_limits() -> None:
    assert {tier: (limits.requests_per_minute, limits.queued_requests) for tier, limits in LIMITS.items()} == {
        "start": (1_000, 200_000),
        "build": (2_000, 300_000),
        "scale": (4_000, 500_000),
    }


def test_an_unknown_tier() -> None:
    with pytest.raises(ValueError, match="bronze"):
        running_sandbox(tier="bronze").__enter__()  # type: ignore[arg-type]  # the point of the test


@given(st.sampled_from([1, 7, 1_000]), st.lists(st.integers(0, MINUTE_US), max_size=60))
def test_no_minute_after_a_full_bucket_sees_twice_the_limit(limit: int, waits_us: list[int]) -> None:
    limiter = RateLimiter(limit)
    now_us, accepted = 0, []
    for wait_us in waits_us:
        now_us += wait_us // limit
        try:
            headers = limiter.take("t", now_us)
        except ApiError as refused:
            # To wait as long as it says is enough.
            now_us += int(refused.headers["retry-after"]) * 1_000_000
            headers = limiter.take("t", now_us)
        accepted.append(now_us)
        assert 0 <= int(headers[REMAINING]) < limit
    for start in accepted:
        assert sum(start <= at < start + MINUTE_US for at in accepted) <= 2 * limit
