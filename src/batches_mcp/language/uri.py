"""URIs of resources: variables into a URI, and back out of one. Pure.

A variable stands percent-encoded in one segment of the URI (RFC 6570 3.2.2), so that no value can reach beyond it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote, unquote

from batches_mcp.core.plan import Argument

_SEGMENT = r"([^/?#]+)"


def expand(uri: Sequence[str | Argument], values: Mapping[str, str]) -> str:
    """The URI in which each variable has its value."""
    return "".join(quote(values[part.name], safe="") if isinstance(part, Argument) else part for part in uri)


def match(uri: Sequence[str | Argument], text: str) -> dict[str, str] | None:
    """The variables with which `expand` gives `text`; None when nothing does."""
    pattern = "".join(_SEGMENT if isinstance(part, Argument) else re.escape(part) for part in uri)
    found = re.fullmatch(pattern, text)
    if found is None:
        return None
    names = [part.name for part in uri if isinstance(part, Argument)]
    try:
        pairs = [(name, unquote(value, errors="strict")) for name, value in zip(names, found.groups(), strict=True)]
    except UnicodeDecodeError:
        return None
    values = dict(pairs)
    return values if all(values[name] == value for name, value in pairs) else None
