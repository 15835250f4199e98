"""Requests as they are read: typed as far as they are judged or counted here, in one pass over their JSON."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import msgspec

from batches_mcp.requests.checks import CUSTOM_ID, MOST_MAX_TOKENS

# What decoding raises: not JSON or of other types, text that is not UTF-8, and nesting without end.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_ANY = msgspec.Raw(b"null")

NotBlank = Annotated[str, msgspec.Meta(pattern=r"\S")]
Role = Literal["user", "assistant", "system"]


class Block(msgspec.Struct, gc=False):
    type: str
    text: NotBlank | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        if self.text is msgspec.UNSET and self.type == "text":
            raise ValueError


class Message(msgspec.Struct, gc=False):
    role: Role
    content: NotBlank | Annotated[list[Block], msgspec.Meta(min_length=1)]


class Judged(msgspec.Struct):
    """What of params is judged by what is known of models and API versions."""

    model: str
    max_tokens: int
    temperature: object = msgspec.UNSET
    top_p: object = msgspec.UNSET
    top_k: object = msgspec.UNSET


class Params(Judged, forbid_unknown_fields=True, kw_only=True):
    """Params of which `checks.params_faults` would find nothing; the keys are its `PARAMS_KEYS`."""

    messages: list[Message]
    temperature: float | msgspec.UnsetType | None = msgspec.UNSET
    top_p: float | msgspec.UnsetType | None = msgspec.UNSET
    top_k: int | msgspec.UnsetType | None = msgspec.UNSET
    stream: bool | None = None
    speed: None = None
    system: str | list[Block] | None = None
    billing_policy: msgspec.Raw = _ANY
    cache_control: msgspec.Raw = _ANY
    compaction: msgspec.Raw = _ANY
    container: msgspec.Raw = _ANY
    context_management: msgspec.Raw = _ANY
    diagnostics: msgspec.Raw = _ANY
    fallback_credit_token: msgspec.Raw = _ANY
    fallbacks: None = None
    inference_geo: msgspec.Raw = _ANY
    mcp_servers: msgspec.Raw = _ANY
    metadata: dict[str, msgspec.Raw] | None = None
    output_config: dict[str, msgspec.Raw] | None = None
    output_format: msgspec.Raw = _ANY
    service_tier: str | None = None
    stop_sequences: list[str] | None = None
    thinking: dict[str, msgspec.Raw] | None = None
    thread: msgspec.Raw = _ANY
    tool_choice: dict[str, msgspec.Raw] | None = None
    tools: list[dict[str, msgspec.Raw]] | None = None
    user_profile_id: msgspec.Raw = _ANY

    def __post_init__(self) -> None:
        if not 1 <= self.max_tokens <= MOST_MAX_TOKENS or self.stream or not self.messages:
            raise ValueError


class Text(msgspec.Struct, gc=False):
    role: Role
    content: NotBlank


class PlainParams(Params, forbid_unknown_fields=True, kw_only=True):
    """Params that ask for nothing but text, so that their length says how much."""

    messages: list[Text]  # type: ignore[assignment]
    system: str | None = None
    tools: None = None
    cache_control: None = None  # type: ignore[assignment]
    container: None = None  # type: ignore[assignment]
    context_management: None = None  # type: ignore[assignment]
    inference_geo: None = None  # type: ignore[assignment]
    mcp_servers: None = None  # type: ignore[assignment]


class Request(msgspec.Struct):
    """A request that is judged, whatever else it has."""

    custom_id: str
    params: Judged


class FineRequest(Request, forbid_unknown_fields=True):
    """A request of which `checks.request_faults` would find nothing."""

    params: Params

    def __post_init__(self) -> None:
        if not CUSTOM_ID.fullmatch(self.custom_id):
            raise ValueError


class PlainRequest(FineRequest, forbid_unknown_fields=True):
    params: PlainParams


class SimpleText(Text, forbid_unknown_fields=True, gc=False):
    """A message with nothing beside its text."""


class SimpleParams(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Plain params with what most requests have, and nothing that two ways of writing it could tell apart."""

    model: str
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=MOST_MAX_TOKENS)]
    messages: Annotated[list[SimpleText], msgspec.Meta(min_length=1)]
    system: str | msgspec.UnsetType = msgspec.UNSET
    stop_sequences: list[str] | msgspec.UnsetType = msgspec.UNSET
    temperature: int | float | msgspec.UnsetType = msgspec.UNSET
    top_p: int | float | msgspec.UnsetType = msgspec.UNSET
    top_k: int | msgspec.UnsetType = msgspec.UNSET

    @property
    def samples(self) -> bool:
        """Whether it has a key for sampling."""
        return not (self.temperature is self.top_p is self.top_k is msgspec.UNSET)


class SimpleRequest(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A request of which many are read at once; each of them is a `PlainRequest` as well."""

    custom_id: Annotated[str, msgspec.Meta(pattern=f"^{CUSTOM_ID.pattern}\\Z")]
    params: SimpleParams


_decode_simple = msgspec.json.Decoder(SimpleRequest).decode_lines
encode_all = msgspec.json.Encoder(order="sorted").encode_lines

_decode_any = msgspec.json.Decoder(Request).decode
_decode = msgspec.json.Decoder(FineRequest).decode
_decode_plain = msgspec.json.Decoder(PlainRequest).decode


def read_all(lines: bytes) -> list[SimpleRequest] | None:
    """The requests in lines that begin and end with a brace; None unless each of them is simple.

    Encoded by `encode_all`, they are as `parts.canonical` has them, with line feeds after each.
    """
    try:
        return _decode_simple(lines)
    except UNREADABLE:
        return None


def read(row: bytes) -> Request:
    """A request with nothing wrong in its shape; nearly every one is plain.

    Raises:
        UNREADABLE: it is none.
    """
    try:
        return _decode_plain(row)
    except UNREADABLE:
        return _decode(row)


def judged(row: bytes) -> Request | None:
    """A request of whatever shape, if what is judged of it can be read."""
    try:
        return _decode_any(row)
    except UNREADABLE:
        return None


def value_of(row: bytes) -> Any:
    """The JSON value of a row.

    Raises:
        UNREADABLE: it is not JSON, or has a number beyond all measure.
    """
    try:
        return msgspec.json.decode(row)
    except msgspec.DecodeError as error:
        try:
            return json.loads(row)  # takes half of a surrogate pair
        except ValueError:
            raise error from None
