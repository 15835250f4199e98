"""How much a request asks for, as far as that can be known without the model's tokenizer.

What stands in `input` of a tool's use, in a schema or in a text is text, whatever it looks like: images and documents
are content blocks where the Messages API takes them, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from batches_mcp.requests.models import context_tokens
from batches_mcp.requests.tokens import GEO_FACTORS, PLAIN_GEOS

# English prose has 4 to 5 bytes to a token with the older tokenizers and about a third fewer with those of 2026; code,
# numbers and ids have 2 to 3, and other scripts hardly more tokens than bytes.
BYTES_PER_TOKEN = 3.5
FEWEST_BYTES_PER_TOKEN = 2
MOST_BYTES_PER_TOKEN = 5.0
_ASCII = bytes(range(128))

# https://platform.claude.com/docs/en/build-with-claude/vision#evaluate-image-size: an image is scaled down to 1,568
# tokens, by models of high resolution to 4,784.
_IMAGE_TOKENS, _MOST_IMAGE_TOKENS = 1_600, 4_784
# https://platform.claude.com/docs/en/build-with-claude/pdf-support: 1,500 to 3,000 tokens of text a page and an image
# of it; here of about 100 kB. At the most, a few bytes make a page, and a request has 600 pages (100 with a context of
# 200,000 tokens): together more than any model reads, so that what the model reads is the bound.
_DOCUMENT_BYTES_PER_TOKEN = 40
# https://platform.claude.com/docs/en/about-claude/pricing#tool-use-pricing: the system prompt for tools has up to 804
# tokens, and the definitions that the API itself adds for a computer, a shell and an editor about 2,000 together.
_TOOLS_TOKENS = 3_000
# Carried out by whoever made the request: they add nothing that is not in it.
_CLIENT_TOOLS = ("custom", "bash_", "text_editor_", "computer_", "memory_")
_LIMITED_TOOLS = ("web_search_", "web_fetch_")
_MOST_USES = 1_000
_USES_OF_TOOLS = ("tool_use", "server_tool_use", "mcp_tool_use")
# The keys of content blocks whose texts are read.
_TEXTS = ("text", "thinking", "title", "context")


@dataclass(frozen=True, slots=True)
class Unbounded:
    """Why it cannot be known what requests may cost: what they ask for, where the first stands, how many there are."""

    where: str
    custom_id: str
    reason: str
    requests: int = 1


@dataclass(slots=True)
class Demand:
    """Requests of one tariff, added up.

    `text_bytes` are those of the prompts: their texts in UTF-8, and tools and their inputs as JSON, without the JSON
    around them. Images and documents typically make `attached_tokens`; `cached_bytes` are the text of requests that ask
    for caching. At the most `most_input_tokens` are read, of which the `most_written_tokens` (and for an hour,
    `most_written_1h_tokens`) are written to the cache.
    """

    requests: int = 0
    text_bytes: int = 0
    max_tokens: int = 0
    most_input_tokens: int = 0
    most_written_tokens: int = 0
    most_written_1h_tokens: int = 0
    attached_tokens: int = 0
    cached_bytes: int = 0
    searches: int = 0
    unbounded: dict[str, Unbounded] = field(default_factory=dict)

    def include(self, other: Demand) -> None:
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for each in other.unbounded.values():
            self.cannot_bound(each)

    def cannot_bound(self, found: Unbounded) -> None:
        known = self.unbounded.setdefault(found.reason, found)
        if known is not found:
            together = known.requests + found.requests
            self.unbounded[found.reason] = Unbounded(known.where, known.custom_id, found.reason, together)


_COUNTS = tuple(name for name in Demand.__slots__ if name != "unbounded")


@dataclass(slots=True)
class Asked:
    """What one request asks for; `cache` is how long its cache lives ("5m", "1h", "" for none), `geo` as in Tariff."""

    text_bytes: int
    most_tokens: int = 0
    attached_tokens: int = 0
    cache: str = ""
    geo: str = ""
    searches: int = 0
    reason: str = ""

    def into(self, demand: Demand) -> None:
        """Add all but the text to a sum."""
        demand.most_input_tokens += self.most_tokens
        demand.attached_tokens += self.attached_tokens
        demand.searches += self.searches
        if self.cache:
            demand.cached_bytes += self.text_bytes
            demand.most_written_tokens += self.most_tokens
            demand.most_written_1h_tokens += self.most_tokens if self.cache == "1h" else 0


def most_text_tokens(row: bytes) -> int:
    """The most tokens that the text of a request makes; beyond ASCII, each byte may be one."""
    other_bytes = 0 if row.isascii() else len(row.translate(None, _ASCII))
    return (len(row) - other_bytes) // FEWEST_BYTES_PER_TOKEN + 1 + other_bytes


def text_bytes(text: str) -> int:
    """The length of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def asked(row: bytes, model: str) -> Asked:
    """What a request asks for that is not just text."""
    try:
        params = _decoded(row)["params"]
    except (ValueError, RecursionError):
        return Asked(len(row), most_text_tokens(row), reason="its content cannot be read")
    found = Asked(0)
    images = documents = data_bytes = 0
    for block in _content(params):
        if isinstance(block, str):
            found.text_bytes += text_bytes(block)
            continue
        _note_cache(found, block)
        kind, source = block.get("type"), block.get("source")
        source = source if isinstance(source, dict) else {}
        data = source.get("data")
        if kind == "container_upload":
            found.reason = found.reason or "a container_upload, since the container is billed by time"
        elif kind not in ("image", "document") and source:
            found.reason = found.reason or f"content of type {kind}, whose price is not known"
        elif kind == "image":
            images += 1
            data_bytes += len(data) if source.get("type") == "base64" and isinstance(data, str) else 0
        elif kind == "document" and source.get("type") == "base64" and isinstance(data, str):
            documents += 1
            data_bytes += len(data)
            found.attached_tokens += max(_IMAGE_TOKENS, len(data) // _DOCUMENT_BYTES_PER_TOKEN)
        elif kind == "document" and source.get("type") == "url":
            found.reason = found.reason or "a document by URL, whose length is not known"
        elif kind == "document" and source.get("type") not in ("text", "content"):
            found.reason = found.reason or "a document in an uploaded file, whose length is not known"
    found.attached_tokens += images * _IMAGE_TOKENS
    rounds = 1 + _tools(found, params)
    _settings(found, params)
    context = context_tokens(model)
    most = most_text_tokens(row) - data_bytes // FEWEST_BYTES_PER_TOKEN
    most += images * _MOST_IMAGE_TOKENS + documents * context + (_TOOLS_TOKENS if params.get("tools") else 0)
    # After each use of a server tool the model reads all there is anew.
    found.most_tokens = min(most, context) if rounds == 1 else rounds * context
    return found


def _decoded(row: bytes) -> Any:
    try:
        return msgspec.json.decode(row)
    except msgspec.DecodeError:  # half of a surrogate pair, or a number beyond all measure
        return json.loads(row)


def _content(params: dict[str, Any]) -> Iterator[dict[str, Any] | str]:
    """Every content block that the API reads, however deep, what is cached like one, and every text among them."""
    waiting: list[Any] = [params.get("system")]
    messages = params.get("messages")
    if isinstance(messages, list):
        waiting += [message.get("content") for message in messages if isinstance(message, dict)]
    while waiting:
        match waiting.pop():
            case str() as text:
                yield text
            case list() as blocks:
                waiting += [block for block in blocks if isinstance(block, dict)]
            case dict() as block:
                yield block
                yield from (value for name in _TEXTS if isinstance(value := block.get(name), str))
                if block.get("type") in _USES_OF_TOOLS:
                    yield _json(block.get("input"))
                    continue
                source = block.get("source")
                waiting.append(block.get("content"))
                if isinstance(source, dict):
                    waiting.append(source.get("content"))
                    waiting.append(source.get("data") if source.get("type") == "text" else None)
            case _:
                pass


def _tools(found: Asked, params: dict[str, Any]) -> int:
    """How often server tools may be used; notes what may be used without limit."""
    given, uses = params.get("tools"), 0
    for tool in given if isinstance(given, list) else []:
        if not isinstance(tool, dict):
            continue
        found.text_bytes += text_bytes(_json(tool))
        _note_cache(found, tool)
        kind = str(tool.get("type") or "custom")
        most = tool.get("max_uses")
        if kind.startswith(_CLIENT_TOOLS):
            continue
        if not kind.startswith(_LIMITED_TOOLS):
            found.reason = found.reason or f"the tool {kind}, whose uses have no limit"
        elif type(most) is not int or not 0 <= most <= _MOST_USES:
            found.reason = found.reason or f"the tool {kind} without max_uses (at most {_MOST_USES:,})"
        else:
            uses += most
            found.searches += most if kind.startswith("web_search_") else 0
    return uses


def _settings(found: Asked, params: dict[str, Any]) -> None:
    _note_cache(found, params)
    geo = params.get("inference_geo")
    if isinstance(geo, str) and geo in GEO_FACTORS:
        found.geo = geo
    elif geo is not None and geo not in PLAIN_GEOS:
        found.reason = found.reason or "inference_geo, whose surcharge is not known there"
    edits = params.get("context_management")
    edits = edits.get("edits") if isinstance(edits, dict) else None
    kinds = [str(edit.get("type")) for edit in edits if isinstance(edit, dict)] if isinstance(edits, list) else []
    if params.get("container") is not None:
        found.reason = found.reason or "a container, which is billed by time"
    elif params.get("mcp_servers"):
        found.reason = found.reason or "MCP servers, whose answers have no limit"
    elif any(kind.startswith("compact") for kind in kinds):
        found.reason = found.reason or "compaction, which generates more than max_tokens"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _note_cache(found: Asked, holder: dict[str, Any]) -> None:
    control = holder.get("cache_control")
    if isinstance(control, dict) and found.cache != "1h":
        found.cache = "1h" if control.get("ttl") == "1h" else "5m"
