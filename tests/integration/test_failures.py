"""Everything an upstream can do wrong: what is retried, what never is, and what the caller is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.client.client import Client
from mcp.types import CallToolResult

from batches_mcp.core.limits import LIMITS, Limits
from batches_mcp.exchange.transport import NEVER_SENT
from batches_mcp.exchange.upstream import Clock
from tests.support.scripted import CLOSE, HANG, RESET, Received, Step, answer, failure, scripted_upstream
from tests.support.servers import (
    CANCEL,
    CAPABILITY,
    CREATE,
    DELETE,
    LIST,
    REQUEST,
    RESULTS,
    RETRIEVE,
    SEED,
    error_of,
    server_for,
    text_of,
)

pytestmark = pytest.mark.anyio

ARGUMENTS: dict[str, dict[str, Any]] = {
    LIST: {},
    CREATE: {"requests": [REQUEST]},
    RETRIEVE: {"message_batch_id": "msgbatch_1"},
    RESULTS: {"message_batch_id": "msgbatch_1"},
    CANCEL: {"message_batch_id": "msgbatch_1"},
    DELETE: {"message_batch_id": "msgbatch_1"},
}
FINE = answer(200, {"id": "msgbatch_1"})


class Pauses:
    """A clock whose sleeps take no time and are remembered."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)

    def clock(self) -> Clock:
        return Clock(sleep=self.sleep, jitter=lambda: 0.0)


async def outcome(
    tool: str, *steps: Step, limits: Limits = LIMITS, file: Path = CAPABILITY
) -> tuple[CallToolResult, Sequence[Received], list[float]]:
    pauses = Pauses()
    with scripted_upstream(*steps) as upstream:
        async with Client(server_for(upstream.url, limits=limits, clock=pauses.clock(), file=file)) as client:
            result = await client.call_tool(tool, ARGUMENTS[tool])
        return result, upstream.received, pauses.seconds


@pytest.mark.parametrize(
    "step",
    [failure(408, "timeout_error", "x"), failure(409, "conflict_error", "x"), failure(500, "api_error", "x"),
     failure(504, "timeout_error", "x"), answer(502, b"<html>", kind="text/html"), RESET, CLOSE,
     b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\ncontent-type: application/json\r\n\r\n{\"id\":", b"garbage\r\n\r\n"],
    ids=["408", "409", "500", "504", "502-html", "reset", "closed", "cut-body", "garbage"],
)  # fmt: skip
class TestAmbiguousFailures:
    """The upstream may have acted on the request."""

    @pytest.mark.parametrize("tool", [LIST, RETRIEVE, DELETE])
    async def test_repeatable_calls_are_tried_again(self, tool: str, step: Step) -> None:
        result, received, pauses = await outcome(tool, step, step, FINE)
        assert not result.is_error
        assert len(received) == 3
        assert pauses == [0.5, 1.0]

    async def test_others_are_sent_once_and_the_caller_is_told_to_look_first(self, step: Step) -> None:
        result, received, _ = await outcome(CANCEL, step, FINE)
        assert [each.method for each in received].count("POST") == 1
        assert error_of(result)["retryable"] is False
        assert "may have been carried out" in text_of(result)
        assert "Do not repeat the call before that" in text_of(result)


@pytest.mark.parametrize("tool", [LIST, CREATE, CANCEL, DELETE])
@pytest.mark.parametrize("status", [429, 529])
async def test_what_was_turned_away_unread_is_always_tried_again(tool: str, status: int) -> None:
    result, received, pauses = await outcome(tool, failure(status, "x", "x", retry_after="2"), FINE)
    assert not result.is_error
    assert (len(received), pauses) == (2, [2.0])


@pytest.mark.parametrize("tool", [LIST, CREATE])
async def test_a_refused_connection_is_tried_again_and_then_named(tool: str) -> None:
    pauses = Pauses()
    with scripted_upstream(FINE) as upstream:
        gone = upstream.url
    async with Client(server_for(gone, clock=pauses.clock())) as client:
        result = await client.call_tool(tool, ARGUMENTS[tool])
    assert pauses.seconds == [0.5, 1.0]
    assert error_of(result)["type"] == "connection_error"
    assert f"no connection to {gone.removeprefix('http://')}" in text_of(result)
    assert "A retry may help." in text_of(result)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422])
async def test_a_refusal_is_final(status: int) -> None:
    result, received, _ = await outcome(LIST, failure(status, "some_error", "Because."))
    assert len(received) == 1
    assert text_of(result).startswith(f"some_error (HTTP {status}, request req_scripted): Because.\nNext: ")
    assert text_of(result).endswith("Retrying the same call will not help.")


NOT_YET = failure(404, "not_found_error", "Not found.", x_should_retry="false")


async def test_a_404_on_what_was_created_just_now_is_tried_again() -> None:
    pauses = Pauses()
    with scripted_upstream(FINE, NOT_YET, NOT_YET, FINE, FINE, NOT_YET) as upstream:
        async with Client(server_for(upstream.url, clock=pauses.clock())) as client:
            await client.call_tool(CREATE, ARGUMENTS[CREATE])
            assert not (await client.call_tool(RETRIEVE, ARGUMENTS[RETRIEVE])).is_error
            assert pauses.seconds == [0.5, 1.0]
            await client.call_tool(DELETE, ARGUMENTS[DELETE])
            gone = await client.call_tool(RETRIEVE, ARGUMENTS[RETRIEVE])
            assert error_of(gone)["status"] == 404
            assert len(upstream.received) == 6


async def test_a_minute_after_the_create_a_404_is_final() -> None:
    pauses, now_s = Pauses(), [1000.0]
    with scripted_upstream(FINE, NOT_YET) as upstream:
        async with Client(server_for(upstream.url, clock=replace(pauses.clock(), now_s=lambda: now_s[0]))) as client:
            await client.call_tool(CREATE, ARGUMENTS[CREATE])
            now_s[0] += 61
            assert error_of(await client.call_tool(RETRIEVE, ARGUMENTS[RETRIEVE]))["status"] == 404
    assert pauses.seconds == []


async def test_a_wrong_key_names_the_variable_it_came_from() -> None:
    result, _, _ = await outcome(LIST, failure(401, "authentication_error", "API key is invalid."))
    assert "does not accept the value of ANTHROPIC_API_KEY" in text_of(result)


async def test_the_upstreams_word_on_retrying_counts() -> None:
    _, received, _ = await outcome(LIST, failure(500, "api_error", "x", x_should_retry="false"), FINE)
    assert len(received) == 1
    _, received, _ = await outcome(LIST, failure(400, "api_error", "x", x_should_retry="true"), FINE)
    assert len(received) == 2


async def test_an_accounts_spend_limit_is_not_waited_for() -> None:
    body = {
        "type": "error",
        "error": {
            "type": "rate_limit_error",
            "message": "Limit.",
            "details": {"error_code": "enforced_spend_limit_reached"},
        },
    }
    result, received, _ = await outcome(CREATE, answer(429, body), FINE)
    assert len(received) == 1
    assert error_of(result)["error_code"] == "enforced_spend_limit_reached"


async def test_a_wait_longer_than_a_call_is_handed_to_the_caller() -> None:
    result, received, pauses = await outcome(
        LIST, failure(429, "rate_limit_error", "Slow down.", retry_after="120"), FINE
    )
    assert (len(received), pauses) == (1, [])
    assert error_of(result)["retry_after_s"] == 120
    assert text_of(result).endswith("A retry may help, after 120 s.")


@pytest.mark.parametrize(
    ("tool", "words"), [(LIST, "A retry may help."), (CANCEL, "Do not repeat the call before that")]
)
async def test_silence_ends_with_the_time_of_a_call(tool: str, words: str) -> None:
    result, received, _ = await outcome(tool, HANG, limits=Limits(call_s=1.5))
    assert len(received) == 1
    assert error_of(result)["type"] == "timeout"
    assert f"did not answer {received[0].method} within 1.5 s" in text_of(result)
    assert words in text_of(result)


async def test_a_redirect_is_not_followed() -> None:
    with scripted_upstream(FINE) as elsewhere:
        result, received, _ = await outcome(LIST, answer(307, b"", {"location": f"{elsewhere.url}/v1"}))
        assert elsewhere.received == []
    assert len(received) == 1
    assert "temporary_redirect (HTTP 307): " in text_of(result)
    assert "Redirects are not followed" in text_of(result)


async def test_html_where_json_is_due_points_at_the_base_url() -> None:
    result, _, _ = await outcome(LIST, answer(200, b"<html>Sign in</html>", kind="text/html; charset=utf-8"))
    assert "expected JSON, found text/html, 20 bytes" in text_of(result)
    assert "Check the base URL" in text_of(result)
    assert "Sign in" not in text_of(result)


async def test_a_404_in_html_points_at_the_base_url_too() -> None:
    result, _, _ = await outcome(LIST, answer(404, b"<html>Not here</html>", kind="text/html"))
    assert text_of(result).startswith(
        "not_found (HTTP 404): the upstream gave no reason: its answer is text/html, 21 bytes."
    )
    assert "Check the base URL" in text_of(result)


async def test_an_answer_beyond_all_bounds_is_not_read_to_its_end() -> None:
    result, _, _ = await outcome(LIST, answer(200, b" " * 300_000), limits=Limits(answer_bytes=100_000))
    assert error_of(result)["type"] == "answer_too_large"


async def test_an_answer_too_large_for_a_model_says_so() -> None:
    result, _, _ = await outcome(LIST, answer(200, {"data": ["x" * 50_000]}))
    assert "over the 40,000 one result may hold" in text_of(result)


async def test_forwarded_results_are_cut_to_what_one_answer_holds() -> None:
    lines = b"".join(
        b'{"custom_id":"r%d","result":{"type":"canceled"},"pad":"%s"}\n' % (n, b"x" * 900) for n in range(500)
    )
    result, _, _ = await outcome(RESULTS, answer(200, lines, kind="application/x-jsonl"), file=SEED)
    rows = result.structured_content["rows"]
    assert [row["custom_id"] for row in rows] == [f"r{n}" for n in range(len(rows))]
    assert result.structured_content["has_more"] is True
    assert 38_000 < len(text_of(result)) <= 40_000


@pytest.mark.parametrize("size", [1, 59_000, 60_001, 64_000, 70_000])
async def test_forwarded_results_that_were_read_to_their_end_say_so(size: int) -> None:
    """Escapes make the bytes on the wire many more than the characters of the answer."""
    lines = b'{"custom_id":"a","pad":"' + rb"\u00e9" * (size // 6) + b'"}\n{"custom_id":"b"}'
    result, _, _ = await outcome(RESULTS, answer(200, lines, kind="application/x-jsonl"), file=SEED)
    assert [row["custom_id"] for row in result.structured_content["rows"]] == ["a", "b"]
    assert result.structured_content["has_more"] is False


def test_every_exception_of_the_transport_is_mapped() -> None:
    """A new kind of transport error must not fall through: all share the base class that is caught."""
    never_sent = {kind.__name__ for kind in NEVER_SENT}
    kinds = {
        name
        for name in dir(httpx2)
        if isinstance(kind := getattr(httpx2, name), type) and issubclass(kind, httpx2.TransportError)
    }
    ambiguous = {"TransportError", "TimeoutException", "ReadTimeout", "WriteTimeout", "NetworkError", "ReadError", "WriteError",
                 "CloseError", "ProtocolError", "LocalProtocolError", "RemoteProtocolError", "SSEError"}  # fmt: skip
    assert kinds == never_sent | ambiguous
