"""The gateway does what its log says, and never makes two batches of one create."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import datetime

import httpx2
import pytest

from batches_mcp.sandbox import ManualClock, Sandbox, running_sandbox
from tests.soak.records import batches_of
from tests.soak.schedule import Content
from tests.support.fates import ACCEPTED, FATES, REFUSED
from tests.support.gateway import Gateway, running_gateway

HEADERS = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
PATH = "/v1/messages/batches"


@pytest.fixture(scope="module")
def played() -> Iterator[tuple[Sandbox, Gateway, list[httpx2.Response | None]]]:
    """A hundred and fifty creates through a gateway, and what their senders saw; then an hour passes."""
    with ExitStack() as stack:
        sandbox = stack.enter_context(running_sandbox(clock=ManualClock()))
        gateway = stack.enter_context(running_gateway(sandbox, "gateway"))
        answers: list[httpx2.Response | None] = []
        client = stack.enter_context(httpx2.Client(headers=HEADERS))
        for number in range(150):
            content = Content(f"c{number}", 2, common=False)
            try:
                answers.append(client.post(f"{gateway.url}{PATH}", json={"requests": content.requests}))
            except httpx2.TransportError:
                answers.append(None)
            gateway.advance(1)
        gateway.advance(3_600)
        yield sandbox, gateway, answers


def test_a_create_makes_the_batch_that_its_fate_says(
    played: tuple[Sandbox, Gateway, list[httpx2.Response | None]],
) -> None:
    sandbox, gateway, answers = played
    made = {each.content: each.id for each in batches_of(sandbox)}
    assert len(batches_of(sandbox)) == len(made)
    assert {post.fate for post in gateway.posts} == set(FATES["create"])
    for post, answer in zip(gateway.posts, answers, strict=True):
        assert (post.content in made) is not (post.fate in REFUSED or post.fate.startswith("unsent")), post
        assert post.batch_id == made.get(post.content)
        if post.fate in ACCEPTED:
            assert answer is not None
            assert answer.json()["id"] == post.batch_id
        elif post.fate in REFUSED:
            assert answer is not None
            assert answer.status_code == int(post.fate)


def test_what_is_late_comes_up_to_600_s_later(played: tuple[Sandbox, Gateway, list[httpx2.Response | None]]) -> None:
    sandbox, gateway, _ = played
    late = [post for post in gateway.posts if post.fate.startswith("late")]
    assert len(late) > 5
    for post in late:
        batch = httpx2.get(f"{sandbox.url}{PATH}/{post.batch_id}", headers=HEADERS).json()
        assert 30 <= datetime.fromisoformat(batch["created_at"]).timestamp() - post.at_s <= 601


def test_its_date_is_off_by_up_to_90_s_and_drifts(
    played: tuple[Sandbox, Gateway, list[httpx2.Response | None]],
) -> None:
    sandbox, gateway, _ = played
    skews = []
    for _ in range(8):
        skews.append(gateway.date_s - gateway.now_s)
        sandbox.clock.advance(900)
    assert all(abs(skew) <= 90 for skew in skews)
    assert len({round(skew) for skew in skews}) > 4


def test_what_it_does_follows_from_the_seed() -> None:
    fates = []
    with running_sandbox(clock=ManualClock()) as sandbox, httpx2.Client(headers=HEADERS) as client:
        for seed in ("a", "a", "b"):
            with running_gateway(sandbox, seed) as gateway:
                for name in ("x", "y", "x", "z") * 4:
                    body = {"requests": Content(name, 1, common=False).requests}
                    with suppress(httpx2.TransportError):
                        client.post(f"{gateway.url}{PATH}", json=body)
            fates.append([(post.content, post.fate) for post in gateway.posts])
    assert fates[0] == fates[1]
    assert fates[0] != fates[2]


def test_a_large_create_is_cut_while_it_is_sent() -> None:
    content = Content("c", 2, common=False, large=True)
    with (
        running_sandbox(clock=ManualClock()) as sandbox,
        running_gateway(sandbox, "large") as gateway,
        httpx2.Client(headers=HEADERS) as client,
    ):
        while not gateway.met["create: unsent, cut"]:
            with suppress(httpx2.TransportError):
                client.post(f"{gateway.url}{PATH}", json={"requests": content.requests})
        cut = gateway.posts[-1]
        assert not cut.whole
        assert cut.batch_id is None


def test_calm_lets_everything_pass() -> None:
    with running_sandbox(clock=ManualClock()) as sandbox, running_gateway(sandbox, "calm") as gateway:
        gateway.calm = True
        with httpx2.Client(headers=HEADERS) as client:
            for number in range(20):
                body = {"requests": Content(f"c{number}", 1, common=False).requests}
                assert client.post(f"{gateway.url}{PATH}", json=body).json()["type"] == "message_batch"
        assert len(batches_of(sandbox)) == 20
