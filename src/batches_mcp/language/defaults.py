"""What `defaults.yaml` says of origins."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from batches_mcp.language import source
from batches_mcp.language.origins import Origin


@cache
def known_origins() -> Mapping[str, Origin]:
    """What is known, by `origin_of` a URI."""
    origins = source.read(Path(__file__).with_suffix(".yaml")).root.plain()["origins"]
    return {name: Origin(entry["headers"], entry.get("baseUrlVariable")) for name, entry in origins.items()}
