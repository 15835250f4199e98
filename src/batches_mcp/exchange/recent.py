"""Ids that the upstream gave out a moment ago.

What was just created may be unknown for some seconds to the part of the upstream that is asked next, and is answered
404: https://github.com/anthropics/anthropic-sdk-python/issues/1432
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batches_mcp.core.plan import Argument, Feed, RequestPlan

_FRESH_S = 60.0
_MOST = 1_000


class RecentIds:
    """Remembers ids for a minute, in the order they came."""

    def __init__(self) -> None:
        self._created_s: dict[str, float] = {}

    def note(self, plan: RequestPlan, arguments: Mapping[str, Any], content: Mapping[str, Any], now_s: float) -> None:
        """Learn from a successful call: what a POST made, what a DELETE took away."""
        made = content.get("id")
        if plan.method == "POST" and isinstance(made, str) and _own_id(plan, arguments) is None:
            self._created_s[made] = now_s
            while len(self._created_s) > _MOST:
                del self._created_s[next(iter(self._created_s))]
        elif plan.method == "DELETE":
            self._created_s.pop(str(_own_id(plan, arguments)), None)

    def settling(self, plan: RequestPlan, arguments: Mapping[str, Any], now_s: float) -> bool:
        """Whether a request is for the very thing that was created less than a minute ago."""
        created_s = self._created_s.get(str(_own_id(plan, arguments)))
        return created_s is not None and now_s - created_s < _FRESH_S


def _own_id(plan: RequestPlan, arguments: Mapping[str, Any]) -> str | None:
    """The id that ends the request's path, when it ends with one argument."""
    match plan.path[-1:]:
        case (Feed(value=value),) if len(value.parts) == 1 and isinstance(value.parts[0], Argument):
            return str(arguments.get(value.parts[0].name))
        case _:
            return None
