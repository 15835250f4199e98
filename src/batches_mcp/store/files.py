"""Where files with results are, and which names they can have."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

# Below the folder of each account.
FOLDER = "results"
# A batch's id can be the name of its file.
SAFE_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")

_FILE = re.compile(rf"{SAFE_NAME.pattern}(\.[a-z0-9-]{{1,80}})?\.(jsonl|csv)")


def file_of(folders: Iterable[Path], account: str, name: str) -> Path | None:
    """The file with this name, in one of these folders for files of an account; None where there is none."""
    if not _FILE.fullmatch(name):
        return None
    for folder in folders:
        path = folder / name
        with suppress(OSError):
            if folder.parent.name == account and stat.S_ISREG(path.lstat().st_mode):
                return path
    return None


def media_type(path: Path) -> str:
    """What a file's content is called in HTTP."""
    return "text/csv" if path.suffix == ".csv" else "application/x-jsonl"
