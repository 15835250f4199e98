"""What a batch may cost and has cost, in US dollars.

Prices come from the table that the installed genai-prices carries; it is never updated over the network. A batch costs
half the standard price in every token category:
https://platform.claude.com/docs/en/build-with-claude/batch-processing#pricing
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import cache
from typing import Any

from batches_mcp.requests.demand import BYTES_PER_TOKEN, MOST_BYTES_PER_TOKEN, Demand
from batches_mcp.requests.tokens import BATCH_TIER, GEO_FACTORS, LONG_PROMPT_TOKENS, Tariff, Tokens

BATCH_SHARE = Decimal("0.5")
# What share of the standard price is paid; other tiers have prices of their own agreement.
_SHARES = {BATCH_TIER: BATCH_SHARE, "standard": Decimal(1)}
# https://platform.claude.com/docs/en/about-claude/pricing#web-search-tool: beside the tokens, and the same in a batch.
_SEARCH_USD = Decimal("0.01")
_PROVIDER = "anthropic"
_DIGITS = 6
_CENT = Decimal("0.01")


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

    Low is the text alone, at many bytes a token and read from the cache where that is asked for. High is all that may
    be read, at the price of writing it to the cache where that is asked for, all the output that `max_tokens` allows,
    and the searches; None when a model's price is not known (`unknown_models`) or something asked for has no limit
    (`unbounded`). Low is None when no price is known.
    """
    low = high = searches_usd = Decimal(0)
    unknown = set()
    priced = not demand
    for tariff, asks in demand.items():
        prices = prices_of(tariff)
        if prices is None:
            unknown.add(tariff.model)
            continue
        priced = True
        # A prompt that may be long may also turn out not to be.
        least = prices_of(tariff._replace(long_prompt=False)) or prices
        fresh_tokens = math.floor((asks.text_bytes - asks.cached_bytes) / MOST_BYTES_PER_TOKEN)
        # No prompt is shorter than a token.
        low += least.input * max(fresh_tokens, 0 if asks.cached_bytes else asks.requests)
        low += least.cache_read * math.floor(asks.cached_bytes / MOST_BYTES_PER_TOKEN)
        most = Tokens(
            input_tokens=asks.most_input_tokens - asks.most_written_tokens,
            cache_creation_input_tokens=asks.most_written_tokens,
            cache_creation_1h_input_tokens=asks.most_written_1h_tokens,
            output_tokens=asks.max_tokens,
        )
        high += sum(_standard(prices, most).values())
        searches_usd += asks.searches * _SEARCH_USD
    unbounded = Demand()
    for asks in demand.values():
        for each in asks.unbounded.values():
            unbounded.cannot_bound(each)
    known = not unknown and not unbounded.unbounded
    return {
        "requests": sum(asks.requests for asks in demand.values()),
        "input_tokens": sum(
            round(asks.text_bytes / BYTES_PER_TOKEN) + asks.attached_tokens for asks in demand.values()
        ),
        "max_output_tokens": sum(asks.max_tokens for asks in demand.values()),
        "cost_usd": {
            "low": _usd(low * BATCH_SHARE) if priced else None,
            "high": _usd(high * BATCH_SHARE + searches_usd) if known else None,
        },
        "standard_cost_usd": {
            "low": _usd(low) if priced else None,
            "high": _usd(high + searches_usd) if known else None,
        },
        "price_table": price_table(),
        "unknown_models": sorted(unknown),
        "unbounded": [asdict(each) for each in unbounded.unbounded.values()],
    }


def rounded(cost: Mapping[str, Any]) -> dict[str, Any]:
    """An estimate for callers: to the cent, below a dollar to a hundredth of one; without standard prices unknown."""
    found = dict(cost)
    for name in ("cost_usd", "standard_cost_usd"):
        low, high = cost[name]["low"], cost[name]["high"]
        found[name] = {"low": _rounded(low, ROUND_FLOOR), "high": at_most(high)}
        if name == "standard_cost_usd" and low is None and high is None:
            del found[name]
    return found


def at_most(amount_usd: float | None) -> float | None:
    """An amount for callers, rounded up: to the cent, below a dollar to a hundredth of one."""
    return _rounded(amount_usd, ROUND_CEILING)


def _rounded(amount_usd: float | None, rounding: str) -> float | None:
    if amount_usd is None:
        return None
    step = _CENT if amount_usd >= 1 else _CENT / 100
    return float(Decimal(str(amount_usd)).quantize(step, rounding))


def billed_usd(amount_usd: float | None) -> float | None:
    """A cost as shown: exact, but for one below a hundredth of a cent, which JSON would write with an exponent."""
    return at_most(amount_usd) if amount_usd is not None and amount_usd < _CENT / 100 else amount_usd


def dollars(amount_usd: float) -> str:
    """An amount as a person reads it: to the cent, below a dollar to two significant digits; without an exponent."""
    if not 0 < amount_usd < 1:
        return f"{amount_usd:,.2f}"
    text = f"{amount_usd:.{max(2, 1 - math.floor(math.log10(amount_usd)))}f}"
    to_the_cent = len("0.00")
    return text[:to_the_cent] + text[to_the_cent:].rstrip("0")


def actual_usd(used: Mapping[Tariff, Tokens]) -> float | None:
    """What a batch cost; None when the price of one of its models is not known, or a fee is not known."""
    categories = actual_usd_by_category(used)
    return None if categories is None else _usd(sum(map(Decimal, map(str, categories.values())), Decimal(0)))


def actual_usd_by_category(used: Mapping[Tariff, Tokens]) -> dict[str, float] | None:
    """The same, by the counts of `usage`."""
    spent = dict.fromkeys((*_CATEGORIES, "web_search_requests"), Decimal(0))
    for tariff, tokens in used.items():
        if not any(astuple(tokens)):
            continue
        prices = prices_of(tariff)
        share = _SHARES.get(tariff.service_tier)
        if prices is None or share is None or tokens.unpriced_requests:
            return None
        for name, usd in _standard(prices, tokens).items():
            spent[name] += usd * share
        spent["web_search_requests"] += tokens.web_search_requests * _SEARCH_USD
    return {name: _usd(usd) for name, usd in spent.items()}


_CATEGORIES = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")


def _standard(prices: Prices, tokens: Tokens) -> dict[str, Decimal]:
    """What tokens cost without the discount of batches, by category."""
    hour = tokens.cache_creation_1h_input_tokens
    written = tokens.cache_creation_input_tokens - hour
    usd = (
        prices.input * tokens.input_tokens,
        prices.cache_write * written + prices.cache_write_1h * hour,
        prices.cache_read * tokens.cache_read_input_tokens,
        prices.output * tokens.output_tokens,
    )
    return dict(zip(_CATEGORIES, usd, strict=True))


def price_table() -> str:
    """Which prices are used: the table's name and version."""
    import genai_prices

    return f"genai-prices {genai_prices.__version__}"


@cache
def prices_of(tariff: Tariff) -> Prices | None:
    """The standard prices of a tariff; None when they are not known."""
    import genai_prices  # slow to import, and only money needs it

    factor = GEO_FACTORS.get(tariff.inference_geo)
    if factor is None:
        return None

    # The table prices whole requests, whose length decides the tier: ask it about one that is certainly within.
    prompt = LONG_PROMPT_TOKENS * 2 if tariff.long_prompt else 1_000

    def price(**usage: int) -> genai_prices.types.PriceCalculation:
        return genai_prices.calc_price(
            genai_prices.Usage(input_tokens=prompt, **usage), tariff.model, provider_id=_PROVIDER
        )

    try:
        prices = Prices(
            input=price().input_price / prompt,
            cache_write=price(cache_write_tokens=prompt).input_price / prompt,
            cache_write_1h=price(cache_write_tokens=prompt, cache_write_1h_tokens=prompt).input_price / prompt,
            cache_read=price(cache_read_tokens=prompt).input_price / prompt,
            output=price(output_tokens=1_000).output_price / 1_000,
        )
    except LookupError:
        return None
    return Prices(*(getattr(prices, each.name) * factor for each in fields(Prices)))


def _usd(amount: Decimal) -> float:
    """Dollars, to a ten-thousandth of a cent."""
    return float(round(amount, _DIGITS))


def together(estimates: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Several `estimate`s as one."""
    numbers: Counter[str] = Counter()
    costs: dict[tuple[str, str], list[float | None]] = {(name, end): [] for name in _COSTS for end in ("low", "high")}
    tables: set[str] = set()
    unknown: set[str] = set()
    unbounded: dict[str, dict[str, Any]] = {}
    for each in estimates:
        numbers.update({name: each[name] for name in ("requests", "input_tokens", "max_output_tokens")})
        for (name, end), cost in costs.items():
            cost.append(each[name][end])
        tables.add(each["price_table"])
        unknown.update(each["unknown_models"])
        for found in each["unbounded"]:
            known = unbounded.get(found["reason"], found | {"requests": 0})
            unbounded[found["reason"]] = known | {"requests": known["requests"] + found["requests"]}
    return {
        **{name: numbers[name] for name in ("requests", "input_tokens", "max_output_tokens")},
        **{name: {"low": _low(costs[name, "low"]), "high": _high(costs[name, "high"])} for name in _COSTS},
        "price_table": ", ".join(sorted(tables)),
        "unknown_models": sorted(unknown),
        "unbounded": list(unbounded.values()),
    }


_COSTS = ("cost_usd", "standard_cost_usd")


def _low(costs: Sequence[float | None]) -> float | None:
    """The least they come to together: what is not known adds nothing, unless nothing is known."""
    known = [cost for cost in costs if cost is not None]
    return round(sum(known), 6) if known or not costs else None


def _high(costs: Sequence[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return round(sum(known), 6) if len(known) == len(costs) else None
