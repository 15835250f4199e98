"""What is known of certain upstream origins and no capability file need say; the data is in `defaults.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from batches_mcp.capability import source


@dataclass(frozen=True, slots=True)
class Origin:
    """Headers that requests to an origin must carry, and the variable its SDKs take another base URL from."""

    headers: Mapping[str, str]
    base_url_variable: str | None


_UNKNOWN = Origin({}, None)


def origin_of(uri: str) -> str:
    """Scheme, host and port of a URI, in lower case and without the scheme's own port; empty when it is no URI."""
    try:
        parts = urlsplit(uri)
        own_port = (parts.scheme, parts.port) in {("http", 80), ("https", 443)}
    except ValueError:
        return ""
    netloc = parts.netloc.rpartition(":")[0] if own_port else parts.netloc
    return f"{parts.scheme}://{netloc}".lower()


def known(uri: str) -> Origin:
    """What is known of the origin of `uri`; nothing, for most."""
    return _table().get(origin_of(uri), _UNKNOWN)


@cache
def _table() -> Mapping[str, Origin]:
    origins = source.read(Path(__file__).with_name("defaults.yaml")).root.plain()["origins"]
    return {name: Origin(entry["headers"], entry.get("baseUrlVariable")) for name, entry in origins.items()}
