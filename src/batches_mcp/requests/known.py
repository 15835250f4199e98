"""What is said of a model that is not known here: which one was probably meant, and which are known."""

from __future__ import annotations

import re
from functools import cache

from batches_mcp.core.diagnostics import nearest
from batches_mcp.core.redact import excerpt
from batches_mcp.requests.cost import prices_of
from batches_mcp.requests.models import MAX_TOKENS
from batches_mcp.requests.tokens import Tariff

_DATED = re.compile(r"-\d{8}$")


@cache
def cheapest_first() -> tuple[str, ...]:
    """The models that are known, without dated names of the same, by the price of their input and output tokens."""

    def price_usd(model: str) -> float:
        prices = prices_of(Tariff(model))
        return float(prices.input + prices.output) if prices else float("inf")

    return tuple(sorted((model for model in MAX_TOKENS if not _DATED.search(model)), key=price_usd))


def unknown_model(model: str) -> str:
    """`'gpt' is not known here; known are, the cheapest first, ...`; it takes a while to find what was meant."""
    near = nearest(model, tuple(MAX_TOKENS))
    meant = f"did you mean `{near}`? Known" if near else "known"
    return f"{excerpt(model, 60)!r} is not known here; {meant} are, the cheapest first, {', '.join(cheapest_first())}"
