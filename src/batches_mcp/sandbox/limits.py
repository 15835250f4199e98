"""The batch limits of the usage tiers: requests a minute to all endpoints together, and requests in the queue."""

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from batches_mcp.sandbox.errors import rate_limit
from batches_mcp.sandbox.wire import timestamp

__all__ = ["LIMITS", "Limits", "RateLimiter", "Tier"]

_MINUTE_US = 60_000_000


Tier = Literal["start", "build", "scale"]
"""A usage tier whose batch limits are published."""


@dataclass(frozen=True, slots=True)
class Limits:
    """requests_per_minute: to all batch endpoints. queued_requests: in batches that have not ended, together."""

    requests_per_minute: int
    queued_requests: int


# Documented.
LIMITS: Mapping[Tier, Limits] = {
    "start": Limits(1_000, 200_000),
    "build": Limits(2_000, 300_000),
    "scale": Limits(4_000, 500_000),
}


class RateLimiter:
    """A token bucket for each tenant, which fills evenly on the sandbox's clock. Thread-safe."""

    def __init__(self, requests_per_minute: int) -> None:
        self._limit = requests_per_minute
        self._lock = threading.Lock()
        # By tenant: the instant at which its bucket is full again.
        self._full_us: dict[str, int] = {}

    def take(self, tenant: str, now_us: int) -> Mapping[str, str]:
        """The rate-limit headers of an answer; ApiError 429 when this request is one too many."""
        token_us = _MINUTE_US // self._limit
        with self._lock:
            full_us = max(self._full_us.get(tenant, 0), now_us) + token_us
            wait_us = full_us - now_us - _MINUTE_US
            if wait_us <= 0:
                self._full_us[tenant] = full_us
                return self._headers(full_us, now_us)
        raise rate_limit(math.ceil(wait_us / 1_000_000), self._headers(full_us - token_us, now_us))

    def clear(self) -> None:
        """Every bucket is full."""
        with self._lock:
            self._full_us.clear()

    def _headers(self, full_us: int, now_us: int) -> Mapping[str, str]:
        left = (_MINUTE_US - (full_us - now_us)) * self._limit // _MINUTE_US
        prefix = "anthropic-ratelimit-requests"
        return {
            f"{prefix}-limit": str(self._limit),
            f"{prefix}-remaining": str(max(left, 0)),
            f"{prefix}-reset": str(timestamp(full_us)),
        }
