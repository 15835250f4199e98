"""How much a request asks for, as far as that can be told without the model's tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from batches_mcp.batch.tokens import LONG_PROMPT_TOKENS

# English prose has 4 to 5 bytes to a token with the older tokenizers and about a third fewer with those of 2026; code,
# ids and the JSON around short requests have 2.5 to 3.
BYTES_PER_TOKEN = 3.5
FEWEST_BYTES_PER_TOKEN = 2.5
MOST_BYTES_PER_TOKEN = 5.0

# A request of more text than this may have a long prompt, and one of less certainly has none.
LONG_PROMPT_BYTES = int(LONG_PROMPT_TOKENS * FEWEST_BYTES_PER_TOKEN)

# A smaller request holds nothing in base64 that could mislead.
LARGE_BYTES = 20_000
# https://platform.claude.com/docs/en/build-with-claude/vision: about the most that one image makes.
_IMAGE_TOKENS = 1_600
# https://platform.claude.com/docs/en/build-with-claude/pdf-support: 1,500 to 3,000 tokens a page, here of about 100 kB.
_DOCUMENT_BYTES_PER_TOKEN = 40


@dataclass(slots=True)
class Demand:
    """Requests of one tariff, added up: `text_bytes` are those of the JSON, with images and documents as text alike."""

    requests: int = 0
    text_bytes: int = 0
    max_tokens: int = 0

    def include(self, other: Demand) -> None:
        self.requests += other.requests
        self.text_bytes += other.text_bytes
        self.max_tokens += other.max_tokens


def text_bytes(row: bytes) -> int:
    """The length of a request, in which an image or document counts as the text that makes as many tokens."""
    length = len(row)
    if b"base64" not in row:
        return length
    try:
        request = msgspec.json.decode(row)
    except (msgspec.DecodeError, RecursionError):  # half of a surrogate pair, say
        return length
    for source in _encoded(request):
        encoded = len(source["data"])
        image = str(source.get("media_type")).startswith("image/")
        tokens = _IMAGE_TOKENS if image else max(_IMAGE_TOKENS, encoded // _DOCUMENT_BYTES_PER_TOKEN)
        length -= encoded - min(encoded, int(tokens * BYTES_PER_TOKEN))
    return length


def _encoded(value: Any) -> Iterator[dict[str, Any]]:
    """Every `{"type": "base64", "data": ...}` within a value."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case {"type": "base64", "data": str()} as source:
                yield source
            case dict() as fields:
                waiting.extend(fields.values())
            case list() as items:
                waiting.extend(items)
            case _:
                pass
