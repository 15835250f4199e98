"""The body of a create: what the capability file says of it, and the requests of a part in place of its empty list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import SecretStr

from batches_mcp.api.headers import BETA_HEADER, VERSION_HEADER
from batches_mcp.core.limits import LIMITS, Limits
from batches_mcp.core.plan import RequestPlan
from batches_mcp.exchange import request
from batches_mcp.requests.parts import EMPTY_BODY, SEPARATOR
from batches_mcp.requests.scan import RequestRules

_PIECE_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Frame:
    """What a create sends around its requests, and what decides about them."""

    opening: bytes
    closing: bytes
    version: str
    beta: str
    limits: Limits = LIMITS

    @property
    def rules(self) -> RequestRules:
        """What the headers decide about the requests."""
        return RequestRules(self.version, frozenset(beta.strip() for beta in self.beta.split(",")), self.limits)

    def around(self, rows: Iterable[bytes]) -> Iterator[bytes]:
        """The body of these requests, in pieces."""
        parts, length_bytes, separator = [self.opening], len(self.opening), b""
        for row in rows:
            parts += (separator, row)
            separator, length_bytes = SEPARATOR, length_bytes + len(row)
            if length_bytes >= _PIECE_BYTES:
                yield b"".join(parts)
                parts, length_bytes = [], 0
        yield b"".join([*parts, self.closing])


def frame(
    create: RequestPlan, arguments: Mapping[str, Any], variables: Mapping[str, SecretStr], limits: Limits = LIMITS
) -> Frame:
    """The frame of a create with these arguments, whose list of requests is empty; no key is needed to know it."""
    built = request.build(replace(create, credential=None), arguments, variables)
    headers = {name.lower(): value for name, value in built.headers}
    body = built.body if isinstance(built.body, bytes) else EMPTY_BODY
    head, _, tail = body.partition(EMPTY_BODY[1:-1])
    return Frame(
        opening=head + EMPTY_BODY[1:-2],
        closing=EMPTY_BODY[-2:-1] + tail,
        version=headers.get(VERSION_HEADER, ""),
        beta=headers.get(BETA_HEADER, ""),
        limits=limits,
    )
