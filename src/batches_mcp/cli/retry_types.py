"""--retry-types: which rows a run sends again."""

from __future__ import annotations

from collections.abc import Sequence

from batches_mcp.core.diagnostics import did_you_mean
from batches_mcp.core.errors import UsageError
from batches_mcp.work.retryable import ON_REQUEST, PASSING

_TRUNCATED = "truncated"
ON_REQUEST_IN_RUN = tuple(name for name in ON_REQUEST if name != _TRUNCATED)


def retry_types_of(names: Sequence[str]) -> tuple[str, ...]:
    """The types of rows that are sent again; those that pass when none is named.

    Raises:
        UsageError: a name is none of a type, or of one that the same request would only be of again.
    """
    known = (*PASSING, *ON_REQUEST_IN_RUN)
    for name in names:
        if name == _TRUNCATED:
            raise UsageError(
                "--retry-types truncated: the same max_tokens would cut the answers again; raise it in what the "
                "requests are made of, and run that: it is another job"
            )
        if name not in known:
            raise UsageError(f"--retry-types: {name!r} is not a type; {did_you_mean(name, list(known))}")
    return tuple(dict.fromkeys(names)) or PASSING
