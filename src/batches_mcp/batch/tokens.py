"""Token counts as the API reports them in a message's `usage`."""

from __future__ import annotations

from dataclasses import astuple, dataclass


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
