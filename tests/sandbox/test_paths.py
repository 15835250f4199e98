"""The same batches at the path of a published mock server."""

from collections.abc import Callable
from typing import Any

import anthropic
import httpx2
import pytest

from batches_mcp.sandbox import ManualClock, Sandbox

Ask = Callable[..., dict[str, Any]]

PATH = "/v1/messages/batches"
MOCK = "/rest/anthropic-message-batches-api/1.0.0/messages/batches"


@pytest.mark.parametrize("path", [PATH, MOCK])
def test_the_whole_life(raw: httpx2.Client, ask: Ask, clock: ManualClock, path: str) -> None:
    headers = {"anthropic-version": "2023-06-01"}
    created = raw.post(path, json={"requests": [ask("a"), ask("b")]}, headers=headers).json()
    assert raw.get(f"{path}/{created['id']}").json() == created
    assert raw.get(path).json()["data"] == [created]
    clock.advance(5)
    ended = raw.get(f"{path}/{created['id']}").json()
    assert ended["results_url"] == f"{str(raw.base_url).rstrip('/')}{path}/{created['id']}/results"
    assert raw.get(ended["results_url"]).text.count("\n") == 2
    assert raw.post(f"{path}/{created['id']}/cancel").headers["x-sandbox-answer"] == "cancel-ended"
    assert raw.delete(f"{path}/{created['id']}").json()["type"] == "message_batch_deleted"
    assert raw.get(f"{path}/{created['id']}/results").status_code == 404


def test_one_batch_seen_from_both(
    sandbox: Sandbox, client: anthropic.Anthropic, raw: httpx2.Client, ask: Ask, clock: ManualClock
) -> None:
    created = raw.post(MOCK, json={"requests": [ask()]}).json()
    clock.advance(5)
    seen = client.messages.batches.retrieve(created["id"])
    assert seen.results_url == f"{sandbox.url}{PATH}/{created['id']}/results"
    assert [row.custom_id for row in client.messages.batches.results(created["id"])] == ["a"]


@pytest.mark.parametrize("path", [PATH, MOCK])
def test_errors_are_the_same(raw: httpx2.Client, path: str) -> None:
    answers = [
        raw.put(path),
        raw.get(f"{path}/msgbatch_1"),
        raw.post(path, content=b"{"),
        raw.get(f"{path}/"),
        raw.get(path, headers={"x-api-key": ""}),
    ]
    assert [answer.status_code for answer in answers] == [405, 404, 400, 404, 401]
