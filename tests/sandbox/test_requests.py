"""The request log: what arrived, exactly, and no credential."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import anthropic
import httpx2

from batches_mcp.sandbox import ManualClock, RecordedRequest, Sandbox, fingerprint
from batches_mcp.sandbox.requestlog import RequestLog

PATH = "/v1/messages/batches"


def mine(sandbox: Sandbox, api_key: str) -> list[RecordedRequest]:
    shown = {fingerprint(api_key), f"Bearer {fingerprint(api_key)}"}
    return [entry for entry in sandbox.requests if {entry.header("x-api-key"), entry.header("authorization")} & shown]


def test_requests_as_they_arrived(
    sandbox: Sandbox, raw: httpx2.Client, api_key: str, clock: ManualClock, ask: Callable[..., Any]
) -> None:
    at = clock.now()
    created = raw.post(PATH, json={"requests": [ask()]})
    raw.get(f"{PATH}/a%2Fb", params={"x": "1 2"}, headers={"X-Mixed": "Case"})
    first, second = mine(sandbox, api_key)
    assert (first.method, first.path, first.query, first.status) == ("POST", PATH, "", 200)
    assert first.body == created.request.content
    assert (first.body_bytes, first.request_id, first.at) == (len(first.body), created.headers["request-id"], at)
    assert (second.method, second.path, second.query, second.status) == ("GET", f"{PATH}/a%2Fb", "x=1+2", 404)
    assert second.header("x-mixed") == second.header("X-MIXED") == "Case"
    assert second.header("x-absent") is None
    assert (second.body, second.body_bytes) == (b"", 0)


def test_only_the_start_of_a_body_is_kept(sandbox: Sandbox, raw: httpx2.Client, api_key: str) -> None:
    body = b'{"x": "' + b"y" * 200_000 + b'"}'
    raw.post(PATH, content=body)
    (entry,) = mine(sandbox, api_key)
    assert entry.body == body[: 64 * 1024]
    assert entry.body_bytes == len(body)


def test_all_bodies_together_are_bounded() -> None:
    log = RequestLog()
    entry = RecordedRequest(datetime.now(UTC), "POST", PATH, "", (), b"x" * 65_536, 65_536, 200, "created", "req_1")
    for _ in range(1_000):
        log.add(entry)
    assert sum(len(kept.body) for kept in log.entries()) == 8 * 1024 * 1024
    for _ in range(2_000):
        log.add(replace(entry, body=b""))
    assert len(log.entries()) == 1_000
    log.clear()
    assert log.entries() == []


def test_no_credential_is_shown(sandbox: Sandbox, api_key: str) -> None:
    secrets = {
        "x-api-key": api_key,
        "authorization": f"Bearer {api_key}-bearer",
        "proxy-authorization": f"Basic {api_key}-proxy",
        "cookie": f"session={api_key}-cookie",
    }
    httpx2.get(sandbox.url + PATH, headers={**secrets, "anthropic-version": "2026-10-21"})
    entry = mine(sandbox, api_key)[-1]
    assert entry.header("authorization") == f"Bearer {fingerprint(api_key + '-bearer')}"
    assert api_key not in repr(entry)
    assert api_key not in repr(sandbox)


def test_sdk_requests(sandbox: Sandbox, client: anthropic.Anthropic, api_key: str) -> None:
    client.messages.batches.list(limit=3)
    (entry,) = mine(sandbox, api_key)
    assert (entry.method, entry.query, entry.header("anthropic-version")) == ("GET", "limit=3", "2026-10-21")


def test_an_answered_request_is_in_the_log(sandbox: Sandbox, raw: httpx2.Client, api_key: str) -> None:
    for number in range(1, 50):
        raw.get(PATH)
        assert len(mine(sandbox, api_key)) == number
