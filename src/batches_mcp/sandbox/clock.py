"""The sandbox's only source of time, injected so that tests decide what time it is."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Protocol

__all__ = ["Clock", "ManualClock", "SystemClock", "microseconds"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Clock(Protocol):
    """Anything that knows the time. `now` is called from several threads."""

    def now(self) -> datetime:
        """The current instant, time zone included."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class ManualClock:
    """A clock that stands still until it is told to move. Thread-safe."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        """`start` must carry a time zone; ValueError otherwise."""
        if start.tzinfo is None:
            raise ValueError("start needs a time zone")
        self._now = start
        self._lock = threading.Lock()

    def now(self) -> datetime:
        with self._lock:
            return self._now

    def advance(self, seconds: float) -> datetime:
        """Move forward by `seconds` (not negative; ValueError otherwise) and return the new time."""
        if seconds < 0:
            raise ValueError("time does not go back")
        with self._lock:
            self._now += timedelta(seconds=seconds)
            return self._now


def microseconds(instant: datetime) -> int:
    """Whole microseconds since 1970-01-01 UTC: how the sandbox stores and compares instants."""
    return (instant - _EPOCH) // _MICROSECOND
