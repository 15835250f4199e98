"""Claude models that the Message Batches API is known to take, and the most tokens each may generate and read.

As of 2026-11-20, from https://platform.claude.com/docs/en/about-claude/models/overview. Models come and ceilings
change, so that what is said here is good for a warning and never for a refusal.
"""

from __future__ import annotations

_GENERATIONS = {
    128_000: (
        "claude-fable-5-2", "claude-mythos-5-2", "claude-fable-5-1", "claude-mythos-5-1", "claude-fable-5",
        "claude-mythos-5", "claude-mythos-preview", "claude-opus-5-5", "claude-opus-5", "claude-opus-4-8",
        "claude-opus-4-7", "claude-opus-4-6", "claude-sonnet-5-5", "claude-sonnet-5", "claude-sonnet-4-6",
        "claude-haiku-5-5",
    ),
    64_000: (
        "claude-opus-4-5", "claude-opus-4-5-20251101", "claude-sonnet-4-5", "claude-sonnet-4-5-20250929",
        "claude-haiku-4-5", "claude-haiku-4-5-20251001",
    ),
}  # fmt: skip

MAX_TOKENS = {model: ceiling for ceiling, models in _GENERATIONS.items() for model in models}

# Lifts the ceiling of most current models, in batches only:
# https://platform.claude.com/docs/en/build-with-claude/batch-processing
EXTENDED_OUTPUT_BETA = "output-300k-2026-03-24"
EXTENDED_MAX_TOKENS = 300_000

# Of the models above those that generate less also read less.
_SMALL_CONTEXT_TOKENS, _CONTEXT_TOKENS = 200_000, 1_000_000


def context_tokens(model: str) -> int:
    """The most tokens that a model reads at a time; a prompt that has more is rejected and not billed."""
    return _SMALL_CONTEXT_TOKENS if MAX_TOKENS.get(model) == 64_000 else _CONTEXT_TOKENS
