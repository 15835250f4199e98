"""Lines of a results stream -> what they say, without the content of messages. Pure.

Types and fields that are not known pass; what is no row is told apart. Shapes as seen and documented:
https://platform.claude.com/docs/en/api/retrieving-message-batch-results
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

import msgspec

PartT = TypeVar("PartT")

# As many as every JSON library reads without loss.
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]

_MOST_MEAN_ROW_BYTES = 8_000_000
# Lines that are no results, blank ones among them, do no harm as long as they are few.
_SPARE_LINES = 1_000

_BOM = b"\xef\xbb\xbf"


# Searches cost by their number, and fetches no more than their tokens:
# https://platform.claude.com/docs/en/about-claude/pricing#specific-tool-pricing
_COUNTED_TOOLS = frozenset({"web_search_requests", "web_fetch_requests"})


# https://platform.claude.com/docs/en/build-with-claude/batch-processing#pricing
_FREE = frozenset({"errored", "canceled", "expired"})


class CacheCreation(msgspec.Struct, gc=False):
    ephemeral_1h_input_tokens: _Count | None = None


class Usage(msgspec.Struct, gc=False):
    input_tokens: _Count | None = None
    cache_creation_input_tokens: _Count | None = None
    cache_read_input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    cache_creation: CacheCreation | None = None
    inference_geo: str | None = None
    service_tier: str | None = None
    server_tool_use: object = None
    iterations: object = None

    @property
    def web_search_requests(self) -> int:
        """How many searches are billed."""
        match self.server_tool_use:
            case {"web_search_requests": int(number)} if number > 0:
                return number
            case _:
                return 0

    @property
    def priced(self) -> bool:
        """Whether these counts tell what the request cost.

        They do not when a server tool was used whose fee depends on more, or when another model, or a compaction,
        worked on the answer as well, whose tokens are in `iterations` only.
        """
        match self.server_tool_use:
            case None:
                fees = True
            case dict() as used:
                fees = all(
                    not number or (name in _COUNTED_TOOLS and type(number) is int and number > 0)
                    for name, number in used.items()
                )
            case _:
                fees = False
        match self.iterations:
            case None:
                alone = True
            case list() as rounds:
                alone = all(isinstance(each, dict) and each.get("type") == "message" for each in rounds)
            case _:
                alone = False
        return fees and alone and self.input_tokens is not None and self.output_tokens is not None


class Message(msgspec.Struct, gc=False):
    """A message without its content."""

    model: str = ""
    stop_reason: str | None = None
    usage: Usage | None = None
    container: object = None

    @property
    def priced(self) -> bool:
        """Whether the message tells what it cost; a container is billed by the time that it ran."""
        return self.usage is not None and self.container is None and self.usage.priced


class InnerError(msgspec.Struct, gc=False):
    type: str = ""
    message: object = ""


class OuterError(msgspec.Struct, gc=False):
    """The error is nested twice; the type of the outer one is always "error"."""

    error: InnerError | None = None


class Result(msgspec.Struct, gc=False):
    type: str
    message: Message | None = None
    error: OuterError | None = None

    @property
    def billed(self) -> bool:
        """Whether it is, or may be, one that costs: errored, canceled and expired requests are free."""
        return self.type not in _FREE

    @property
    def error_type(self) -> str | None:
        inner = self.error.error if self.error is not None else None
        return inner.type if inner is not None else None

    @property
    def error_message(self) -> str:
        inner = self.error.error if self.error is not None else None
        return inner.message if inner is not None and isinstance(inner.message, str) else ""


class Row(msgspec.Struct, gc=False):
    """One line of results; `result.type` is succeeded, errored, canceled, expired, or a type that is not known yet."""

    custom_id: str
    result: Result


_decode = msgspec.json.Decoder(Row).decode

# What decoding raises: not JSON or of other types, text that is not UTF-8, and nesting without end.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Lines:
    """Cuts the stream of a batch of so many rows into lines, whatever the pieces it comes in; LF alone ends a line.

    A stream that cannot be that of such a batch, because it goes on without end or a line is longer than `line_bytes`,
    is `too_long`.
    """

    def __init__(self, rows: int, line_bytes: int) -> None:
        self.too_long = False
        self._line_bytes = line_bytes
        self._lines_left = rows + _SPARE_LINES
        self._bytes_left = rows * _MOST_MEAN_ROW_BYTES + line_bytes
        self._begun: list[bytes] = []
        self._begun_bytes = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that this piece ends, without their ends."""
        *lines, rest = chunk.split(b"\n")
        if lines:
            lines[0] = b"".join([*self._begun, lines[0]])
            self._begun, self._begun_bytes = [], 0
        self._begun.append(rest)
        self._begun_bytes += len(rest)
        self._lines_left -= len(lines)
        self._bytes_left -= len(chunk)
        if self._begun_bytes > self._line_bytes or self._lines_left < 0 or self._bytes_left < 0:
            self.too_long = True
            self._begun, self._begun_bytes = [], 0
        return lines

    def rest(self) -> bytes:
        """What came after the last line's end."""
        return b"".join(self._begun)


def read_rows(lines: Sequence[bytes]) -> Sequence[Row | None]:
    """The rows of lines, None for each that is none."""
    try:
        return [_decode(line) for line in lines]
    except UNREADABLE:
        return [read_row(line) for line in lines]


def read_row(line: bytes) -> Row | None:
    """The row of a line, None when it is none: not JSON, or without a custom_id and a result with a type."""
    try:
        return _decode(line)
    except UNREADABLE:
        pass
    try:
        value = loads(line)
    except (ValueError, RecursionError):
        return None
    match value:
        case {"custom_id": str(custom_id), "result": {"type": str(outcome)} as found}:
            # Facts that are not of the type they should be are left out, with what they belong to.
            parts = _part(found.get("message"), Message), _part(found.get("error"), OuterError)
            return Row(custom_id, Result(outcome, *parts))
        case _:
            return None


def loads(line: bytes) -> Any:
    """The JSON value of a line; halves of surrogate pairs and broken UTF-8 become U+FFFD, no number is infinite.

    Raises:
        ValueError: it is not JSON.
        RecursionError: it is nested without end.
    """
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = line.removeprefix(_BOM).decode("utf-8", "replace")
        return _clean(json.loads(text, parse_constant=lambda _: None))


def _clean(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case list():
            return [_clean(each) for each in value]
        case dict():
            return {_clean(name): _clean(each) for name, each in value.items()}
        case float() if value - value != 0:  # an overflow
            return None
        case _:
            return value


def _part(value: Any, kind: type[PartT]) -> PartT | None:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return None
