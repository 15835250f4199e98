"""The parts that requests are split into, each of which one batch takes: how large they are, and what they ask for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from batches_mcp.core.limits import Limits
from batches_mcp.requests.demand import Demand, Unbounded, asked, most_text_tokens, text_bytes
from batches_mcp.requests.shape import PlainRequest, Request, SimpleRequest, encode_all
from batches_mcp.requests.tokens import BATCH_TIER, LONG_PROMPT_TOKENS, Tariff

# A body without requests, into whose list they go.
EMPTY_BODY = b'{"requests":[]}'
SEPARATOR = b","


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

    def has_room(self, requests: int, length_bytes: int, limits: Limits) -> bool:
        """Whether so many requests can be added, each with a separator."""
        together_bytes = self.body_bytes + length_bytes + requests * len(SEPARATOR)
        return self.count + requests <= limits.batch_requests and together_bytes <= limits.part_bytes

    def add(self, row: bytes, request: Request, place: str) -> None:
        """Add a request, which has been read from its JSON; `place` is where it stands."""
        self._count(1, len(row))
        self.digest.update(canonical(row))
        if type(request) is not PlainRequest:
            self._ask_for_more(row, request, place)
            return
        params, most_tokens = request.params, most_text_tokens(row)
        asks = self._asks(params.model, most_tokens)
        asks.requests += 1
        asks.most_input_tokens += most_tokens
        asks.text_bytes += text_bytes(params.system or "") + sum([text_bytes(each.content) for each in params.messages])
        asks.max_tokens += params.max_tokens

    def add_all(self, model: str, rows: Sequence[bytes], text: bytes, requests: Sequence[SimpleRequest]) -> None:
        """Add requests of one model at once, which are the lines of a text; the sums are those that `add` makes."""
        params = [request.params for request in requests]
        self._count(len(rows), len(text) - len(rows) + 1)
        self.digest.update(encode_all(requests).replace(b"\n", b""))
        # Without escapes, JSON in ASCII stands for texts in ASCII.
        size = len if text.isascii() and b"\\" not in text else text_bytes
        asks = self._asks(model, 0)
        asks.requests += len(rows)
        asks.most_input_tokens += sum(map(most_text_tokens, rows))
        asks.max_tokens += sum([each.max_tokens for each in params])
        asks.text_bytes += sum([size(message.content) for each in params for message in each.messages])
        asks.text_bytes += sum([size(each.system) for each in params if each.system])

    def _count(self, requests: int, length_bytes: int) -> None:
        self.body_bytes += length_bytes + len(SEPARATOR) * (requests if self.count else requests - 1)
        self.count += requests

    def _asks(self, model: str, most_tokens: int, geo: str = "") -> Demand:
        kind = (model, most_tokens > LONG_PROMPT_TOKENS, geo, BATCH_TIER)
        # Looked up by a plain tuple, which is the same key and quicker made.
        return self.demand.get(kind) or self.demand.setdefault(Tariff(*kind), Demand())  # type: ignore[call-overload]

    def _ask_for_more(self, row: bytes, request: Request, place: str) -> None:
        """Count a request that asks for more than text, as the plain ones are counted."""
        params = request.params
        found = asked(row, params.model)
        asks = self._asks(params.model, found.most_tokens, found.geo)
        asks.requests += 1
        asks.text_bytes += found.text_bytes
        asks.max_tokens += params.max_tokens
        found.into(asks)
        if found.reason:
            asks.cannot_bound(Unbounded(place, request.custom_id, found.reason))


def content_of(parts: Sequence[Part], betas: str) -> str:
    """What identifies the requests of some parts and betas, however they are written."""
    digest = hashlib.sha256(b"".join(part.digest.digest() for part in parts))
    digest.update(",".join(sorted({beta.strip() for beta in betas.split(",")})).encode())
    return digest.hexdigest()


def canonical(row: bytes) -> bytes:
    """A request's JSON, the same for all that differ only in white space, escapes and the order of keys."""
    try:
        return _sorted(_any(row))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # half of a surrogate pair, say
        return row


_any = msgspec.json.Decoder().decode
_sorted = msgspec.json.Encoder(order="sorted").encode
