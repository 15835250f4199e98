"""Golden files: what a test expects stands in a file, which `BATCHES_MCP_UPDATE_GOLDEN=1` rewrites."""

from __future__ import annotations

import os
from pathlib import Path

UPDATE = "BATCHES_MCP_UPDATE_GOLDEN"


def assert_golden(path: Path, actual: str) -> None:
    """`actual` is exactly what the golden file holds; a missing file fails, so that none is forgotten."""
    if os.environ.get(UPDATE) == "1":
        path.write_text(actual, encoding="utf-8", newline="\n")
    assert path.exists(), f"{path.name} is missing; {UPDATE}=1 writes it"
    assert actual == path.read_text(encoding="utf-8"), f"{path.name} differs; {UPDATE}=1 rewrites it"
