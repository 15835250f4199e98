"""Progress of a call as the protocol wants it: each notification has a higher value than the one before.

https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/progress#behavior-requirements
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from batches_mcp.work.runtime import Progress

Report = Callable[[float, float | None, str], Awaitable[None]]

# Hosts count their time-out from the last notification, so that a call which has not got on is reported as well: by so
# much of what is left.
_STEP = 1 / 1_000


def increasing(report: Report) -> Progress:
    """Report what a call says of itself with values that increase.

    A call that begins something else, with another total, goes on from where it was. One that has reached its total and
    is not over has no known total any more.
    """
    begun, whole, before = 0.0, 0.0, float("-inf")

    async def progress(done: float, total: float, words: str) -> None:
        nonlocal begun, whole, before
        if total != whole:
            begun, whole = max(before, 0.0), total
        value, most = begun + done, begun + total
        if value <= before:
            value = before + (most - before) * _STEP if before < most else before + 1
        before = value
        await report(value, most if value <= most else None, words)

    return progress
