"""The faults that can be ordered, and the queue they wait in until a request meets them."""

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal, get_args

from batches_mcp.sandbox.caller import key_hash

__all__ = ["ENDPOINTS", "FAULTS", "Endpoint", "Fault", "FaultInfo", "FaultKind", "Faults"]

Endpoint = Literal["create", "list", "retrieve", "results", "cancel", "delete", "count_tokens"]
ENDPOINTS: frozenset[str] = frozenset(get_args(Endpoint))
_WITH_ID: frozenset[str] = frozenset({"retrieve", "results", "cancel", "delete"})
_WITH_BATCH: frozenset[str] = frozenset({"create", "list", "retrieve", "cancel"})
_WITH_ROWS: frozenset[str] = frozenset({"results"})

_HOUR_S = 3_600
_YEAR_S = 365 * 24 * _HOUR_S


class FaultKind(StrEnum):
    """What can go wrong."""

    RATE_LIMIT = "rate_limit"
    SPEND_CAP = "spend_cap"
    SPEND_LIMIT = "spend_limit"
    SERVER_ERROR = "server_error"
    BAD_GATEWAY = "bad_gateway"
    TIMEOUT = "timeout"
    OVERLOADED = "overloaded"
    NOT_FOUND = "not_found"
    REDIRECT = "redirect"
    DELAY = "delay"
    RESET = "reset"
    RESET_AFTER = "reset_after"
    LATE_CREATE = "late_create"
    DATE_SKEW = "date_skew"
    EXTRA_COUNT = "extra_count"
    CUT = "cut"
    REPEAT_ROWS = "repeat_rows"
    FOREIGN_ROWS = "foreign_rows"
    GARBLE_ROWS = "garble_rows"
    ENDLESS = "endless"


@dataclass(frozen=True, slots=True)
class FaultInfo:
    """What a fault does, the options it takes, the endpoints it can happen to, and the range of its `seconds`."""

    does: str
    options: tuple[str, ...] = ()
    endpoints: frozenset[str] = ENDPOINTS
    seconds: tuple[int, int] = (0, _HOUR_S)


FAULTS: Mapping[FaultKind, FaultInfo] = {
    FaultKind.RATE_LIMIT: FaultInfo("429 `rate_limit_error`, with `retry-after` if given", ("retry_after",)),
    FaultKind.SPEND_CAP: FaultInfo("429 without `retry-after`, `error_code` `enforced_spend_limit_reached`"),
    FaultKind.SPEND_LIMIT: FaultInfo("400, the limit that an organisation set itself is reached"),
    FaultKind.SERVER_ERROR: FaultInfo("500 `api_error`"),
    FaultKind.BAD_GATEWAY: FaultInfo("502 with a page of HTML, as proxies answer"),
    FaultKind.TIMEOUT: FaultInfo("504 `timeout_error`"),
    FaultKind.OVERLOADED: FaultInfo("529 `overloaded_error`"),
    FaultKind.NOT_FOUND: FaultInfo("404 for a batch that exists, as seen shortly after its creation", (), _WITH_ID),
    FaultKind.REDIRECT: FaultInfo("307 to `location`", ("location",)),
    FaultKind.DELAY: FaultInfo("the answer comes `seconds` of real time later", ("seconds",)),
    FaultKind.RESET: FaultInfo("the connection is reset before the body is read: nothing happened"),
    FaultKind.RESET_AFTER: FaultInfo("the request is carried out (the batch exists), then the connection is reset"),
    FaultKind.LATE_CREATE: FaultInfo(
        "504 `timeout_error` now, or a reset connection if `reset`, and the batch comes into being `seconds` later by "
        "the sandbox's clock",
        ("seconds", "reset"),
        frozenset({"create"}),
        (0, _YEAR_S),
    ),
    FaultKind.DATE_SKEW: FaultInfo(
        "the header `date` is `seconds` ahead of the sandbox's clock, behind it if negative",
        ("seconds",),
        seconds=(-_YEAR_S, _YEAR_S),
    ),
    FaultKind.EXTRA_COUNT: FaultInfo(
        "`request_counts` has one more entry: `counter`, of the value `number`", ("counter", "number"), _WITH_BATCH
    ),
    FaultKind.CUT: FaultInfo(
        "the stream of results ends after `rows` rows, in the middle of the next one if `mid_row`",
        ("rows", "mid_row"),
        _WITH_ROWS,
    ),
    FaultKind.REPEAT_ROWS: FaultInfo(
        "after `rows` rows of results, the next `lines` rows come twice each", ("rows", "lines"), _WITH_ROWS
    ),
    FaultKind.FOREIGN_ROWS: FaultInfo(
        "after `rows` rows of results, each of the next `lines` rows follows one whose `custom_id` is none of the "
        "batch's",
        ("rows", "lines"),
        _WITH_ROWS,
    ),
    FaultKind.GARBLE_ROWS: FaultInfo(
        "after `rows` rows of results, the next `lines` rows are neither JSON nor UTF-8", ("rows", "lines"), _WITH_ROWS
    ),
    FaultKind.ENDLESS: FaultInfo(
        "the stream of results never ends: its first rows come again and again, or one row without end if `mid_row`",
        ("mid_row",),
        _WITH_ROWS,
    ),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault in the queue; ValueError, in plain words, when it makes no sense.

    on: the endpoint it happens to; None: any that it can happen to.
    count: how many requests meet it.
    key_hash: only requests with the key of this hash do; None: all.
    retry_after, seconds: in seconds.
    rows: sent as they are, before anything happens. lines: how many rows it happens to.
    reset: the connection is reset in place of an answer. counter, number: the name and the value of a count.
    """

    kind: FaultKind
    on: Endpoint | None = None
    count: int = 1
    key_hash: str | None = field(default=None, repr=False)
    retry_after: int | None = None
    seconds: float = 1
    rows: int = 0
    lines: int = 1
    mid_row: bool = False
    reset: bool = False
    counter: str = "paused"
    number: int = 1
    location: str = "https://example.com/"

    def __post_init__(self) -> None:
        endpoints = FAULTS[self.kind].endpoints
        if self.on is not None and self.on not in endpoints:
            raise ValueError(f"{self.kind.value} happens on {', '.join(sorted(endpoints))}, not on {self.on!r}")
        if self.count < 1:
            raise ValueError("count must be 1 or more")
        if self.retry_after is not None and self.retry_after < 0:
            raise ValueError("retry_after must not be negative")
        least, most = FAULTS[self.kind].seconds
        if not least <= self.seconds <= most:
            raise ValueError(f"seconds must be from {least} to {most}")
        if self.rows < 0:
            raise ValueError("rows must not be negative")
        if self.lines < 1:
            raise ValueError("lines must be 1 or more")
        if not self.counter.isidentifier():
            raise ValueError("counter must be a name, of letters, digits and _")
        if not self.location.isascii() or not self.location.isprintable() or " " in self.location:
            raise ValueError("location must be a URL")

    def meets(self, endpoint: str, hash_of_key: str) -> bool:
        """Whether a request to this endpoint, with the key of this hash, is one it happens to."""
        on = FAULTS[self.kind].endpoints if self.on is None else {self.on}
        return endpoint in on and self.key_hash in (None, hash_of_key)

    def options(self) -> dict[str, Any]:
        """The options that its kind takes, with their values."""
        return {name: value for name, value in asdict(self).items() if name in FAULTS[self.kind].options}


class Faults:
    """The queue of a sandbox: each request takes the first fault that is meant for it. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: list[Fault] = []

    def add(
        self, kind: str, *, on: Endpoint | None = None, count: int = 1, key: str | None = None, **options: Any
    ) -> Fault:
        """Let the next `count` requests to `on` (None: to any endpoint it can happen to) meet a fault.

        kind: one of `FaultKind`; it says which options there are. key: only requests with this API key meet it.
        ValueError, in plain words, when it makes no sense.
        """
        if kind not in set(FaultKind):
            raise ValueError(f"no fault {kind!r}; there are {', '.join(FaultKind)}")
        known = FaultKind(kind)
        if unknown := options.keys() - set(FAULTS[known].options):
            raise ValueError(f"{kind} takes no {', '.join(sorted(unknown))}")
        fault = Fault(known, on, count, None if key is None else key_hash(key), **options)
        with self._lock:
            self._queue.append(fault)
        return fault

    def pending(self) -> list[Fault]:
        """What has not happened yet, in order; `count` is how many requests are left to meet each."""
        with self._lock:
            return list(self._queue)

    def clear(self) -> None:
        """Forget what has not happened yet."""
        with self._lock:
            self._queue.clear()

    def take(self, endpoint: str, key: str) -> Fault | None:
        """The fault that a request meets, one time less in the queue."""
        if not self._queue:  # what nearly every request finds
            return None
        hash_of_key = key_hash(key)
        with self._lock:
            for place, fault in enumerate(self._queue):
                if fault.meets(endpoint, hash_of_key):
                    if fault.count == 1:
                        del self._queue[place]
                    else:
                        self._queue[place] = replace(fault, count=fault.count - 1)
                    return fault
        return None
