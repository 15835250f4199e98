"""What is wrong with a capability file, and where: `file:line:col: code: message; hint`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from functools import lru_cache

from batches_mcp.core.redact import excerpt


class Severity(StrEnum):
    """An error keeps a file from loading, or requests from being sent; a warning does not, unless it is asked to."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the file; both count from 1."""

    line: int
    col: int


@dataclass(frozen=True, slots=True, order=True)
class Diagnostic:
    """One problem. `line` and `col` count from 1; `code` is stable, the wording is not.

    `part` is the type of the adapter that it stands in; empty where it concerns the file as a whole.
    """

    file: str
    line: int
    col: int
    code: str
    severity: Severity
    message: str
    hint: str = ""
    part: str = field(default="", compare=False)

    def text(self) -> str:
        severity = "" if self.severity is Severity.ERROR else f"{self.severity}: "
        hint = f"; {self.hint}" if self.hint else ""
        return f"{self.file}:{self.line}:{self.col}: {self.code}: {severity}{self.message}{hint}"

    def data(self) -> dict[str, str | int]:
        return {name: value for name, value in asdict(self).items() if name != "part"}


@dataclass(slots=True)
class Problems:
    """Collects what is wrong with one file; `part` is the adapter that is being looked at."""

    file: str
    found: list[Diagnostic] = field(default_factory=list)
    part: str = ""

    def error(self, mark: Mark, code: str, message: str, hint: str = "") -> None:
        self._add(mark, code, Severity.ERROR, message, hint)

    def warning(self, mark: Mark, code: str, message: str, hint: str = "") -> None:
        self._add(mark, code, Severity.WARNING, message, hint)

    def _add(self, mark: Mark, code: str, severity: Severity, message: str, hint: str) -> None:
        self.found.append(Diagnostic(self.file, mark.line, mark.col, code, severity, message, hint, self.part))

    @contextmanager
    def within(self, part: str) -> Iterator[None]:
        """What is found in the block is the problem of one adapter; of an empty `part`, of whatever it was before."""
        before, self.part = self.part, part or self.part
        try:
            yield
        finally:
            self.part = before


def has_errors(diagnostics: Iterable[Diagnostic]) -> bool:
    return any(diagnostic.severity is Severity.ERROR for diagnostic in diagnostics)


def quote(name: object) -> str:
    """A name from the file, for a message: bounded, on one line, in backticks."""
    return f"`{excerpt(str(name), 80)}`"


# Longer names are not compared: nobody mistypes so much, and the time grows with the square of the length.
_LONGEST_COMPARED = 100
_FEW = 12


def did_you_mean(wrong: str, known: Sequence[str]) -> str:
    """A hint that names the nearest known name, or all of them when none is near and they are few."""
    near = nearest(wrong, tuple(known))
    if near:
        return f"did you mean {quote(near)}?"
    return f"known here: {', '.join(quote(name) for name in known)}" if 0 < len(known) <= _FEW else ""


def nearest(wrong: str, known: tuple[str, ...]) -> str:
    """The known name that a wrong one is most like; empty when none is near."""
    return _nearest(wrong.lower(), known) if len(wrong) <= _LONGEST_COMPARED else ""


# A comparison takes a third of a millisecond, and the same name is wrong in every row of a file.
@lru_cache(maxsize=1024)
def _nearest(wrong: str, known: tuple[str, ...]) -> str:
    by_lower = {name.lower(): name for name in known}
    near = get_close_matches(wrong, by_lower, n=1, cutoff=0.6)
    return by_lower[near[0]] if near else ""
