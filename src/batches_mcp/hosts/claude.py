"""Claude Code's own commands: its file is written by every running session, so it writes our entry itself."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from batches_mcp.core.redact import Redactor, excerpt
from batches_mcp.hosts import documents, files
from batches_mcp.hosts.changes import Change
from batches_mcp.hosts.documents import CannotEdit

_LONGEST_S = 60.0
# What npm installs on Windows: its interpreter takes quotes and `&` in arguments for its own, so JSON goes another way.
_SCRIPTS = (".cmd", ".bat")


def add(program: str, change: Change, environment: Mapping[str, str]) -> None:
    """Have `claude` write the entry; the old one, which is ours, goes first.

    Raises:
        CannotEdit: it does not, or its file says something else afterwards.
    """
    path = change.host.path(change.name)
    wanted = documents.entry_at(documents.parse(change.after, change.host.form), path)
    if documents.entry_at(documents.parse(change.before, change.host.form), path) is not None:
        remove(program, change.name, environment)
    text = json.dumps(wanted)
    if program.lower().endswith(_SCRIPTS):
        _run([program, "mcp", "add-json", change.name, "-", "-s", "user"], environment, text.encode())
    else:
        _run([program, "mcp", "add-json", change.name, text, "-s", "user"], environment)
    found: Any = documents.entry_at(documents.parse(files.read(change.path), change.host.form), path)
    if not isinstance(found, dict) or any(found.get(key) != value for key, value in wanted.items() if value):
        raise CannotEdit(f"`claude mcp add-json` ended well, but {change.path} does not have the entry")


def remove(program: str, name: str, environment: Mapping[str, str]) -> None:
    """Have `claude` remove an entry.

    Raises:
        CannotEdit: it does not.
    """
    _run([program, "mcp", "remove", name, "-s", "user"], environment)


def _run(words: Sequence[str], environment: Mapping[str, str], given: bytes = b"") -> None:
    shown = " ".join(words[:3])
    try:
        done = subprocess.run(  # noqa: S603 (a program that the user has on the PATH)
            list(words), env=dict(environment), input=given, capture_output=True, timeout=_LONGEST_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotEdit(f"`{shown}` cannot be run: {error}") from error
    if done.returncode:
        said = Redactor.of(()).text(excerpt((done.stderr or done.stdout).decode(errors="replace"), 200))
        raise CannotEdit(f"`{shown}` failed with exit code {done.returncode}: {said}")
