"""What a gateway may do to a request, and how often. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# How late a create may be handed on after its caller was told of a time-out: the API may take 600 s.
LATEST_S = 600.0

# How often, of a hundred or so, a request meets what. UNSENT: it is answered, or not, without being handed on.
_PASSED = {"passed": 36, "slow": 5, "swapped": 5}
_REFUSED = {"429": 3, "529": 3, "400": 1}
_UNSENT = {"unsent, dropped": 5, "unsent, cut": 4, "unsent, 502": 3, "unsent, 500": 3, "unsent, 504": 2}
_LATE = {"late, 504": 6, "late, dropped": 3}
_LOST = {"sent, dropped": 7, "sent, 502": 3, "sent, 500": 3, "sent, cut": 4, "sent, short": 3, "sent, long": 3}
_LOST |= {"sent, truncated": 3, "sent, no id": 2}
_LISTED = {"odd counts": 8, "short": 2, "truncated": 4, "cut": 3, "dropped": 4, "502": 3, "529": 2, "429": 2}
FATES: Mapping[str, Mapping[str, int]] = {
    "create": {**_PASSED, **_REFUSED, **_UNSENT, **_LATE, **_LOST, "odd counts": 5},
    "list": {**_PASSED, **_LISTED, "stale": 3},
    "retrieve": {**_PASSED, **_LISTED},
    "results": {**_PASSED, "repeated": 4, "foreign": 4, "cut row": 4, "garbled row": 4, "missing row": 4, "cut": 4}
    | {"dropped": 3, "502": 3, "529": 2},
    "other": {"passed": 1},
}
REFUSED = frozenset(_REFUSED)
ACCEPTED = frozenset(_PASSED) | {"odd counts"}


@dataclass(slots=True)
class Post:
    """One create as it arrived. `at_s` is the sandbox's time, `arrived_s` this machine's (monotonic).

    `whole` tells whether all of its body came; `batch_id` is that of the batch it made, at once or later.
    """

    number: int
    content: str
    fate: str
    at_s: float
    arrived_s: float
    whole: bool = True
    batch_id: str | None = None

    @property
    def ambiguous(self) -> bool:
        """Whether its sender cannot know what came of it."""
        return self.whole and self.fate not in REFUSED and self.fate not in ACCEPTED
