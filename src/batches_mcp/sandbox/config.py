"""What a sandbox can be told when it starts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from batches_mcp.sandbox.clock import Clock, SystemClock
from batches_mcp.sandbox.inferred import Inferred
from batches_mcp.sandbox.limits import LIMITS, Tier

__all__ = ["SandboxConfig", "SandboxOptions"]


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """Settings of one sandbox; ValueError when a number is negative, or a tier or a choice does not exist.

    process_seconds: how long a batch takes from its creation to its end, when nobody cancels it.
        More than 24 hours makes batches expire, as they do at Anthropic.
    retry_after_seconds: the polling hint on an in-progress batch (captured: 10).
    seed: same seed, same calls, same results: texts, ids of messages and the order of result rows.
    state: SQLite file that survives a restart, used by one sandbox at a time.
        None: a file in a temporary folder, removed when the sandbox stops.
    clock: the sandbox's time.
    inferred: choices where the real API's answer is not known, by switch name, as in `{"cancel-ended": "200"}`;
        `Inferred` holds the switches and their defaults.
    tier: keep the batch limits of this usage tier for each key; None: there are no limits.
    """

    process_seconds: float = 5
    retry_after_seconds: int = 10
    seed: int = 0
    state: Path | None = None
    clock: Clock = field(default_factory=SystemClock)
    inferred: Mapping[str, str] = field(default_factory=dict)
    tier: Tier | None = None
    choices: Inferred = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", Inferred.of(self.inferred))
        if self.tier is not None and self.tier not in LIMITS:
            raise ValueError(f"tier is one of {', '.join(LIMITS)}, not {self.tier!r}")
        if self.process_seconds < 0 or self.retry_after_seconds < 0:
            raise ValueError("process_seconds and retry_after_seconds must not be negative")


class SandboxOptions(TypedDict, total=False):
    """The fields of `SandboxConfig` as keyword arguments; it holds their meaning and their defaults."""

    process_seconds: float
    retry_after_seconds: int
    seed: int
    state: Path | None
    clock: Clock
    inferred: Mapping[str, str]
    tier: Tier | None
