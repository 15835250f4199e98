"""The sandbox's only source of time: it runs, stands still and moves forward as it is asked to, and never goes back."""

import threading
from datetime import UTC, datetime, timedelta

__all__ = ["Clock", "ManualClock", "SystemClock", "microseconds"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Clock:
    """A time that can be moved. Thread-safe."""

    def __init__(self, start: datetime | None = None, *, frozen: bool = False) -> None:
        """`start`: the time it shows first, the machine's if None. It must carry a time zone; ValueError otherwise."""
        if start is not None and start.tzinfo is None:
            raise ValueError("start needs a time zone")
        machine = datetime.now(UTC)
        self._lock = threading.Lock()
        # While it runs it shows the machine's time plus this.
        self._ahead = timedelta() if start is None else start - machine
        self._frozen_at = (start or machine) if frozen else None

    def now(self) -> datetime:
        """The current instant, time zone included."""
        with self._lock:
            return self._now()

    def advance(self, seconds: float) -> datetime:
        """Move forward by `seconds` and return the new time; ValueError if negative, or beyond what a date can be."""
        if not seconds >= 0:
            raise ValueError("time does not go back")
        with self._lock:
            try:
                step = timedelta(seconds=seconds)
                _ = self._now() + step + timedelta(days=36_500)  # room for what is reckoned from it
            except OverflowError:
                raise ValueError("that is too far away") from None
            self._ahead += step
            if self._frozen_at is not None:
                self._frozen_at += step
            return self._now()

    def freeze(self) -> datetime:
        """Stand still, and return the time it stands at."""
        with self._lock:
            self._frozen_at = self._now()
            return self._frozen_at

    def unfreeze(self) -> datetime:
        """Run on from the time it stands at, and return that."""
        with self._lock:
            now = self._now()
            self._ahead = now - datetime.now(UTC)
            self._frozen_at = None
            return now

    @property
    def frozen(self) -> bool:
        return self._frozen_at is not None

    def _now(self) -> datetime:
        return datetime.now(UTC) + self._ahead if self._frozen_at is None else self._frozen_at


class SystemClock(Clock):
    """The machine's clock, until it is set otherwise."""

    def __init__(self) -> None:
        super().__init__()


class ManualClock(Clock):
    """A clock that stands still until it is asked to move."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        """`start` must carry a time zone; ValueError otherwise."""
        super().__init__(start, frozen=True)


def microseconds(instant: datetime) -> int:
    """Whole microseconds since 1970-01-01 UTC: how the sandbox stores and compares instants."""
    return (instant - _EPOCH) // _MICROSECOND
