"""A change of one entry in a host's file: planned, shown, carried out under a lock, and undone."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batches_mcp.core.redact import MASK, Redactor
from batches_mcp.hosts import documents, files
from batches_mcp.hosts.documents import CannotEdit
from batches_mcp.hosts.launch import Launch, clear_key, launch_of, merged
from batches_mcp.hosts.table import Host

_BACKUPS = "backups"
# Values of members that are named like secrets, in JSON, TOML and YAML.
_SECRET_MEMBER = re.compile(
    r"""(["']?[\w.-]*(?:key|token|secret|password|authorization)[\w.-]*["']?\s*[:=]\s*)(["'][^"']*["']|[^\s,"'{\[][^\s,"']*)""",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Change:
    """What a host's file is (None: it is not there) and what it would be; `clear_key` stood in our old entry."""

    host: Host
    path: Path
    name: str
    before: bytes | None
    after: bytes
    clear_key: str | None = None

    @property
    def empty(self) -> bool:
        return self.before == self.after

    def diff(self) -> str:
        """The change as a unified diff, with whatever looks like a secret masked."""
        old, new = ((content or b"").decode().splitlines() for content in (self.before, self.after))
        lines = difflib.unified_diff(old, new, str(self.path), str(self.path), n=2, lineterm="")
        return masked("\n".join(lines))


def masked(text: str) -> str:
    """A text of a host's file that may be shown: secrets of any server in it are masked."""
    return Redactor.of(()).text(_SECRET_MEMBER.sub(lambda match: f"{match[1]}{MASK}", text))


def plan(host: Host, path: Path, name: str, launch: Launch) -> Change:
    """What installing would change.

    Raises:
        CannotEdit: the file cannot be read or edited, or has an entry of this name that is not ours.
    """
    before = _read(path)
    entry = documents.entry_at(documents.parse(before, host.form), host.path(name))
    _refuse_strangers(entry, name)
    value = merged(entry, host.shape(launch))
    after = documents.put(before, host.form, host.path(name), value)
    return Change(host, path, name, before, after, clear_key(entry))


def plan_removal(host: Host, path: Path, name: str) -> Change | None:
    """What uninstalling would change: our entry goes; None when there is none.

    Raises:
        CannotEdit: see `plan`.
    """
    before = _read(path)
    entry = documents.entry_at(documents.parse(before, host.form), host.path(name))
    if before is None or entry is None:
        return None
    _refuse_strangers(entry, name)
    return Change(host, path, name, before, documents.drop(before, host.form, host.path(name)))


def _refuse_strangers(entry: Any, name: str) -> None:
    if entry is None:
        return
    launch = launch_of(entry)
    if launch is None or not launch.ours:
        found = "something else" if launch is None else launch.command
        raise CannotEdit(f"it has an entry {name} that is not ours (it starts {found}); give another --name")


def _not_written(error: OSError) -> CannotEdit:
    why = error.strerror or str(error)
    if isinstance(error, PermissionError):
        why += "; if a program has it open, quit the program and run the command again"
    return CannotEdit(f"the file cannot be written: {why}")


def _read(path: Path) -> bytes | None:
    try:
        return files.read(path)
    except OSError as error:
        raise CannotEdit(f"the file cannot be read: {error.strerror or error}") from error


@dataclass(frozen=True, slots=True)
class Backups:
    """Copies of hosts' files as they were before our first change, in the state folder, with checksums."""

    folder: Path

    def apply(self, change: Change, again: Callable[[], Change]) -> Change:
        """Carry a change out. If the file is no longer what was planned for, it is planned `again`.

        Raises:
            CannotEdit: the file cannot be written, or cannot be edited any more; it is as it was.
        """
        try:
            with files.locked(self._lock(change.path)):
                if _read(change.path) != change.before:
                    change = again()
                self._writable(change.path)
                self._keep(change)
                if _read(change.path) != change.before:
                    raise CannotEdit("the file was changed by another program at this moment; run the command again")
                files.replace(change.path, change.after)
                self._note(change)
        except OSError as error:
            raise _not_written(error) from error
        return change

    def undo(self, change: Change, again: Callable[[], Change | None]) -> bool:
        """Put back the file as it was before we came, if nobody changed it since; else only our entry goes.

        True when the old bytes are back.

        Raises:
            CannotEdit: see `apply`.
        """
        try:
            with files.locked(self._lock(change.path)):
                now = _read(change.path)
                latest = change if now == change.before else again()
                if latest is None:
                    return False
                self._writable(change.path)
                found, content = self._original(change, now)
                if found and content is None:
                    change.path.resolve().unlink()
                else:
                    files.replace(change.path, content if found and content is not None else latest.after)
                self._forget(change)
                return found
        except OSError as error:
            raise _not_written(error) from error

    def _writable(self, path: Path) -> None:
        if path.exists() and not path.stat().st_mode & stat.S_IWUSR:
            raise CannotEdit("the file is read-only")

    def _original(self, change: Change, now: bytes | None) -> tuple[bool, bytes | None]:
        """Whether the file is what we left and the one before it is known, which had no entry of ours; and that one."""
        note = self._noted(change.path)
        if note is None or note["after_sha256"] != files.digest(now):
            return False, None
        if note["before_sha256"] is None:
            return True, None
        content = files.read(self._copy(change.path, note["before_sha256"]))
        if files.digest(content) != note["before_sha256"]:
            return False, None  # a copy that is damaged is a copy that is missing
        data = documents.parse(content, change.host.form)
        if documents.entry_at(data, change.host.path(change.name)) is not None:
            return False, None
        return True, content

    def _keep(self, change: Change) -> None:
        if change.before is not None:
            files.replace(self._copy(change.path, str(files.digest(change.before))), change.before)

    def _note(self, change: Change) -> None:
        """Remember the first file from before our changes, as long as nobody else changes it in between."""
        before, earlier = files.digest(change.before), self._noted(change.path)
        if earlier is not None and earlier["after_sha256"] == before:
            before = earlier["before_sha256"]
        note = {"path": str(change.path), "before_sha256": before, "after_sha256": files.digest(change.after)}
        files.replace(self._place(change.path) / "note.json", json.dumps(note, indent=2).encode())

    def _noted(self, path: Path) -> dict[str, Any] | None:
        content = files.read(self._place(path) / "note.json")
        try:
            note = json.loads(content) if content else None
        except ValueError:
            return None
        return note if isinstance(note, dict) and {"before_sha256", "after_sha256"} <= note.keys() else None

    def _forget(self, change: Change) -> None:
        for path in self._place(change.path).glob("*"):
            if path.name != "lock":
                path.unlink()

    def _copy(self, path: Path, sha256: str) -> Path:
        return self._place(path) / f"{sha256[:16]}.bak"

    def _lock(self, path: Path) -> Path:
        return self._place(path) / "lock"

    def _place(self, path: Path) -> Path:
        # One file may be named in several ways: by links, and on Windows in capitals.
        name = os.path.normcase(path.resolve())
        return self.folder / _BACKUPS / hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:16]
