"""What is known of certain upstream origins and no capability file need say. Pure: `defaults` has the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Origin:
    """Headers that requests to an origin must carry, and the variable its SDKs take another base URL from."""

    headers: Mapping[str, str]
    base_url_variable: str | None


UNKNOWN = Origin({}, None)


def origin_of(uri: str) -> str:
    """Scheme, host and port of a URI, in lower case and without the scheme's own port; empty when it is no URI."""
    try:
        parts = urlsplit(uri)
        own_port = (parts.scheme, parts.port) in {("http", 80), ("https", 443)}
    except ValueError:
        return ""
    netloc = parts.netloc.rpartition(":")[0] if own_port else parts.netloc
    return f"{parts.scheme}://{netloc}".lower()
