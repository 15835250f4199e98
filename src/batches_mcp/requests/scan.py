"""The requests of a batch: checked before anything is sent, counted, and split into parts that the API takes.

An error is what the API would reject the batch for, or what makes a request fail for certain; a warning is what may
make it fail. The API itself tells the first of the former for the whole batch, and the latter when it has ended.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import msgspec

from batches_mcp.core.diagnostics import Severity
from batches_mcp.core.limits import LIMITS, Limits
from batches_mcp.core.redact import excerpt
from batches_mcp.requests.checks import CUSTOM_ID, MOST_MAX_TOKENS, NOT_UTF_8, request_faults
from batches_mcp.requests.demand import Demand
from batches_mcp.requests.known import unknown_model
from batches_mcp.requests.models import EXTENDED_MAX_TOKENS, EXTENDED_OUTPUT_BETA, MAX_TOKENS
from batches_mcp.requests.parts import Part
from batches_mcp.requests.problems import MOST_SHOWN, Fault, Problem, Problems, at
from batches_mcp.requests.shape import UNREADABLE, Judged, PlainRequest, Request, judged, read, read_all, value_of
from batches_mcp.requests.template import Template
from batches_mcp.requests.tokens import LONG_PROMPT_TOKENS, Tariff

_SAMPLING = ("temperature", "top_p", "top_k")
# https://platform.claude.com/docs/en/api/versioning: from this version on, sampling keys are rejected.
_NO_SAMPLING_SINCE = "2026-10-21"


@dataclass(frozen=True, slots=True)
class RequestRules:
    """What the headers of a create decide about its requests, and how many of them make a part."""

    version: str
    betas: frozenset[str] = frozenset()
    limits: Limits = LIMITS


@dataclass(slots=True)
class Scan:
    """What one pass over the requests found. Memory grows with their ids and numbers, and with nothing else.

    `place` makes the place for messages out of the number that a request comes with. What `template` says of every
    request is blamed on it. A request without errors that `leave_out` says, by its index from 0 and its JSON, goes into
    no part. `invalid_rows` are the first of the requests with errors, as `{where, custom_id?}`. One with errors is
    `refused`, by its index and what is wrong with it. With `unique_ids` they are known to be, and are not remembered.
    """

    rules: RequestRules
    place: Callable[[int], str]
    template: Template | None = None
    leave_out: Callable[[int, bytes], bool] | None = None
    refused: Callable[[int, str], object] | None = None
    unique_ids: bool = False
    invalid: set[int] = field(default_factory=set)
    invalid_rows: list[dict[str, str]] = field(default_factory=list)
    models: Counter[str] = field(default_factory=Counter)
    _problems: Problems = field(default_factory=Problems)
    _unknown_models: dict[str, Fault] = field(default_factory=dict)
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

    @property
    def problems(self) -> list[Problem]:
        """What was found, by cause; at most `MOST_SHOWN`."""
        return self._problems.shown()

    def count(self, severity: Severity) -> int:
        return self._problems.count(severity)

    def add(self, number: int, row: bytes | str) -> int | None:
        """Check the next request: its JSON, or the reason why there is none.

        The part it goes into, from 0, is returned; None when it is not sent.
        """
        index = len(self._numbers)
        self._numbers.append(number)
        request, found = self._check(index, row)
        if self.template and self.template.empty and not found:
            found = [_empty_cell(name) for name in self.template.empty]
        for fault in found:
            self._note(number, fault)
            if fault.severity is Severity.ERROR and index not in self.invalid:
                self.invalid.add(index)
                if len(self.invalid_rows) < MOST_SHOWN:
                    self.invalid_rows.append({"where": self.place(number), **_named(row)})
        if self.refused is not None and index in self.invalid:
            self.refused(index, "; ".join(f"{at(self.place(number), each.path)}: {each.message}" for each in found))
        if isinstance(row, bytes) and request and (not found or index not in self.invalid):
            if self.leave_out is not None and self.leave_out(index, row):
                return None
            self._append(number, row, request)
            return len(self._full)
        return None

    def add_all(self, numbers: Sequence[int], rows: Sequence[bytes], text: bytes) -> int | None:
        """Check the next requests at once, as `reading.Rows` has them; the part they go into, from 0.

        None, and nothing is done, when it takes a look at each of them.
        """
        if self.template or self.leave_out:
            return None
        requests = read_all(text)
        # Two in a line make one more.
        if (
            not requests
            or len(requests) > len(rows)
            or not self._last.has_room(len(rows), len(text), self.rules.limits)
        ):
            return None
        model = requests[0].params.model
        most_tokens = MAX_TOKENS.get(model, 0)
        for request in requests:
            params = request.params
            if params.model != model or params.max_tokens > most_tokens or (self._no_sampling and params.samples):
                return None
        ids = [request.custom_id for request in requests]
        if len(set(ids)) < len(ids) or not self._ids.keys().isdisjoint(ids):
            return None
        if max(map(len, rows)) > LONG_PROMPT_TOKENS:  # no token is shorter than a byte
            return None
        self._ids.update(zip(ids, range(len(self._numbers), len(self._numbers) + len(ids)), strict=True))
        self._numbers.extend(numbers)
        self.models[model] += len(rows)
        self._last.add_all(model, rows, text, requests)
        return len(self._full)

    @property
    def _no_sampling(self) -> bool:
        return self.rules.version >= _NO_SAMPLING_SINCE

    def _note(self, number: int, fault: Fault) -> None:
        problem = self._problems.add(fault)
        if problem is not None:
            blamed = self.template.place(fault.path) if self.template else ""
            where = blamed or at(self.place(number), fault.path)
            if where not in problem.where:
                problem.where.append(where)

    def _check(self, index: int, row: bytes | str) -> tuple[Request | None, Sequence[Fault]]:
        if isinstance(row, str):
            return None, [Fault("", "unreadable row", row, row)]
        try:
            request = read(row)
        except UNREADABLE as error:
            return self._explain(index, row, error)
        params = request.params
        self.models[params.model] += 1
        # The way of nearly every request: a new id, a known model, a possible length, and no sampling key.
        if (
            (self.unique_ids or self._ids.setdefault(request.custom_id, index) == index)
            and params.max_tokens <= MAX_TOKENS.get(params.model, 0)
            and params.temperature is params.top_p is params.top_k is msgspec.UNSET
        ):
            return request, ()
        return request, [*self._repeated(index, request.custom_id), *self._judge(request.params)]

    def _append(self, number: int, row: bytes, request: Request) -> None:
        if self._last.count and not self._last.has_room(1, len(row), self.rules.limits):
            self._full.append(self._last)
            self._last = Part()
        self._last.add(row, request, "" if type(request) is PlainRequest else self.place(number))

    def _judge(self, params: Judged) -> Iterator[Fault]:
        """What takes knowledge of models and of the API version."""
        if self._no_sampling:
            for name in _SAMPLING:
                if getattr(params, name) is not msgspec.UNSET:
                    message = f"API version {self.rules.version} rejects it; leave it out"
                    yield Fault(f"params.{name}", "sampling key", message, name)
        if params.model not in MAX_TOKENS:
            yield self._unknown(params.model)
            return
        extended = EXTENDED_OUTPUT_BETA in self.rules.betas
        ceiling = EXTENDED_MAX_TOKENS if extended else MAX_TOKENS[params.model]
        if ceiling < params.max_tokens <= MOST_MAX_TOKENS:
            message = f"{params.max_tokens:,} is more than the {ceiling:,} that {params.model} may generate"
            kind = "max_tokens above the model's ceiling"
            yield Fault.warning("params.max_tokens", kind, message, params.model)

    def _unknown(self, model: str) -> Fault:
        """Said in full of as many models as problems are shown; it takes a while to find what was meant."""
        fault = self._unknown_models.get(model)
        if fault is None:
            few = len(self._unknown_models) < MOST_SHOWN
            message = unknown_model(model) if few else f"{excerpt(model, 60)!r} is not known here"
            fault = Fault.warning("params.model", "unknown model", message, model)
            if few:
                self._unknown_models[model] = fault
        return fault

    def _repeated(self, index: int, custom_id: str) -> Iterator[Fault]:
        first = index if self.unique_ids else self._ids.setdefault(custom_id, index)
        if first != index:
            place = self.place(self._numbers[first])
            message = f"{custom_id!r} is the custom_id of {place} as well; each must be unique in a batch"
            yield Fault("custom_id", "duplicate custom_id", message)

    def _explain(self, index: int, row: bytes, error: Exception) -> tuple[Request | None, list[Fault]]:
        """A request that is not of the usual shape: everything that is wrong with it; perhaps nothing is."""
        try:
            value = value_of(row)
        except UNREADABLE as unreadable:
            return None, [_not_json(row, unreadable)]
        found = list(request_faults(value, betas=any(self.rules.betas)))
        custom_id = value.get("custom_id") if isinstance(value, dict) else None
        if isinstance(custom_id, str) and CUSTOM_ID.fullmatch(custom_id):
            found += self._repeated(index, custom_id)
        request = judged(row)
        if request is not None:
            found += self._judge(request.params)
            if not any(fault.severity is Severity.ERROR for fault in found):
                self.models[request.params.model] += 1
        else:
            found = found or [Fault("", "shape", excerpt(str(error), 200))]
            params = value.get("params") if isinstance(value, dict) else None
            model = params.get("model") if isinstance(params, dict) else None
            if isinstance(model, str) and model not in MAX_TOKENS:
                found.append(self._unknown(model))
        return request, found


def _named(row: bytes | str) -> dict[str, str]:
    """The custom_id of a request with errors, if that is not one of them."""
    try:
        value = value_of(row) if isinstance(row, bytes) else None
    except UNREADABLE:
        return {}
    custom_id = value.get("custom_id") if isinstance(value, dict) else None
    return {"custom_id": custom_id} if isinstance(custom_id, str) and CUSTOM_ID.fullmatch(custom_id) else {}


def _empty_cell(column: str) -> Fault:
    message = "the cell is empty"
    return Fault.warning(excerpt(column, 60), "empty cell", message, column)


def _not_json(row: bytes, error: Exception) -> Fault:
    try:
        row.decode()
    except UnicodeDecodeError:
        return Fault("", "not UTF-8", NOT_UTF_8)
    return Fault("", "not JSON", f"is not JSON: {excerpt(str(error), 120)}")


def scan(
    rows: Iterable[tuple[int, bytes | str]],
    rules: RequestRules,
    place: Callable[[int], str],
    template: Template | None = None,
) -> Scan:
    """Check requests, each with its number for messages and as JSON, in one pass."""
    result = Scan(rules, place, template)
    for number, row in rows:
        result.add(number, row)
    return result
