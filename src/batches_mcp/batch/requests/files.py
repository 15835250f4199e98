"""The door to the operator's files: only inside the folders the server may read, and only plain files."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from batches_mcp.errors import InvalidArguments
from batches_mcp.redact import excerpt
from batches_mcp.request import invalid

# A named pipe would block the open, a link put there in between would lead elsewhere. Windows has neither flag.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)

_BUFFER_BYTES = 1 << 18


@contextmanager
def opened(argument: str, name: str, roots: Sequence[Path]) -> Iterator[io.BufferedReader[Any]]:
    """Open the file that an argument names, for reading bytes.

    Raises:
        InvalidArguments: it is not inside one of `roots`, not a regular file, or cannot be read.
    """
    path = _within(argument, name, roots)
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError as error:
        raise _refused(argument, name, f"cannot be read: {error.strerror or error}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _refused(argument, name, "is not a regular file")
    with io.BufferedReader(io.FileIO(descriptor), _BUFFER_BYTES) as file:
        yield file


def identity(file: io.BufferedReader[Any]) -> tuple[int, int]:
    """What changes when a file is written to: its size and the time of the last change."""
    found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns


def _within(argument: str, name: str, roots: Sequence[Path]) -> Path:
    """Where the file really is, all links resolved; it is there, and inside a root."""
    if "\0" in name:
        raise _refused(argument, name, "is no file name")
    given = Path(name)
    if any(part.startswith(".") for part in given.parts):
        raise _refused(argument, name, "has a part that starts with a dot, and such files are not read")
    problem = f"is not a file in {' or '.join(map(str, roots))}, where this server may read"
    for root in roots:
        real_root = root.resolve()
        try:
            real = (root / given).resolve(strict=True)
        except (OSError, RuntimeError):  # not there, not ours to look into, or links in a circle
            continue
        if real.is_relative_to(real_root):
            if any(part.startswith(".") for part in real.relative_to(real_root).parts):
                raise _refused(argument, name, "leads to a part that starts with a dot, and such files are not read")
            return real
    raise _refused(argument, name, problem)


def _refused(argument: str, name: str, problem: str) -> InvalidArguments:
    return invalid(f"{argument}: {excerpt(name, 200)!r} {problem}.")
