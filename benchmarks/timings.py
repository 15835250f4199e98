"""Rows of a table of things that take some time: how long, how many a second, and how fast beside the first of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from benchmarks.measure import Series, percentile, ratios

HEADER = ("what", "where", "p50 ms", "p95 ms", "per second", "x")


def timed_rows(
    what: str, taken_ms: Mapping[str, Sequence[float]], per_second: Callable[[float], str]
) -> list[tuple[str, ...]]:
    """A row for each place, of samples that were taken in turns; `per_second` is told their median."""
    base, *_ = taken_ms.values()
    return [
        timed_row(what, where, own_ms, per_second(Series.of(own_ms).median), ratios(base, own_ms))
        for where, own_ms in taken_ms.items()
    ]


def timed_row(what: str, where: str, taken_ms: Sequence[float], per_second: str, speed: Series) -> tuple[str, ...]:
    digits = 2 if speed.median >= 0.1 else 4
    return (
        what,
        where,
        Series.of(taken_ms).text(1),
        f"{percentile(taken_ms, 0.95):,.1f}",
        per_second,
        speed.text(digits),
    )
