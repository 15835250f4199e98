"""What the API reports of requests in a message's `usage`, and what its price depends on."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from decimal import Decimal
from typing import NamedTuple

# Some models cost more, for every token of a request, above this length of its prompt:
# https://platform.claude.com/docs/en/about-claude/pricing#long-context-pricing
LONG_PROMPT_TOKENS = 100_000

BATCH_TIER = "batch"
# Values of `inference_geo` at which nothing is added to the price; "not_available" is that of older models:
# https://platform.claude.com/docs/en/build-with-claude/data-residency
PLAIN_GEOS = (None, "", "global", "not_available")
# What the price of all tokens is multiplied with, by `Tariff.inference_geo`.
GEO_FACTORS = {"": Decimal(1), "us": Decimal("1.1")}


@dataclass(frozen=True, slots=True)
class Tokens:
    """Counts that add up; those for an hour are among `cache_creation_input_tokens`.

    `unpriced_requests` counts the requests that cost more than can be seen from their `usage`.
    """

    input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_creation_1h_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    output_tokens: int = 0
    web_search_requests: int = 0
    unpriced_requests: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(*(one + another for one, another in zip(astuple(self), astuple(other), strict=True)))

    def used(self) -> dict[str, int]:
        """What is said of all of them in an answer or a report."""
        return {
            "input_tokens": self.input_tokens,
            "cache_creation_input_tokens": self.cache_creation_input_tokens,
            "cache_read_input_tokens": self.cache_read_input_tokens,
            "output_tokens": self.output_tokens,
        }


class Tariff(NamedTuple):
    """What decides the prices of a request: its model, whether its prompt is long, where and how it is served.

    `inference_geo` is "" where nothing is added to the price, else as the API names it; `service_tier` is the API's.
    """

    model: str
    long_prompt: bool = False
    inference_geo: str = ""
    service_tier: str = BATCH_TIER
