"""Taking turns, and what is said of the samples: medians, ranges, and ratios pair by pair."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

SampleT = TypeVar("SampleT")


def in_turns(contenders: Mapping[str, Callable[[], SampleT]], rounds: int) -> dict[str, list[SampleT]]:
    """Measure every contender once a round, A B A B ..., so that a slow spell of the machine meets them all."""
    samples: dict[str, list[SampleT]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, measure in contenders.items():
            samples[name].append(measure())
    return samples


def timed(action: Callable[[], object]) -> float:
    """The seconds that something takes."""
    started_s = time.perf_counter()
    action()
    return time.perf_counter() - started_s


@dataclass(frozen=True, slots=True)
class Series:
    """Samples of one quantity."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Series:
        return cls(tuple(values))

    @property
    def median(self) -> float:
        return median(self.values)

    def text(self, digits: int) -> str:
        """The median, and the range behind it."""
        low, high = min(self.values), max(self.values)
        return f"{self.median:,.{digits}f} ({low:,.{digits}f}-{high:,.{digits}f})"


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> Series:
    """The ratio in every pair of neighbouring samples: what both have in common cancels out."""
    return Series.of([above / below for above, below in zip(numerators, denominators, strict=True)])


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
