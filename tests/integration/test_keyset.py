"""The keys of an identity provider: they change, hang, and are asked for in moderation. The clock is the test's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import anyio
import pytest

from batches_mcp.access.keyset import KeySet, Unavailable
from batches_mcp.core.limits import Limits
from batches_mcp.exchange.upstream import Upstream
from tests.support.issuer import Issuer, SigningKey, running_issuer

pytestmark = pytest.mark.anyio


class Time:
    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running_issuer() as running:
        running.keys = [SigningKey.new("one", "ES256")]
        yield running


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def keys(issuer: Issuer, time: Time) -> AsyncIterator[KeySet]:
    async with Upstream(Limits(call_s=20)) as upstream:
        yield KeySet(issuer.url, upstream, time)


async def test_a_new_key_is_found_at_once_and_an_old_one_is_dropped(keys: KeySet, issuer: Issuer, time: Time) -> None:
    assert await keys.find("one") is not None
    issuer.keys = [SigningKey.new("two", "ES256"), SigningKey.new("three", "EdDSA")]
    assert await keys.find("two") is not None
    assert await keys.find("three") is not None
    assert await keys.find("one") is None
    assert issuer.asked == 2


async def test_unknown_keys_are_asked_for_once_a_minute(keys: KeySet, issuer: Issuer, time: Time) -> None:
    await keys.find("one")
    for number in range(50):
        assert await keys.find(f"unknown-{number}") is None
    assert issuer.asked == 2
    issuer.keys.append(SigningKey.new("late", "ES256"))
    time.now_s += 59
    assert await keys.find("late") is None
    time.now_s += 2
    assert await keys.find("late") is not None
    assert issuer.asked == 3


async def test_keys_are_kept_while_the_issuer_hangs(keys: KeySet, issuer: Issuer, time: Time) -> None:
    await keys.find("one")
    issuer.answers.clear()
    time.now_s += 601
    keys.fetch_s = 0.2
    for _ in range(5):
        assert await keys.find("one") is not None
    assert issuer.asked <= 2
    issuer.answers.set()
    keys.fetch_s = 5.0
    issuer.keys = [SigningKey.new("two", "ES256")]
    time.now_s += 11
    assert await keys.find("two") is not None


async def test_many_callers_wait_for_one_question_and_not_for_long(keys: KeySet, issuer: Issuer, time: Time) -> None:
    keys.fetch_s = 0.2
    issuer.answers.clear()
    refused: list[Unavailable] = []

    async def ask() -> None:
        with pytest.raises(Unavailable) as told:
            await keys.find("one")
        refused.append(told.value)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(ask)
    assert len(refused) == 20
    assert issuer.asked <= 1
    keys.fetch_s = 5.0
    assert {error.retry_after_s for error in refused} == {10.0}
    issuer.answers.set()
    time.now_s += 11
    assert await keys.find("one") is not None


@pytest.mark.parametrize(
    "metadata",
    [{"issuer": "https://another.example.com"}, {"jwks_uri": "http://keys.example.com/keys"}, {"jwks_uri": None}],
    ids=["another issuer", "keys over plain http", "no keys"],
)
async def test_metadata_that_cannot_be_trusted_is_not(
    metadata: dict[str, str | None], keys: KeySet, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    issuer.metadata = metadata
    with pytest.raises(Unavailable):
        await keys.find("one")
    assert "cannot be fetched: its metadata" in caplog.text


async def test_a_single_key_needs_no_name(keys: KeySet, issuer: Issuer) -> None:
    assert await keys.find(None) is await keys.find("one")
    issuer.keys = [SigningKey.new("a", "ES256"), SigningKey.new("b", "ES256")]
    await keys.find("b")
    assert await keys.find(None) is None
