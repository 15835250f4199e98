"""How often somebody may call. Pure: the time is given."""

from __future__ import annotations

_MINUTE_S = 60.0


class Allowance:
    """So many calls a minute: all of them at once after a minute of silence, then as it fills up again, evenly."""

    def __init__(self, per_minute: int, now_s: float) -> None:
        self._most = float(per_minute)
        self._left = self._most
        self._at_s = now_s

    def take(self, now_s: float) -> float:
        """Take one call, at a time that only goes forward: 0; or how many seconds it is until there is one again."""
        per_s = self._most / _MINUTE_S
        self._left = min(self._most, self._left + (now_s - self._at_s) * per_s)
        self._at_s = now_s
        if self._left < 1:
            return (1 - self._left) / per_s
        self._left -= 1
        return 0.0
