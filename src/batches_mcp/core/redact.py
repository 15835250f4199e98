"""The one place that masks secrets and makes foreign text safe to show."""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

MASK = "***"

# Masking very short values would garble every text they occur in, and nothing that short protects anything.
_SHORTEST_SECRET = 4

# Anthropic's API keys and OAuth tokens, whoever's they are: https://platform.claude.com/docs/en/api/overview
_ANTHROPIC_CREDENTIAL = re.compile(r"sk-ant-[A-Za-z0-9_-]{4,}")

# C0 and C1 controls but tab and newline, and the invisible bidirectional and zero-width characters that can hide text.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


@dataclass(frozen=True, repr=False)
class Redactor:
    """Replaces every occurrence of the known secrets, and of anything shaped like an Anthropic credential, by `***`."""

    _secrets: re.Pattern[str]

    @classmethod
    def of(cls, secrets: Iterable[str]) -> Redactor:
        """`secrets` are the plain values; the forms they take on the wire are derived."""
        known = {form for secret in secrets if len(secret) >= _SHORTEST_SECRET for form in _forms(secret)}
        longest_first = sorted(known, key=len, reverse=True)
        return cls(re.compile("|".join([*map(re.escape, longest_first), _ANTHROPIC_CREDENTIAL.pattern])))

    def text(self, text: str) -> str:
        return self._secrets.sub(MASK, text)

    def json(self, value: Any) -> Any:
        """The JSON value with every string in it masked, keys included."""
        match value:
            case str():
                return self.text(value)
            case dict():
                return {self.text(key): self.json(item) for key, item in value.items()}
            case list():
                return [self.json(item) for item in value]
            case _:
                return value

    def found_in(self, text: str) -> bool:
        return self._secrets.search(text) is not None


def _forms(secret: str) -> Iterator[str]:
    """A secret as it is, in JSON text, in a URL, in base64, and in the base64 of any longer text (`user:secret`)."""
    yield secret
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield quote(secret, safe="", errors="surrogateescape")
    encoded = secret.encode(errors="surrogateescape")
    yield base64.b64encode(encoded).decode()
    for before in range(3):
        # Six bits a character: of those at the ends, some belong to the text around the secret.
        first, last = -(-8 * before // 6), 8 * (before + len(encoded)) // 6
        yield base64.b64encode(bytes(before) + encoded).decode()[first:last]


class RedactingFilter(logging.Filter):
    """Masks secrets and control characters in every log record, arguments and tracebacks included."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = str(record.msg)  # another library's arguments do not fit its own text
        record.msg, record.args = self._safe(message), None
        if record.exc_info:
            record.exc_text = self._safe(logging.Formatter().formatException(record.exc_info))
            record.exc_info = None
        return True

    def _safe(self, text: str) -> str:
        return printable(self._redactor.text(text))


def printable(text: str) -> str:
    """Foreign text for a terminal or a log: control and invisible characters are shown escaped."""
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def printable_json(text: str) -> str:
    """JSON text for a terminal: the same characters, escaped as JSON escapes them."""
    return _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def excerpt(text: str, limit: int = 500) -> str:
    """Foreign text on one line, at most `limit` characters of it."""
    flat = " ".join(printable(text).split())
    return flat if len(flat) <= limit else f"{flat[: limit - 1]}…"
