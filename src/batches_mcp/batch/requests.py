"""The requests of a batch: checked before anything is sent, counted, and split into parts that the API takes.

An error is what the API would reject the batch for, or what makes a request fail for certain; a warning is what may
make it fail. The API itself tells the first of the former for the whole batch, and the latter when it has ended.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any

import msgspec

from batches_mcp.batch.models import EXTENDED_MAX_TOKENS, EXTENDED_OUTPUT_BETA, MAX_TOKENS
from batches_mcp.capability.diagnostics import did_you_mean
from batches_mcp.redact import excerpt

# https://platform.claude.com/docs/en/build-with-claude/batch-processing#batch-limitations
MAX_REQUESTS = 100_000
MAX_BODY_BYTES = 256_000_000
# A part keeps clear of the limit, whose unit (MB or MiB) and framing the API does not state exactly.
PART_BYTES = MAX_BODY_BYTES * 95 // 100

# A body without requests, into whose list they go.
EMPTY_BODY = b'{"requests":[]}'
SEPARATOR = b","

_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_SAMPLING = ("temperature", "top_p", "top_k")
# https://platform.claude.com/docs/en/api/versioning: from this version on, sampling keys are rejected.
_NO_SAMPLING_SINCE = "2026-10-21"

MOST_SHOWN = 50


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something about one request. `where` is exact, like `requests[17].custom_id`; `kind` groups its like."""

    where: str
    custom_id: str | None
    kind: str
    severity: Severity
    message: str

    def text(self) -> str:
        return f"{self.where}: {self.message}"

    def data(self) -> dict[str, str]:
        named = {"custom_id": self.custom_id} if self.custom_id else {}
        return {"where": self.where, **named, "severity": str(self.severity), "message": self.message}


@dataclass(frozen=True, slots=True)
class Rules:
    """What the headers of a create decide about its requests."""

    version: str
    betas: frozenset[str] = frozenset()


@dataclass(slots=True)
class Part:
    """A run of requests that one batch takes: `first` counts the sendable ones from 0."""

    first: int
    count: int
    body_bytes: int


@dataclass(slots=True)
class Scan:
    """What one pass over the requests found. Memory grows with their ids and numbers, and with nothing else.

    `place` makes the place for messages out of the number that a request comes with.
    """

    rules: Rules
    place: Callable[[int], str]
    invalid: set[int] = field(default_factory=set)
    models: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    kinds: Counter[tuple[Severity, str]] = field(default_factory=Counter)
    _numbers: array[int] = field(default_factory=partial(array, "Q"))
    _ids: dict[str, int] = field(default_factory=dict)
    _full: list[Part] = field(default_factory=list)
    _last: Part = field(default_factory=partial(Part, 0, 0, len(EMPTY_BODY)))

    @property
    def requests(self) -> int:
        return len(self._numbers)

    @property
    def sendable(self) -> int:
        return self.requests - len(self.invalid)

    @property
    def parts(self) -> list[Part]:
        return [*self._full, self._last] if self._last.count else self._full

    @property
    def body_bytes(self) -> int:
        return sum(part.body_bytes for part in self.parts)

    def count(self, severity: Severity) -> int:
        return sum(number for (each, _), number in self.kinds.items() if each is severity)

    def add(self, number: int, row: bytes | str) -> None:
        """Check the next request: its JSON, or the reason why there is none."""
        index = len(self._numbers)
        self._numbers.append(number)
        found = self._check(index, number, row)
        for problem in found:
            self.kinds[problem.severity, problem.kind] += 1
            if len(self.problems) < MOST_SHOWN:
                self.problems.append(problem)
            if problem.severity is Severity.ERROR:
                self.invalid.add(index)
        if not found or index not in self.invalid:
            self._append(len(row))

    def _check(self, index: int, number: int, row: bytes | str) -> Sequence[Problem]:
        if isinstance(row, str):
            return [_error(self.place(number), None, "unreadable row", row)]
        try:
            request = _decode(row)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            where = self.place(number)
            return list(self._explain(index, where, row)) or [_error(where, None, "shape", excerpt(str(error), 200))]
        params = request.params
        self.models[params.model] += 1
        # The way of nearly every request: a new id, a known model, a possible length, and no sampling key.
        if (
            self._ids.setdefault(request.custom_id, index) == index
            and params.max_tokens <= MAX_TOKENS.get(params.model, 0)
            and params.temperature is params.top_p is params.top_k is msgspec.UNSET
        ):
            return ()
        return list(self._judge(index, self.place(number), request))

    def _append(self, row_bytes: int) -> None:
        last = self._last
        if last.count == MAX_REQUESTS or (last.count and last.body_bytes + row_bytes + len(SEPARATOR) > PART_BYTES):
            self._full.append(last)
            last = self._last = Part(last.first + last.count, 0, len(EMPTY_BODY))
        last.body_bytes += row_bytes + (len(SEPARATOR) if last.count else 0)
        last.count += 1

    def _judge(self, index: int, where: str, request: _Request) -> Iterator[Problem]:
        """A request of good shape: what takes knowledge of other requests, of models and of the API version."""
        params, custom_id = request.params, request.custom_id
        yield from self._repeated(index, where, custom_id)
        if self.rules.version >= _NO_SAMPLING_SINCE:
            for name in _SAMPLING:
                if getattr(params, name) is not msgspec.UNSET:
                    message = f"API version {self.rules.version} rejects it; leave it out"
                    yield _error(_at(where, f"params.{name}"), custom_id, "sampling key", message)
        if params.model not in MAX_TOKENS:
            hint = did_you_mean(params.model, list(MAX_TOKENS)) or "a request with a wrong one fails"
            message = f"{excerpt(params.model, 60)!r} is not known here; {hint}"
            yield _warning(_at(where, "params.model"), custom_id, "unknown model", message)
            return
        extended = EXTENDED_OUTPUT_BETA in self.rules.betas
        ceiling = EXTENDED_MAX_TOKENS if extended else MAX_TOKENS[params.model]
        if params.max_tokens > ceiling:
            message = f"{params.max_tokens:,} is more than the {ceiling:,} that {params.model} may generate"
            yield _warning(_at(where, "params.max_tokens"), custom_id, "max_tokens above the model's ceiling", message)

    def _repeated(self, index: int, where: str, custom_id: str) -> Iterator[Problem]:
        first = self._ids.setdefault(custom_id, index)
        if first != index:
            place = self.place(self._numbers[first])
            message = f"{custom_id!r} is the custom_id of {place} as well; each must be unique in a batch"
            yield _error(_at(where, "custom_id"), custom_id, "duplicate custom_id", message)

    def _explain(self, index: int, where: str, row: bytes) -> Iterator[Problem]:
        """A request of bad shape: everything that is wrong with it."""
        try:
            value = msgspec.json.decode(row)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            yield _error(where, None, "not JSON", f"is not JSON: {excerpt(str(error), 120)}")
            return
        if not isinstance(value, dict):
            yield _error(where, None, "not an object", "expected an object with custom_id and params")
            return
        custom_id = value.get("custom_id")
        named = custom_id if isinstance(custom_id, str) else None
        if problem := _custom_id_problem(value):
            yield _error(_at(where, "custom_id"), named, "custom_id", problem)
        elif named is not None:
            yield from self._repeated(index, where, named)
        for name in value.keys() - {"custom_id", "params"}:
            yield _error(_at(where, excerpt(name, 60)), named, "unknown key", "a request has custom_id and params only")
        params = value.get("params")
        if not isinstance(params, dict):
            found = "missing" if "params" not in value else "expected an object: the body of a Messages request"
            yield _error(_at(where, "params"), named, "params", found)
            return
        for name, problem in _params_problems(params):
            yield _error(_at(where, f"params.{name}"), named, f"params.{name}", problem)


def scan(rows: Iterable[tuple[int, bytes | str]], rules: Rules, place: Callable[[int], str]) -> Scan:
    """Check requests, each with its number for messages and as JSON, in one pass."""
    result = Scan(rules, place)
    for number, row in rows:
        result.add(number, row)
    return result


def chosen(rows: Iterable[Any], found: Scan, part: Part) -> Iterator[Any]:
    """Of the rows that were scanned, in the same order, those that make up a part."""
    number = 0
    for index, row in enumerate(rows):
        if index in found.invalid:
            continue
        if part.first <= number < part.first + part.count:
            yield row
        number += 1


class _Params(msgspec.Struct):
    """What every request must have, and must not; the rest of the Messages API's body is the API's to judge."""

    model: str
    max_tokens: int
    messages: list[msgspec.Raw]
    stream: bool | None = None
    speed: None = None
    temperature: object = msgspec.UNSET
    top_p: object = msgspec.UNSET
    top_k: object = msgspec.UNSET

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or self.stream or not self.messages:
            raise ValueError


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    custom_id: str
    params: _Params

    def __post_init__(self) -> None:
        if not _CUSTOM_ID.fullmatch(self.custom_id):
            raise ValueError


_decode = msgspec.json.Decoder(_Request).decode


def _custom_id_problem(request: dict[str, Any]) -> str:
    if "custom_id" not in request:
        return "missing"
    custom_id = request["custom_id"]
    if not isinstance(custom_id, str):
        return "expected text"
    if _CUSTOM_ID.fullmatch(custom_id):
        return ""
    if not 1 <= len(custom_id) <= 64:
        return f"has {len(custom_id):,} characters; expected 1 to 64"
    wrong = sorted(set(re.sub(r"[a-zA-Z0-9_-]", "", custom_id)))
    return f"{excerpt(custom_id, 70)!r} has {' '.join(map(repr, wrong[:5]))}; allowed are letters, digits, - and _"


def _params_problems(params: dict[str, Any]) -> Iterator[tuple[str, str]]:
    kinds: Sequence[tuple[str, type, str]] = (
        ("model", str, "text"),
        ("max_tokens", int, "a whole number"),
        ("messages", list, "a list"),
    )
    for name, kind, wanted in kinds:
        if name not in params:
            yield name, "missing"
        elif not isinstance(params[name], kind) or isinstance(params[name], bool):
            yield name, f"expected {wanted}"
        elif name == "max_tokens" and params[name] < 1:
            yield name, f"{params[name]} is less than 1"
        elif name == "messages" and not params[name]:
            yield name, "is empty; at least one message is needed"
    if params.get("stream") not in (None, False):
        yield "stream", "a batch cannot stream; leave it out"
    if params.get("speed") is not None:
        yield "speed", "fast mode is not available in batches; leave it out"


def _at(where: str, name: str) -> str:
    """`requests[17].custom_id`, or `line 17, custom_id`."""
    return f"{where}.{name}" if where.endswith("]") else f"{where}, {name}"


def _error(where: str, custom_id: str | None, kind: str, message: str) -> Problem:
    return Problem(where, custom_id, kind, Severity.ERROR, message)


def _warning(where: str, custom_id: str | None, kind: str, message: str) -> Problem:
    return Problem(where, custom_id, kind, Severity.WARNING, message)
