"""Files with results that somebody asked for: where they are, which names they can have, and how long they stay."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# Below the folder of each account, and in the URLs of files.
FOLDER = "results"
# A batch's id can be the name of its file.
SAFE_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
# A file may be as old as the spool that it is another name for; see `export`.
NEW_S = 86_400.0

_FILE = re.compile(rf"{SAFE_NAME.pattern}(\.[a-z0-9-]{{1,80}})?\.(jsonl|csv)")
KEPT_S = 30 * 86_400.0 + NEW_S


@dataclass(frozen=True, slots=True)
class ResultFiles:
    """The files of one account, in a folder of their own."""

    folder: Path

    @property
    def account(self) -> str:
        return self.folder.parent.name

    def path(self, name: str) -> Path:
        """Where the file with this name is, if there is one."""
        return self.folder / name

    def url_path(self, name: str) -> str:
        """Where a server shows the file with this name, below its own URL."""
        return f"{FOLDER}/{self.account}/{name}"

    def find(self, name: str) -> Path | None:
        """The file with this name; None where there is none. May fetch it, and raises StateUnusable when it cannot."""
        path = self.path(name)
        with suppress(OSError):
            if stat.S_ISREG(path.lstat().st_mode):
                return path
        return None

    def publish(self, path: Path) -> None:
        """Let other servers have a file that was just written; a folder's processes have it already."""

    def remove_expired(self, now_s: float) -> None:
        """Remove the files that are past their time."""
        for path in list(self.folder.glob("*")):
            with suppress(OSError):
                if now_s - path.stat().st_mtime > KEPT_S:
                    path.unlink()


def file_of(every: Iterable[ResultFiles], account: str, name: str) -> Path | None:
    """The file of an account with this name, among the files of these accounts; None where there is none."""
    if not _FILE.fullmatch(name):
        return None
    return next((path for files in every if files.account == account and (path := files.find(name))), None)


def batch_of(name: str) -> str:
    """The id of the batch whose results are in a file with this name, for ids that can be names."""
    return name.partition(".")[0]


def media_type(path: Path) -> str:
    """What a file's content is called in HTTP."""
    return "text/csv" if path.suffix == ".csv" else "application/x-jsonl"
