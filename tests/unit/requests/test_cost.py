"""What a batch may cost and has cost, against prices worked out by hand."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batches_mcp.requests.cost import actual_usd, actual_usd_by_category, dollars, estimate, price_table, prices_of
from batches_mcp.requests.demand import Demand, Unbounded, asked, most_text_tokens
from batches_mcp.requests.scan import RequestRules, scan
from batches_mcp.requests.tokens import LONG_PROMPT_TOKENS, Tariff, Tokens

MILLION = 1_000_000
# https://platform.claude.com/docs/en/about-claude/pricing, as of 2026-11-20, standard, dollars per million tokens:
# input, cache write, cache write for an hour, cache read, output.
PRICES = {
    Tariff("claude-haiku-5-5"): (0.10, 0.125, 0.20, 0.01, 0.50),
    Tariff("claude-haiku-5-5", long_prompt=True): (0.50, 0.625, 1.00, 0.05, 2.50),
    Tariff("claude-sonnet-5-5"): (2.00, 2.50, 4.00, 0.10, 10.00),
    Tariff("claude-sonnet-5-5", long_prompt=True): (2.00, 2.50, 4.00, 0.10, 10.00),
    Tariff("claude-opus-5-5"): (4.00, 5.00, 8.00, 0.20, 20.00),
    Tariff("claude-fable-5-2"): (8.00, 10.00, 16.00, 0.20, 40.00),
    Tariff("claude-haiku-4-5-20251001"): (1.00, 1.25, 2.00, 0.10, 5.00),
}
UNKNOWN = Tariff("claude-from-the-future")
DEMANDS = st.dictionaries(
    st.sampled_from([*PRICES, UNKNOWN]),
    st.builds(
        lambda requests, size, most, cached: Demand(
            requests, size, most, size // 2 + requests, size // 4, size // 8, 0, size * cached
        ),
        st.integers(1, 100_000),
        st.integers(1, 10**9),
        st.integers(1, 10**10),
        st.booleans(),
    ),
)


@pytest.mark.parametrize(("kind", "prices"), PRICES.items(), ids=str)
def test_prices_are_those_of_the_price_list(kind: Tariff, prices: tuple[float, ...]) -> None:
    found = prices_of(kind)
    assert found is not None
    listed = (found.input, found.cache_write, found.cache_write_1h, found.cache_read, found.output)
    assert tuple(float(price * MILLION) for price in listed) == pytest.approx(prices)


@pytest.mark.parametrize(("kind", "prices"), PRICES.items(), ids=str)
def test_a_batch_costs_half_in_every_category(kind: Tariff, prices: tuple[float, ...]) -> None:
    used = Tokens(MILLION, 2 * MILLION, MILLION, MILLION, MILLION)
    assert actual_usd({kind: used}) == pytest.approx(sum(prices) / 2)
    assert actual_usd_by_category({kind: used}) == pytest.approx(
        {
            "input_tokens": prices[0] / 2,
            "cache_creation_input_tokens": (prices[1] + prices[2]) / 2,
            "cache_read_input_tokens": prices[3] / 2,
            "output_tokens": prices[4] / 2,
            "web_search_requests": 0.0,
        }
    )


def test_the_prices_of_many_requests_are_those_of_each() -> None:
    """A long sum of short requests is not a long request: only one model has prices by the length of a prompt."""
    assert actual_usd({Tariff("claude-haiku-5-5"): Tokens(input_tokens=10 * MILLION)}) == 0.5


def test_what_comes_on_top_of_the_tokens() -> None:
    used = Tokens(input_tokens=MILLION, web_search_requests=1_000)
    assert actual_usd({Tariff("claude-opus-5-5"): used}) == 2.0 + 10
    assert actual_usd({Tariff("claude-opus-5-5", inference_geo="us"): used}) == 2.2 + 10
    assert actual_usd({Tariff("claude-opus-5-5", service_tier="standard"): used}) == 4.0 + 10
    for odd in (Tariff("claude-opus-5-5", inference_geo="moon"), Tariff("claude-opus-5-5", service_tier="priority")):
        assert actual_usd({odd: used}) is None
    assert actual_usd({Tariff("claude-opus-5-5"): replace(used, unpriced_requests=1)}) is None


def test_an_unknown_model_has_no_cost() -> None:
    assert actual_usd({UNKNOWN: Tokens(input_tokens=1)}) is None
    assert actual_usd({UNKNOWN: Tokens(), Tariff("claude-opus-5-5"): Tokens(input_tokens=MILLION)}) == 2.0
    assert actual_usd({}) == 0.0


def test_an_estimate_in_figures() -> None:
    demand = {Tariff("claude-sonnet-5-5"): Demand(10, 35_000, 10_000, most_input_tokens=17_500, searches=3)}
    known = {
        "requests": 10,
        "input_tokens": 10_000,
        "max_output_tokens": 10_000,
        # 35,000 bytes: 7,000 tokens at least, 17,500 at most, at a dollar a million; 10,000 of output at five; searches.
        "cost_usd": {"low": 0.007, "high": 0.0175 + 0.05 + 0.03},
        "standard_cost_usd": {"low": 0.014, "high": 0.035 + 0.1 + 0.03},
        "price_table": price_table(),
        "unknown_models": [],
        "unbounded": [],
    }
    assert estimate(demand) == known
    assert estimate({**demand, UNKNOWN: Demand(1, 3_500, 500)}) == known | {
        "requests": 11,
        "input_tokens": 11_000,
        "max_output_tokens": 10_500,
        "cost_usd": {"low": 0.007, "high": None},
        "standard_cost_usd": {"low": 0.014, "high": None},
        "unknown_models": ["claude-from-the-future"],
    }
    assert estimate({UNKNOWN: Demand(1, 3_500, 500)})["cost_usd"] == {"low": None, "high": None}
    assert price_table().startswith("genai-prices 0.")


def test_reasons_are_told_once_with_their_number() -> None:
    one, two = Demand(), Demand()
    one.cannot_bound(Unbounded("line 1", "a", "this"))
    one.cannot_bound(Unbounded("line 2", "b", "this"))
    two.cannot_bound(Unbounded("line 3", "c", "this"))
    two.cannot_bound(Unbounded("line 4", "d", "that"))
    assert estimate({Tariff("claude-opus-5-5"): one, Tariff("claude-haiku-5-5"): two})["unbounded"] == [
        {"where": "line 1", "custom_id": "a", "reason": "this", "requests": 3},
        {"where": "line 4", "custom_id": "d", "reason": "that", "requests": 1},
    ]


@given(DEMANDS)
def test_low_is_never_above_high(demand: dict[Tariff, Demand]) -> None:
    found = estimate(demand)
    assert (UNKNOWN.model in found["unknown_models"]) == (UNKNOWN in demand)
    for cost in (found["cost_usd"], found["standard_cost_usd"]):
        assert (cost["high"] is None) == (UNKNOWN in demand)
        assert cost["high"] is None or 0 <= cost["low"] <= cost["high"]


def row(content: Any, *, model: str = "claude-haiku-5-5", max_tokens: int = 100) -> bytes:
    message = {"role": "user", "content": content}
    return json.dumps(
        {"custom_id": "a", "params": {"model": model, "max_tokens": max_tokens, "messages": [message]}}
    ).encode()


def block(media_type: str, size: int) -> dict[str, Any]:
    data = base64.b64encode(b"x" * size).decode()
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}


def test_an_image_counts_as_the_tokens_it_makes_and_not_as_text() -> None:
    image = row([block("image/png", 3_000_000), {"type": "text", "text": "What is it?"}])
    found = asked(image, "claude-haiku-5-5")
    assert (found.attached_tokens, found.text_bytes < 400, found.most_tokens < 5_000) == (1_600, True, True)
    pages = row([block("application/pdf", 750_000) | {"type": "document"}])
    found = asked(pages, "claude-haiku-5-5")
    assert 20_000 <= found.attached_tokens <= 30_000
    assert found.most_tokens == 1_000_000
    assert asked(pages, "claude-haiku-4-5").most_tokens == 200_000


@given(st.text())
def test_no_text_makes_more_tokens_than_bytes(text: str) -> None:
    encoded = text.encode("utf-8", "replace")
    assert len(encoded) / 2 <= most_text_tokens(encoded) <= len(encoded) + 1


CONTENT = st.recursive(
    st.none() | st.booleans() | st.text(max_size=5) | st.sampled_from(["image", "document", "base64", "tool_result"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "source", "content", "data", "cache_control", "edits"]), inner)
    ),
    max_leaves=20,
)


@given(CONTENT, st.dictionaries(st.sampled_from(["tools", "system", "container", "context_management"]), CONTENT))
def test_whatever_a_request_holds_it_has_a_bound_or_a_reason(content: Any, others: dict[str, Any]) -> None:
    request = json.loads(row(content))
    request["params"] |= others
    found = asked(json.dumps(request).encode(), "claude-haiku-5-5")
    assert found.reason or 0 < found.most_tokens <= 1_000_000


def test_a_scan_tells_requests_apart_by_tariff_and_part() -> None:
    rows = [row("x"), row("y" * 400_000), row("z", model="claude-opus-5-5", max_tokens=7)]
    named = [each.replace(b'"a"', f'"r{number}"'.encode(), 1) for number, each in enumerate(rows)]
    found = scan(enumerate([*named, named[0], b"{}"]), RequestRules("2023-06-01"), str)
    assert len(found.invalid) == 2
    assert found.demand == found.parts[0].demand
    assert {kind: (asks.requests, asks.max_tokens) for kind, asks in found.demand.items()} == {
        Tariff("claude-haiku-5-5"): (1, 100),
        Tariff("claude-haiku-5-5", long_prompt=True): (1, 100),
        Tariff("claude-opus-5-5"): (1, 7),
    }
    assert sum(asks.text_bytes for asks in found.demand.values()) == len("x" + "y" * 400_000 + "z")


@pytest.mark.parametrize("model", ["claude-haiku-5-5", "claude-sonnet-5-5"])
@pytest.mark.parametrize("bytes_per_token", [2.0, 2.5, 3.5, 5.0])
@pytest.mark.parametrize("size", [190_000, 201_000, 240_000, 251_000, 300_000, 345_000, 355_000, 499_000, 600_000])
def test_the_cost_lies_between_low_and_high_wherever_the_tariff_changes(
    model: str, bytes_per_token: float, size: int
) -> None:
    one = row("y" * size, model=model)
    expected = estimate(scan([(0, one)], RequestRules("2023-06-01"), str).demand)["cost_usd"]
    for answered in (0, 100):
        tokens = Tokens(input_tokens=int(len(one) / bytes_per_token), output_tokens=answered)
        cost = actual_usd({Tariff(model, tokens.input_tokens > LONG_PROMPT_TOKENS): tokens})
        assert cost is not None
        assert expected["low"] <= cost + 1e-6
        assert cost <= expected["high"] + 1e-6


@pytest.mark.parametrize(
    ("amount_usd", "words"),
    [
        (0, "0.00"),
        (0.0000001, "0.0000001"),
        (0.00071234, "0.00071"),
        (0.0007, "0.0007"),
        (0.00999, "0.01"),
        (0.0345, "0.035"),
        (0.0996, "0.10"),
        (0.5, "0.50"),
        (0.999, "1.00"),
        (1.2375, "1.24"),
        (1_234_567.5, "1,234,567.50"),
        (1e16, "10,000,000,000,000,000.00"),
    ],
)
def test_money_is_rounded_to_what_a_person_reads(amount_usd: float, words: str) -> None:
    assert dollars(amount_usd) == words
