"""What a batch may cost and has cost, in US dollars.

Prices come from the table that the installed genai-prices carries; it is never updated over the network. A batch costs
half the standard price in every token category:
https://platform.claude.com/docs/en/build-with-claude/batch-processing#pricing
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from decimal import Decimal
from functools import cache
from typing import Any

from batches_mcp.batch.requests.demand import BYTES_PER_TOKEN, FEWEST_BYTES_PER_TOKEN, MOST_BYTES_PER_TOKEN, Demand
from batches_mcp.batch.tokens import LONG_PROMPT_TOKENS, Tariff, Tokens

_BATCH_SHARE = Decimal("0.5")
_PROVIDER = "anthropic"
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Prices:
    """Standard prices in dollars a token, by the categories of `usage`."""

    input: Decimal
    cache_write: Decimal
    cache_write_1h: Decimal
    cache_read: Decimal
    output: Decimal


def estimate(demand: Mapping[Tariff, Demand]) -> dict[str, Any]:
    """What requests may cost, before they are sent.

    Low is the input alone, at many bytes a token; high is the input at few bytes a token and all the output that
    `max_tokens` allows. Caching, surcharges for `inference_geo` and the fees of server tools are not in it. Requests of
    a model whose price is not known are left out of the cost, and the model is named.
    """
    low = high = Decimal(0)
    unknown = set()
    for tariff, asked in demand.items():
        prices = prices_of(tariff)
        if prices is None:
            unknown.add(tariff.model)
            continue
        # A prompt that may be long may also turn out not to be.
        least = prices_of(Tariff(tariff.model)) or prices
        low += least.input * math.floor(asked.text_bytes / MOST_BYTES_PER_TOKEN)
        high += prices.input * math.ceil(asked.text_bytes / FEWEST_BYTES_PER_TOKEN) + prices.output * asked.max_tokens
    return {
        "requests": sum(asked.requests for asked in demand.values()),
        "input_tokens": round(sum(asked.text_bytes for asked in demand.values()) / BYTES_PER_TOKEN),
        "max_output_tokens": sum(asked.max_tokens for asked in demand.values()),
        "cost_usd": {"low": _usd(low * _BATCH_SHARE), "high": _usd(high * _BATCH_SHARE)},
        "standard_cost_usd": {"low": _usd(low), "high": _usd(high)},
        "price_table": price_table(),
        "unknown_models": sorted(unknown),
    }


def actual_usd(used: Mapping[Tariff, Tokens]) -> float | None:
    """What the tokens of a batch cost; None when the price of one of its models is not known."""
    categories = actual_usd_by_category(used)
    return None if categories is None else _usd(sum(map(Decimal, map(str, categories.values())), Decimal(0)))


def actual_usd_by_category(used: Mapping[Tariff, Tokens]) -> dict[str, float] | None:
    """The same, by the token counts of `usage`."""
    spent = dict.fromkeys(_CATEGORIES, Decimal(0))
    for tariff, tokens in used.items():
        if not any(astuple(tokens)):
            continue
        prices = prices_of(tariff)
        if prices is None:
            return None
        hour = tokens.cache_creation_1h_input_tokens
        spent["input_tokens"] += prices.input * tokens.input_tokens
        spent["cache_creation_input_tokens"] += (
            prices.cache_write * (tokens.cache_creation_input_tokens - hour) + prices.cache_write_1h * hour
        )
        spent["cache_read_input_tokens"] += prices.cache_read * tokens.cache_read_input_tokens
        spent["output_tokens"] += prices.output * tokens.output_tokens
    return {name: _usd(usd * _BATCH_SHARE) for name, usd in spent.items()}


_CATEGORIES = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")


def price_table() -> str:
    """Which prices are used: the table's name and version."""
    import genai_prices

    return f"genai-prices {genai_prices.__version__}"


@cache
def prices_of(tariff: Tariff) -> Prices | None:
    """The standard prices of a tariff; None when they are not known."""
    import genai_prices  # slow to import, and only money needs it

    # The table prices whole requests, whose length decides the tier: ask it about one that is certainly within.
    prompt = LONG_PROMPT_TOKENS * 2 if tariff.long_prompt else 1_000

    def price(**usage: int) -> genai_prices.types.PriceCalculation:
        return genai_prices.calc_price(
            genai_prices.Usage(input_tokens=prompt, **usage), tariff.model, provider_id=_PROVIDER
        )

    try:
        return Prices(
            input=price().input_price / prompt,
            cache_write=price(cache_write_tokens=prompt).input_price / prompt,
            cache_write_1h=price(cache_write_tokens=prompt, cache_write_1h_tokens=prompt).input_price / prompt,
            cache_read=price(cache_read_tokens=prompt).input_price / prompt,
            output=price(output_tokens=1_000).output_price / 1_000,
        )
    except LookupError:
        return None


def _usd(amount: Decimal) -> float:
    """Dollars, to a ten-thousandth of a cent."""
    return float(round(amount, _DIGITS))
