"""What a sandbox can be told when it starts."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from batches_mcp.sandbox.clock import Clock, SystemClock

__all__ = ["SandboxConfig", "SandboxOptions"]


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """Settings of one sandbox; ValueError when a number is negative.

    process_seconds: how long a batch takes from its creation to its end, when nobody cancels it.
        More than 24 hours makes batches expire, as they do at Anthropic.
    retry_after_seconds: the polling hint on an in-progress batch (captured: 10).
    seed: same seed, same calls, same results: texts, ids of messages and the order of result rows.
    state: SQLite file that survives a restart, used by one sandbox at a time.
        None: a file in a temporary folder, removed when the sandbox stops.
    clock: the sandbox's time.
    """

    process_seconds: float = 5
    retry_after_seconds: int = 10
    seed: int = 0
    state: Path | None = None
    clock: Clock = field(default_factory=SystemClock)

    def __post_init__(self) -> None:
        if self.process_seconds < 0 or self.retry_after_seconds < 0:
            raise ValueError("process_seconds and retry_after_seconds must not be negative")


class SandboxOptions(TypedDict, total=False):
    """The fields of `SandboxConfig` as keyword arguments; it holds their meaning and their defaults."""

    process_seconds: float
    retry_after_seconds: int
    seed: int
    state: Path | None
    clock: Clock
