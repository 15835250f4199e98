"""Requests as they are read: typed as far as they are judged or counted here, in one pass over their JSON."""

from __future__ import annotations

import msgspec

from batches_mcp.requests.problems import CUSTOM_ID, MOST_MAX_TOKENS

# What decoding raises: not JSON or of other types, text that is not UTF-8, and nesting without end.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Params(msgspec.Struct):
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
        if not 1 <= self.max_tokens <= MOST_MAX_TOKENS or self.stream or not self.messages:
            raise ValueError


class Request(msgspec.Struct, forbid_unknown_fields=True):
    custom_id: str
    params: Params

    def __post_init__(self) -> None:
        if not CUSTOM_ID.fullmatch(self.custom_id):
            raise ValueError


class Text(msgspec.Struct, gc=False):
    content: str


class PlainParams(Params):
    """Params that ask for nothing but text, so that their length says how much."""

    messages: list[Text]  # type: ignore[assignment]
    system: str | None = None
    tools: None = None
    cache_control: None = None
    container: None = None
    context_management: None = None
    inference_geo: None = None
    mcp_servers: None = None


class PlainRequest(Request):
    params: PlainParams


_decode = msgspec.json.Decoder(Request).decode
_decode_plain = msgspec.json.Decoder(PlainRequest).decode


def read(row: bytes) -> Request:
    """A request; nearly every one is plain."""
    try:
        return _decode_plain(row)
    except UNREADABLE:
        return _decode(row)
