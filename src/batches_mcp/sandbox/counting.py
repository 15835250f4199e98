"""Counting the tokens of params: an estimate from lengths. Pure but for the reading of the body."""

import json
from typing import IO

from batches_mcp.sandbox import errors
from batches_mcp.sandbox.answers import Answer
from batches_mcp.sandbox.lifecycle import Terms
from batches_mcp.sandbox.outcomes import check_input
from batches_mcp.sandbox.prompt import input_chars
from batches_mcp.sandbox.replies import estimate_tokens

__all__ = ["MAX_PARAMS_BYTES", "count_tokens"]

# Documented: 32 MB.
MAX_PARAMS_BYTES = 32_000_000


def count_tokens(body: IO[bytes], terms: Terms) -> int:
    """The input tokens of the params in a body; ApiError 400 or 404 when there is nothing to count."""
    try:
        params = json.load(body)
    except (ValueError, RecursionError) as error:
        raise errors.invalid_json(str(error)) from None
    if not isinstance(params, dict):
        raise errors.invalid_body(Answer.COUNT_REFUSED, "Input should be a valid dictionary")
    if (refused := check_input(params, terms)) is not None:
        raise errors.invalid_params(refused.type, refused.message)
    return estimate_tokens(input_chars(params))
