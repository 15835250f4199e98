"""A command at a terminal of a given width, as a person sees it."""

from __future__ import annotations

import os
import re
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def seen_at(columns: int, command: Sequence[str], env: Mapping[str, str], cwd: Path | None = None) -> str:
    """What a command shows on a terminal of so many columns, without colors, until it ends; all in one stream."""
    theirs, ours = os.openpty()
    termios.tcsetwinsize(ours, (50, columns))
    process = subprocess.Popen(
        list(command),
        env={"TERM": "xterm-256color", **env},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=ours,
        stderr=ours,
    )
    os.close(ours)
    seen = bytearray()
    try:
        while piece := os.read(theirs, 65_536):
            seen += piece
    except OSError:
        pass  # how Linux tells the end of a pseudo-terminal
    os.close(theirs)
    process.wait(60)
    return _ESCAPES.sub("", seen.decode()).replace("\r\n", "\n")
