"""Where files with results are, and which names they can have."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from batches_mcp.state import StateFolder

# Below the folder of each account.
FOLDER = "results"
# A batch's id can be the name of its file.
SAFE_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")

_ACCOUNT = re.compile(r"[0-9a-f]{24}")
_FILE = re.compile(rf"{SAFE_NAME.pattern}(\.[a-z0-9-]{{1,80}})?\.(jsonl|csv)")


def file_of(state: StateFolder, account: str, name: str) -> Path | None:
    """The file with this name; None where there is none, or the names are not such as files have."""
    if not _ACCOUNT.fullmatch(account) or not _FILE.fullmatch(name):
        return None
    path = state.path / account / FOLDER / name
    try:
        return path if stat.S_ISREG(path.lstat().st_mode) else None
    except OSError:
        return None


def media_type(path: Path) -> str:
    """What a file's content is called in HTTP."""
    return "text/csv" if path.suffix == ".csv" else "application/x-jsonl"
