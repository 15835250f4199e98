"""Token counts as the API reports them in a message's `usage`, and what their price depends on."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import NamedTuple

# Some models cost more, for every token of a request, above this length of its prompt:
# https://platform.claude.com/docs/en/about-claude/pricing#long-context-pricing
LONG_PROMPT_TOKENS = 100_000


@dataclass(frozen=True, slots=True)
class Tokens:
    """Counts that add up; those for an hour are among `cache_creation_input_tokens`."""

    input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_creation_1h_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(*(one + another for one, another in zip(astuple(self), astuple(other), strict=True)))

    @property
    def prompt_tokens(self) -> int:
        return self.input_tokens + self.cache_creation_input_tokens + self.cache_read_input_tokens


class Tariff(NamedTuple):
    """What decides the prices of a request: its model, and whether its prompt is long."""

    model: str
    long_prompt: bool = False


def tariff(model: str, tokens: Tokens) -> Tariff:
    """The tariff of one request, whose tokens these are."""
    return Tariff(model, tokens.prompt_tokens > LONG_PROMPT_TOKENS)
