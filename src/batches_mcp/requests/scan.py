"""The requests of a batch: checked before anything is sent, counted, and split into parts that the API takes.

An error is what the API would reject the batch for, or what makes a request fail for certain; a warning is what may
make it fail. The API itself tells the first of the former for the whole batch, and the latter when it has ended.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import msgspec

from batches_mcp.core.diagnostics import did_you_mean
from batches_mcp.core.redact import excerpt
from batches_mcp.requests.demand import FEWEST_BYTES_PER_TOKEN, Demand, Unbounded, asked, most_text_tokens, text_bytes
from batches_mcp.requests.models import EXTENDED_MAX_TOKENS, EXTENDED_OUTPUT_BETA, MAX_TOKENS
from batches_mcp.requests.problems import Problem, Severity, at, custom_id_problem, params_problems
from batches_mcp.requests.shape import UNREADABLE, PlainRequest, Request, read
from batches_mcp.requests.tokens import BATCH_TIER, LONG_PROMPT_TOKENS, Tariff

# https://platform.claude.com/docs/en/build-with-claude/batch-processing#batch-limitations
MAX_REQUESTS = 100_000
MAX_BODY_BYTES = 256_000_000
# A part keeps clear of the limit, whose unit (MB or MiB) and framing the API does not state exactly.
PART_BYTES = MAX_BODY_BYTES * 95 // 100

# A body without requests, into whose list they go.
EMPTY_BODY = b'{"requests":[]}'
SEPARATOR = b","

_SAMPLING = ("temperature", "top_p", "top_k")
# https://platform.claude.com/docs/en/api/versioning: from this version on, sampling keys are rejected.
_NO_SAMPLING_SINCE = "2026-10-21"

MOST_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Rules:
    """What the headers of a create decide about its requests."""

    version: str
    betas: frozenset[str] = frozenset()


@dataclass(slots=True)
class Part:
    """A run of requests that one batch takes; `digest` is of their meaning."""

    count: int = 0
    body_bytes: int = len(EMPTY_BODY)
    demand: dict[Tariff, Demand] = field(default_factory=dict)
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def content(self, betas: str) -> str:
        """What identifies the requests and betas of a create, however they are written."""
        return content_of([self], betas)


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
    _last: Part = field(default_factory=Part)

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

    @property
    def demand(self) -> dict[Tariff, Demand]:
        """What the sendable requests ask for, all parts together."""
        total: dict[Tariff, Demand] = {}
        for part in self.parts:
            for tariff, asks in part.demand.items():
                total.setdefault(tariff, Demand()).include(asks)
        return total

    def count(self, severity: Severity) -> int:
        return sum(number for (each, _), number in self.kinds.items() if each is severity)

    def add(self, number: int, row: bytes | str) -> int | None:
        """Check the next request: its JSON, or the reason why there is none.

        The part it goes into, from 0, is returned; None when it cannot be sent.
        """
        index = len(self._numbers)
        self._numbers.append(number)
        request, found = self._check(index, number, row)
        for problem in found:
            self.kinds[problem.severity, problem.kind] += 1
            if len(self.problems) < MOST_SHOWN:
                self.problems.append(problem)
            if problem.severity is Severity.ERROR:
                self.invalid.add(index)
        if isinstance(row, bytes) and request and (not found or index not in self.invalid):
            self._append(number, row, request)
            return len(self._full)
        return None

    def _check(self, index: int, number: int, row: bytes | str) -> tuple[Request | None, Sequence[Problem]]:
        if isinstance(row, str):
            return None, [Problem.error(self.place(number), None, "unreadable row", row)]
        try:
            request = read(row)
        except UNREADABLE as error:
            where = self.place(number)
            unclear = [Problem.error(where, None, "shape", excerpt(str(error), 200))]
            return None, list(self._explain(index, where, row)) or unclear
        params = request.params
        self.models[params.model] += 1
        # The way of nearly every request: a new id, a known model, a possible length, and no sampling key.
        if (
            self._ids.setdefault(request.custom_id, index) == index
            and params.max_tokens <= MAX_TOKENS.get(params.model, 0)
            and params.temperature is params.top_p is params.top_k is msgspec.UNSET
        ):
            return request, ()
        return request, list(self._judge(index, self.place(number), request))

    def _append(self, number: int, row: bytes, request: Request) -> None:
        row_bytes, last, params = len(row), self._last, request.params
        if last.count == MAX_REQUESTS or (last.count and last.body_bytes + row_bytes + len(SEPARATOR) > PART_BYTES):
            self._full.append(last)
            last = self._last = Part()
        last.body_bytes += row_bytes + (len(SEPARATOR) if last.count else 0)
        last.count += 1
        last.digest.update(canonical(row))
        if type(request) is not PlainRequest:
            self._append_other(number, row, request, last)
            return
        most_tokens = row_bytes // FEWEST_BYTES_PER_TOKEN + 1 if row.isascii() else most_text_tokens(row)
        kind = (params.model, most_tokens > LONG_PROMPT_TOKENS, "", BATCH_TIER)
        # Looked up by a plain tuple, which is the same key and quicker made.
        asks = last.demand.get(kind) or last.demand.setdefault(Tariff(*kind), Demand())  # type: ignore[call-overload]
        asks.requests += 1
        prompt = request.params
        asks.text_bytes += text_bytes(prompt.system or "") + sum([text_bytes(each.content) for each in prompt.messages])
        asks.most_input_tokens += most_tokens
        asks.max_tokens += params.max_tokens

    def _append_other(self, number: int, row: bytes, request: Request, part: Part) -> None:
        """Count a request that asks for more than text, as the plain ones are counted."""
        params = request.params
        found = asked(row, params.model)
        tariff = Tariff(params.model, found.most_tokens > LONG_PROMPT_TOKENS, found.geo)
        asks = part.demand.setdefault(tariff, Demand())
        asks.requests += 1
        asks.text_bytes += found.text_bytes
        asks.max_tokens += params.max_tokens
        found.into(asks)
        if found.reason:
            asks.cannot_bound(Unbounded(self.place(number), request.custom_id, found.reason))

    def _judge(self, index: int, where: str, request: Request) -> Iterator[Problem]:
        """A request of good shape: what takes knowledge of other requests, of models and of the API version."""
        params, custom_id = request.params, request.custom_id
        yield from self._repeated(index, where, custom_id)
        if self.rules.version >= _NO_SAMPLING_SINCE:
            for name in _SAMPLING:
                if getattr(params, name) is not msgspec.UNSET:
                    message = f"API version {self.rules.version} rejects it; leave it out"
                    yield Problem.error(at(where, f"params.{name}"), custom_id, "sampling key", message)
        if params.model not in MAX_TOKENS:
            hint = did_you_mean(params.model, list(MAX_TOKENS)) or "a request with a wrong one fails"
            message = f"{excerpt(params.model, 60)!r} is not known here; {hint}"
            yield Problem.warning(at(where, "params.model"), custom_id, "unknown model", message)
            return
        extended = EXTENDED_OUTPUT_BETA in self.rules.betas
        ceiling = EXTENDED_MAX_TOKENS if extended else MAX_TOKENS[params.model]
        if params.max_tokens > ceiling:
            message = f"{params.max_tokens:,} is more than the {ceiling:,} that {params.model} may generate"
            yield Problem.warning(
                at(where, "params.max_tokens"), custom_id, "max_tokens above the model's ceiling", message
            )

    def _repeated(self, index: int, where: str, custom_id: str) -> Iterator[Problem]:
        first = self._ids.setdefault(custom_id, index)
        if first != index:
            place = self.place(self._numbers[first])
            message = f"{custom_id!r} is the custom_id of {place} as well; each must be unique in a batch"
            yield Problem.error(at(where, "custom_id"), custom_id, "duplicate custom_id", message)

    def _explain(self, index: int, where: str, row: bytes) -> Iterator[Problem]:
        """A request of bad shape: everything that is wrong with it."""
        try:
            value = msgspec.json.decode(row)
        except UNREADABLE as error:
            yield Problem.error(where, None, "not JSON", f"is not JSON: {excerpt(str(error), 120)}")
            return
        if not isinstance(value, dict):
            yield Problem.error(where, None, "not an object", "expected an object with custom_id and params")
            return
        custom_id = value.get("custom_id")
        named = custom_id if isinstance(custom_id, str) else None
        if problem := custom_id_problem(value):
            yield Problem.error(at(where, "custom_id"), named, "custom_id", problem)
        elif named is not None:
            yield from self._repeated(index, where, named)
        for name in value.keys() - {"custom_id", "params"}:
            yield Problem.error(
                at(where, excerpt(name, 60)), named, "unknown key", "a request has custom_id and params only"
            )
        params = value.get("params")
        if not isinstance(params, dict):
            found = "missing" if "params" not in value else "expected an object: the body of a Messages request"
            yield Problem.error(at(where, "params"), named, "params", found)
            return
        for name, problem in params_problems(params):
            yield Problem.error(at(where, f"params.{name}"), named, f"params.{name}", problem)


def content_of(parts: Sequence[Part], betas: str) -> str:
    """What identifies the requests of some parts and betas, however they are written."""
    digest = hashlib.sha256(b"".join(part.digest.digest() for part in parts))
    digest.update(",".join(sorted({beta.strip() for beta in betas.split(",")})).encode())
    return digest.hexdigest()


def scan(rows: Iterable[tuple[int, bytes | str]], rules: Rules, place: Callable[[int], str]) -> Scan:
    """Check requests, each with its number for messages and as JSON, in one pass."""
    result = Scan(rules, place)
    for number, row in rows:
        result.add(number, row)
    return result


def canonical(row: bytes) -> bytes:
    """A request's JSON, the same for all that differ only in white space, escapes and the order of keys."""
    try:
        return _sorted(_any(row))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # half of a surrogate pair, say
        return row


_any = msgspec.json.Decoder().decode
_sorted = msgspec.json.Encoder(order="sorted").encode
