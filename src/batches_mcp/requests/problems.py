"""What is wrong with the requests of a create, by cause: each once, with how many have it and where the first are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Self

from batches_mcp.core.diagnostics import Severity

# At most so many problems are shown.
MOST_SHOWN = 50
_PLACES = 3


@dataclass(frozen=True, slots=True)
class Fault:
    """Something about one request. `path` is where in it, like `params.max_tokens`; empty for the request as a whole.

    Faults of one `kind`, of which there are few, that have the same `cause` make one problem, whatever else their
    messages name.
    """

    path: str
    kind: str
    message: str
    cause: str = ""
    severity: Severity = Severity.ERROR

    @classmethod
    def warning(cls, path: str, kind: str, message: str, cause: str = "") -> Self:
        return cls(path, kind, message, cause, Severity.WARNING)


@dataclass(slots=True)
class Problem:
    """What `count` requests have in common. `where` has the first places, exact like `requests[17].custom_id`."""

    severity: Severity
    message: str
    count: int = 0
    where: list[str] = field(default_factory=list)

    def text(self) -> str:
        """`line 1, custom_id; line 2, custom_id; line 3, custom_id and 7 more: missing`."""
        # Of what stands in a template there is one place, however many requests it makes.
        more = f" and {self.count - _PLACES:,} more" if self.count > len(self.where) == _PLACES else ""
        return f"{'; '.join(self.where)}{more}: {self.message}"

    def data(self) -> dict[str, Any]:
        return {
            "message": self.message,
            "severity": str(self.severity),
            "count": self.count,
            "where": list(self.where),
        }


@dataclass(slots=True)
class Problems:
    """Collects faults as problems; memory does not grow with their number."""

    _kinds: dict[tuple[Severity, str], dict[str, Problem]] = field(default_factory=dict)

    def add(self, fault: Fault) -> Problem | None:
        """Count a fault. Its problem is returned when it has room for one more place."""
        causes = self._kinds.setdefault((fault.severity, fault.kind), {})
        problem = causes.get(fault.cause)
        if problem is None:
            # What has a cause of its own in every row is shown together.
            cause = fault.cause if len(causes) < MOST_SHOWN else _OTHERS
            problem = causes.setdefault(cause, Problem(fault.severity, fault.message))
        problem.count += 1
        return problem if len(problem.where) < _PLACES else None

    def count(self, severity: Severity) -> int:
        """How many faults of a severity there were."""
        kinds = (causes.values() for (each, _), causes in self._kinds.items() if each is severity)
        return sum(problem.count for causes in kinds for problem in causes)

    def shown(self) -> list[Problem]:
        """At most `MOST_SHOWN` problems, errors first: of each kind some, so that a rare one is not lost."""
        kinds = [list(causes.values()) for causes in self._kinds.values()]
        most = next((n for n in range(MOST_SHOWN, 1, -1) if sum(min(n, len(kind)) for kind in kinds) <= MOST_SHOWN), 1)
        shown = [problem for kind in kinds for problem in _first(kind, most)]
        return sorted(shown, key=lambda problem: problem.severity is Severity.WARNING)


_OTHERS = "\0others"


def _first(kind: list[Problem], most: int) -> Iterator[Problem]:
    """The first problems of a kind, the last of them with the count of all that are not shown."""
    yield from kind[: most - 1]
    rest = kind[most - 1 :]
    if len(rest) == 1:
        yield rest[0]
    elif rest:
        count = sum(each.count for each in rest)
        message = f"{rest[0].message} (and {count - rest[0].count:,} of the same kind with other values)"
        yield replace(rest[0], count=count, message=message)


def at(where: str, path: str) -> str:
    """`requests[17].custom_id`, or `line 17, custom_id`."""
    if not path:
        return where
    return f"{where}.{path}" if where.endswith("]") else f"{where}, {path}"
